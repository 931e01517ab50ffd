"""A remote model: what it is sent, what it is called, and what is said when it cannot be asked."""

import json
import sys

import pytest
from local_endpoint import LocalEndpoint, _send, fails, says

from calib.config.model import RemoteModelConfig
from calib.data.example import Example
from calib.models import backoff as trouble
from calib.models.remote import RemoteModel
from calib.util.errors import CalibError

KEY = "sk-made-up-0123456789"
EXAMPLE = Example("one", "image_centric", "drawn", "tools", "test", "What is this?")
SETTINGS = {"name": "gpt", "model": "m-1", "key_env": "SOME_KEY"}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(trouble, "FIRST_WAIT", 0.01)
    monkeypatch.setenv("SOME_KEY", KEY)


def model(url="http://127.0.0.1:9/v1", **settings):
    return RemoteModel(RemoteModelConfig(**SETTINGS | {"base_url": url} | settings))


def ask(server, temperature=0.0, top_p=1.0, seed=2**40 + 5, **settings):
    return model(server.url, **settings).respond(EXAMPLE, 9, temperature, top_p, seed)


@pytest.mark.parametrize(
    ("given", "sent"),
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
    ],
)
def test_what_is_sent(given, sent):
    with LocalEndpoint(says("a door")) as server:
        assert ask(server, **given).text == "a door"
    messages = [{"role": "user", "content": "What is this?"}]
    assert server.requests[0].body == {"model": "m-1", "messages": messages, **sent}
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"


def test_what_comes_back_besides():
    with LocalEndpoint(says("a door", model="m-1-2026-01-01")) as server:
        reply = ask(server)
    assert (reply.model, reply.prompt_tokens, reply.tokens) == ("m-1-2026-01-01", 1, 1)
    assert 0 < reply.seconds < 30


@pytest.mark.parametrize(
    ("act", "held"),
    [
        (says("", "content_filter"), "content_filter"),
        (says("", "Refusal"), "Refusal"),
        (says(None, "content_filter: RECITATION"), "content_filter: RECITATION"),
        (fails(400, code="content_filter"), "content_filter"),
        (fails(403, code="content_policy_violation"), "content_policy_violation"),
        (says("", "stop"), ""),
    ],
)
def test_what_the_provider_blocks(act, held):
    with LocalEndpoint(act) as server:
        assert ask(server).blocked == held
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("metadata", "held"),
    [({"reasons": ["violence", "weapons"]}, "moderation: violence, weapons"),
     ({"flagged_input": "What is ..."}, "moderation")],
)  # fmt: skip
def test_what_a_router_moderates(metadata, held):
    body = json.dumps({"error": {"message": "flagged", "code": 403, "metadata": metadata}})
    with LocalEndpoint(lambda handler: _send(handler, 403, body)) as server:
        assert ask(server).blocked == held


def test_a_router_that_lost_its_model_underway_is_asked_again():
    with LocalEndpoint(says("half", "error"), says("a door")) as server:
        assert ask(server).text == "a door"
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (fails(401), "model.model: m-1 at http://127.*401.*Check the key in SOME_KEY"),
        (fails(403), "403.*Check the key in SOME_KEY"),
        (fails(404), "Check model.model and model.base_url"),
        (fails(400, "no temperature here"), "no temperature here.*model.sends"),
        (fails(500), "smaller model.concurrency.*model.timeout.*model.retries"),
        (fails(400, code="context_length_exceeded"), "'one' is too long.*model.image_side"),
    ],
)
def test_what_stops_it_is_said_with_the_settings_of_a_model(act, words):
    with LocalEndpoint(act) as server, pytest.raises(CalibError, match=words) as told:
        ask(server, retries=0)
    assert "Finished rows are safe." in str(told.value)
    assert "judge" not in str(told.value)


def test_the_budget_is_named():
    with LocalEndpoint(says("a door")) as server:
        one = model(server.url, max_requests=1)
        one.respond(EXAMPLE, 9, 0.0, 1.0, 0)
        with pytest.raises(CalibError, match="model.max_requests=1"):
            one.respond(EXAMPLE, 9, 0.0, 1.0, 0)
    assert len(server.requests) == 1


def test_what_it_is_called():
    assert model().checkpoint == "gpt:m-1"
    assert any("compat" in note for note in model(note="a compat layer").notes)
    assert not any("temperature" in note for note in model().notes)
    assert any("no temperature" in note for note in model(sends=["seed"]).notes)


def test_its_fingerprint_is_of_what_decides_a_response():
    print_ = model().fingerprint
    assert len(print_) == 16
    same = [{"url": "http://127.0.0.1:9/v1/"}, {"concurrency": 2}, {"note": "x"}, {"name": "n"},
            {"sends": ["seed", "top_p", "temperature"]}, {"retries": 1}]  # fmt: skip
    assert {model(**one).fingerprint for one in same} == {print_}
    others = [{"url": "http://127.0.0.1:10/v1"}, {"model": "m-2"}, {"sends": ["seed"]},
              {"extra": {"effort": "low"}}, {"image_side": 512}]  # fmt: skip
    assert len({print_, *(model(**one).fingerprint for one in others)}) == 6


def test_an_id_a_key_and_the_package_are_needed(monkeypatch):
    with pytest.raises(CalibError, match="model=gpt needs the id.*model.model=ID"):
        model(model=None)
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(CalibError, match=r"'calib\[api\]'.*model=internvl"):
        model()
    monkeypatch.undo()
    monkeypatch.delenv("SOME_KEY", raising=False)
    with pytest.raises(CalibError, match=r"SOME_KEY \(model.key_env\) is not set"):
        model("https://example.org/v1")
    model()  # a server on this machine


@pytest.mark.parametrize("given", [{"extra": {"user": {"key": KEY}}}, {"note": f"with {KEY}"}])
def test_a_key_in_a_setting_is_refused_and_not_shown(given):
    with pytest.raises(CalibError, match="holds the key in SOME_KEY") as told:
        model(**given)
    assert KEY not in str(told.value)
