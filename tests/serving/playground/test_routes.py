"""The URLs of the playground: its files for everyone, the rest with the key."""

import json
import re
from importlib import resources

import pytest
from server_thread import ServerThread, send

from calib.serving.http.access import Access
from calib.serving.playground.playground import Playground
from calib.serving.playground.routes import PAGE

FILES = resources.files("calib.serving.playground") / "files"
DATA = ("settings", "examples/mini", "example/0/mini")


def post_labels(server, body, kind="application/json"):
    text = body if isinstance(body, str) else json.dumps({"model": "mini", **body})
    return send(server, "POST", "/playground/labels", text, {"Content-Type": kind})


def test_the_page_loads_only_files_of_the_server_under_a_strict_policy(server):
    reply = send(server, "GET", "/")
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "connect-src 'self'" in policy
    assert "unsafe" not in policy and "*" not in policy and "http" not in policy
    assert reply.headers["x-content-type-options"] == "nosniff"
    named = re.findall(r'(?:href|src)="(?!#|data:)([^"]+)"', reply.text)
    assert len(named) == 2
    for name in named:
        assert send(server, "GET", f"/{name}").status_code == 200
    assert not re.search(r"style=|<style|\son\w+=|<script(?![^>]*\ssrc=)", reply.text)


def test_scripts_never_read_text_as_html():
    for file in FILES.iterdir():
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"https?://", text), file.name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", text)
        assert not re.search(r"localStorage|sessionStorage|indexedDB|cookie", text), file.name


@pytest.mark.parametrize(
    "path", ["files/no.js", "files/..%2froutes.py", "example/-1/mini", "example/9999/mini",
             "example/x/mini", "example/%C2%B2/mini"]
)  # fmt: skip
def test_unknown_files_and_examples_are_not_found(server, path):
    reply = send(server, "GET", f"/playground/{path}")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "unknown_url")


def test_unknown_models_are_not_found(server):
    for path in ("examples/other", "example/0/other"):
        reply = send(server, "GET", f"/playground/{path}")
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")
    labels = post_labels(server, {"model": "other", "responses": ["a"]})
    assert labels.json()["error"]["code"] == "model_not_found"


def test_examples_have_their_pictures(server):
    listed = send(server, "GET", "/playground/examples/mini").json()
    number = next(k for k, one in enumerate(listed["examples"]) if one["part"] == "image_centric")
    example = send(server, "GET", f"/playground/example/{number}/mini").json()
    assert example["query"] == listed["examples"][number]["query"]
    assert example["pictures"][0].startswith("data:image/png;base64,") and not example["covered"]


@pytest.mark.parametrize("number", ["9999999999", "-1", "x", "00"])
def test_examples_that_do_not_exist(server, number):
    reply = send(server, "GET", f"/playground/example/{number}/mini")
    assert reply.status_code == 404 and f"'{number}'" in reply.json()["error"]["message"]


def test_responses_to_examples_are_labelled_by_their_judge(server):
    refusal = "I'm sorry, but I can't help with that."
    labelled = post_labels(server, {"example": 0, "responses": [refusal, "blue " * 3]}).json()
    assert labelled == {"judge": "rules", "labels": ["refusal", "irrelevant"]}
    own = post_labels(server, {"responses": [refusal, "It is a red ball."]}).json()
    assert own == {"judge": "string", "labels": ["refusal", "answer"]}


@pytest.mark.parametrize(
    "body",
    ["", "[]", "{}", {"responses": []}, {"responses": ["a"] * 17}, {"responses": [1]},
     {"responses": ["a"], "example": 9999}, {"responses": ["a"], "example": "0"},
     {"responses": ["a"], "more": 1}],
)  # fmt: skip
def test_invalid_label_requests_are_refused(server, body):
    assert post_labels(server, body).status_code == 400
    assert server.limits.open_requests == 0


def test_labels_are_asked_for_in_json_only(server):
    assert post_labels(server, {"responses": ["a"]}, "text/plain").status_code == 415


def test_data_needs_the_key_and_every_url_the_host(steered):
    with ServerThread(steered, Playground(steered), access=Access("secret")) as server:
        assert send(server, "GET", "/").status_code == 200
        for path in DATA:
            assert send(server, "GET", f"/playground/{path}").status_code == 401
            key = {"Authorization": "Bearer secret"}
            assert send(server, "GET", f"/playground/{path}", headers=key).status_code == 200
        assert post_labels(server, {"responses": ["a"]}).status_code == 401
        for path in ("/", f"/playground/files/{PAGE}", "/playground/settings"):
            evil = {"Host": "evil.example", "Authorization": "Bearer secret"}
            assert send(server, "GET", path, headers=evil).status_code == 403
        assert send(server, "GET", "/playground/settings", headers=key).json()["command"] is None
