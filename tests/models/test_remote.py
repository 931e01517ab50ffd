"""A remote model: its requests, its identity, and errors of its endpoint."""

import json
import sys
from dataclasses import replace

import pytest
from local_endpoint import LocalEndpoint, _send, fails, says
from raising import raises

from calib.config.model import RemoteModelConfig
from calib.data.example import Example, Turn
from calib.models import backoff
from calib.models.remote import RemoteModel

KEY = "sk-made-up-0123456789"
EXAMPLE = Example("one", "image_centric", "drawn", "tools", "test", "What is this?")
SETTINGS = {"name": "gpt", "model": "m-1", "key_env": "SOME_KEY"}


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(backoff, "FIRST_WAIT", 0.01)
    monkeypatch.setenv("SOME_KEY", KEY)


def model(url="http://127.0.0.1:9/v1", **settings):
    return RemoteModel(RemoteModelConfig(**SETTINGS | {"base_url": url} | settings))


def respond(server, temperature=0.0, top_p=1.0, seed=2**40 + 5, **settings):
    return model(server.url, **settings).respond(EXAMPLE, 9, temperature, top_p, seed)


@pytest.mark.parametrize(
    ("settings", "sent"),
    [
        ({}, {"max_tokens": 9, "temperature": 0.0}),
        ({"sends": []}, {"max_tokens": 9}),
        ({"limit_name": "max_completion_tokens", "sends": []}, {"max_completion_tokens": 9}),
        ({"temperature": 0.5}, {"max_tokens": 9, "temperature": 0.5, "seed": 5}),
        (
            {"temperature": 0.5, "top_p": 0.9},
            {"max_tokens": 9, "temperature": 0.5, "top_p": 0.9, "seed": 5},
        ),
        (
            {"temperature": 0.5, "top_p": 0.9, "sends": ["temperature"]},
            {"max_tokens": 9, "temperature": 0.5},
        ),
        (
            {"sends": [], "extra": {"effort": "low", "limit": 3}},
            {"max_tokens": 9, "effort": "low", "limit": 3},
        ),
        (
            {"sends": [], "chat_template_kwargs": {"enable_thinking": False}},
            {"max_tokens": 9, "chat_template_kwargs": {"enable_thinking": False}},
        ),
    ],
)
def test_the_request(settings, sent):
    with LocalEndpoint(says("a door")) as server:
        assert respond(server, **settings).text == "a door"
    messages = [{"role": "user", "content": "What is this?"}]
    assert server.requests[0].body == {"model": "m-1", "messages": messages, **sent}
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"


def test_a_system_prompt_before_the_query():
    example = replace(EXAMPLE, system="Be kind.", demonstrations=(Turn("a", "b"),))
    with LocalEndpoint(says("a door")) as server:
        for place in ("template", "user"):
            model(server.url, system_place=place).respond(example, 9, 0.0, 1.0, 0)
    template, user = (request.body["messages"] for request in server.requests)
    assert template[0] == {"role": "system", "content": "Be kind."}
    assert user == [{"role": "user", "content": "Be kind.\n\na"}, *template[2:]]


def test_settings_that_change_prompts_change_the_fingerprint():
    settings = [{}, {"chat_template_kwargs": {"a": 1}}, {"system_place": "user"}]
    with LocalEndpoint(says("a door")) as server:
        plain, *others = (model(server.url, **each).fingerprint for each in settings)
    assert len({plain, *others}) == 3
    with raises("conflicting-settings", "model.extra", "chat_template_kwargs"):
        model(
            "http://localhost:9/v1",
            extra={"chat_template_kwargs": {}},
            chat_template_kwargs={"a": 1},
        )
    with raises("conflicting-settings", "add_generation_prompt"):
        model("http://localhost:9/v1", chat_template_kwargs={"add_generation_prompt": False})


def test_the_reply():
    with LocalEndpoint(says("a door", model="m-1-2026-01-01")) as server:
        reply = respond(server)
    assert (reply.model, reply.prompt_tokens, reply.tokens) == ("m-1-2026-01-01", 1, 1)
    assert reply.seconds > 0


@pytest.mark.parametrize(
    ("act", "blocked"),
    [
        (says("", "content_filter"), "content_filter"),
        (says("", "Refusal"), "Refusal"),
        (says(None, "content_filter: RECITATION"), "content_filter: RECITATION"),
        (fails(400, code="content_filter"), "content_filter"),
        (fails(403, code="content_policy_violation"), "content_policy_violation"),
        (says("", "stop"), ""),
    ],
)
def test_blocked_replies(act, blocked):
    with LocalEndpoint(act) as server:
        assert respond(server).blocked == blocked
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("metadata", "blocked"),
    [({"reasons": ["violence", "weapons"]}, "moderation: violence, weapons"),
     ({"flagged_input": "What is ..."}, "moderation")],
)  # fmt: skip
def test_prompts_moderated_by_a_router(metadata, blocked):
    body = json.dumps({"error": {"message": "flagged", "code": 403, "metadata": metadata}})
    with LocalEndpoint(lambda handler: _send(handler, 403, body)) as server:
        assert respond(server).blocked == blocked


def test_a_router_whose_model_failed_is_retried():
    with LocalEndpoint(says("half", "error"), says("a door")) as server:
        assert respond(server).text == "a door"
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("act", "code", "values"),
    [
        (fails(401), "endpoint", ("model.model", "m-1", "401", "SOME_KEY")),
        (fails(403), "endpoint", ("403", "SOME_KEY")),
        (fails(404), "endpoint", ("404", "model.model", "model.base_url")),
        (fails(400, "no temperature here"), "endpoint", ("no temperature here", "model.sends")),
        (fails(500), "endpoint", ("model.concurrency", "model.timeout", "model.retries")),
    ],
)
def test_errors_name_the_settings_of_the_model(act, code, values):
    with LocalEndpoint(act) as server:
        url = server.url if code == "endpoint" else ""
        with raises(code, url, *values, "Finished rows") as caught:
            respond(server, retries=0)
    assert "judge" not in str(caught.value)


def test_the_budget():
    with LocalEndpoint(says("a door")) as server:
        limited = model(server.url, max_requests=1)
        limited.respond(EXAMPLE, 9, 0.0, 1.0, 0)
        with raises("endpoint", "model.max_requests=1"):
            limited.respond(EXAMPLE, 9, 0.0, 1.0, 0)
    assert len(server.requests) == 1


def test_its_checkpoint_and_notes():
    assert model().checkpoint == "gpt:m-1"
    assert any("compat" in note for note in model(note="a compat layer").notes)
    assert not any("temperature" in note for note in model().notes)
    assert any("no temperature" in note for note in model(sends=["seed"]).notes)


def test_the_fingerprint_covers_the_settings_that_determine_a_response():
    fingerprint = model().fingerprint
    assert len(fingerprint) == 16
    same = [{"url": "http://127.0.0.1:9/v1/"}, {"concurrency": 2}, {"note": "x"}, {"name": "n"},
            {"sends": ["seed", "top_p", "temperature"]}, {"retries": 1}]  # fmt: skip
    assert {model(**settings).fingerprint for settings in same} == {fingerprint}
    others = [{"url": "http://127.0.0.1:10/v1"}, {"model": "m-2"}, {"sends": ["seed"]},
              {"extra": {"effort": "low"}}, {"image_side": 512}]  # fmt: skip
    assert len({fingerprint, *(model(**settings).fingerprint for settings in others)}) == 6


def test_an_id_the_package_and_a_key_are_required(monkeypatch):
    with raises("missing-setting", "model=gpt", "model.model=ID"):
        model(model=None)
    monkeypatch.setitem(sys.modules, "openai", None)
    with raises("needs-package", "calib[api]", "model=internvl"):
        model()
    monkeypatch.undo()
    monkeypatch.delenv("SOME_KEY", raising=False)
    with raises("missing-setting", "SOME_KEY", "model.key_env"):
        model("https://example.org/v1")
    model()  # a server on this machine needs no key


@pytest.mark.parametrize("settings", [{"extra": {"user": {"key": KEY}}}, {"note": f"with {KEY}"}])
def test_a_key_in_a_setting_is_rejected_and_not_shown(settings):
    with raises("invalid-setting", "SOME_KEY") as caught:
        model(**settings)
    assert KEY not in str(caught.value)
