"""The client against a real server on this machine: what is sent, what is tried again, what is
said about what went wrong."""

import logging
import sys
import threading
import time
from email.utils import formatdate

import pytest
from local_endpoint import LocalEndpoint, fails, hangs, resets, says, writes

from calib.models import backoff as trouble
from calib.models.endpoint import Aborted, Access, Endpoint, Reply
from calib.util.errors import CalibError

KEY = "sk-made-up-0123456789"
MESSAGES = [{"role": "system", "content": "Say yes."}, {"role": "user", "content": "Now."}]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(trouble, "FIRST_WAIT", 0.01)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    # Whoever runs the tests may have set it; it must not matter.
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/elsewhere")


NAMES = {
    "config_group": "judge",
    "model_setting": "judge.models",
    "package_hint": "pip install 'calib[api]'",
    "saved_note": "Verdicts so far are saved.",
}


class Asked(Endpoint):
    """An endpoint that is asked the same thing each time."""

    def complete(self, model="m", messages=MESSAGES, limit=9, settings=None):
        return super().complete(model, messages, limit, settings or {})


def at(**settings):
    return Asked(Access(**NAMES | settings))


def to(server, **settings):
    return at(base_url=server.url, **settings)


def test_what_is_sent_and_what_comes_back():
    with LocalEndpoint(says("yes", model="m-2026-01-01")) as server:
        reply = to(server).complete("m", MESSAGES, 7, {"temperature": 0.25, "top_k": 3})
    assert reply == Reply("yes", model="m-2026-01-01")
    (request,) = server.requests
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.body == {
        "model": "m",
        "messages": MESSAGES,
        "temperature": 0.25,
        "max_tokens": 7,
        "top_k": 3,
    }


@pytest.mark.parametrize(
    "act",
    [
        fails(429),
        fails(500),
        fails(503),
        fails(408),
        resets,
        writes("<html>Bad gateway</html>", "text/html"),
        writes('{"choices": [{"message": {"content": "y'),
        writes('{"choices": []}'),
        writes('{"choices": null}'),
        writes("[]"),
    ],
)
def test_trouble_that_passes_is_tried_again(act):
    with LocalEndpoint(act, says("yes")) as server:
        endpoint = to(server)
        assert endpoint.complete().text == "yes"
    assert len(server.requests) == endpoint.requests_sent == 2


def test_a_request_that_takes_too_long_is_tried_again():
    released = threading.Event()
    with LocalEndpoint(hangs(released), says("yes")) as server:
        begun = time.monotonic()
        assert to(server, timeout=0.3).complete().text == "yes"
        assert time.monotonic() - begun < 10
        released.set()
    assert len(server.requests) == 2


@pytest.mark.parametrize("act", [fails(429), fails(500), resets])
def test_trouble_that_stays_is_told(act):
    with LocalEndpoint(act) as server, pytest.raises(CalibError) as told:
        to(server, retries=2).complete()
    assert len(server.requests) == 3
    assert "m at http://127.0.0.1" in str(told.value)
    assert "after 3 tries" in str(told.value)
    assert "later" in str(told.value)


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (fails(401, "no such key"), "401.*no such key.*OPENAI_API_KEY"),
        (fails(403), "403.*OPENAI_API_KEY"),
        (fails(404), "404.*judge.models and judge.base_url"),
        (fails(400, "temperature must be 1"), "400.*temperature must be 1"),
        (fails(429, code="insufficient_quota"), "429"),
    ],
)
def test_what_does_not_pass_is_told_at_once(act, words):
    with LocalEndpoint(act) as server, pytest.raises(CalibError, match=words):
        to(server).complete()
    assert len(server.requests) == 1


def test_retry_after_is_respected(monkeypatch):
    monkeypatch.setattr(trouble, "FIRST_WAIT", 30.0)
    with LocalEndpoint(fails(429, retry_after="0.4"), says("yes")) as server:
        begun = time.monotonic()
        assert to(server).complete().text == "yes"
        assert 0.4 <= time.monotonic() - begun < 10


def test_whoever_asks_for_too_much_patience_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(trouble, "LONGEST_REQUESTED_WAIT", 0.1)
    with (
        LocalEndpoint(fails(429, retry_after="0.2"), says("yes")) as server,
        pytest.raises(CalibError, match="429"),
    ):
        to(server).complete()
    assert len(server.requests) == 1


def test_seconds_of_retry_after():
    assert trouble._retry_after("2") == 2.0
    assert trouble._retry_after("-2") == 0.0
    assert 50 < trouble._retry_after(formatdate(time.time() + 60, usegmt=True)) <= 60
    assert trouble._retry_after("soon") is None
    assert trouble._retry_after("") is None


def test_waits_grow_up_to_a_limit(monkeypatch):
    monkeypatch.setattr(trouble, "FIRST_WAIT", 1.0)
    waits = [trouble.backoff(ValueError(), tries) for tries in (1, 2, 3, 20)]
    for wait, full in zip(waits, (1.0, 2.0, 4.0, trouble.LONGEST_WAIT), strict=True):
        assert 0.75 * full <= wait <= full


@pytest.mark.parametrize(
    ("act", "reply"),
    [
        (says("", "content_filter"), Reply("", "content_filter", model="m")),
        (says("half", "content_filter"), Reply("half", "content_filter", model="m")),
        (
            says(None, refusal="I would rather not."),
            Reply("", refusal="I would rather not.", model="m"),
        ),
        (says("half", "length"), Reply("half", truncated=True, model="m")),
        (says(None), Reply("", model="m")),
        (fails(400, code="content_filter"), Reply("", "content_filter")),
        (fails(400, "the maximum context length is 8"), Reply("", "context_length_exceeded")),
    ],
)
def test_answers_that_are_held_back_or_cut(act, reply):
    with LocalEndpoint(act) as server:
        assert to(server).complete() == reply
    assert len(server.requests) == 1


def test_models_that_call_the_limit_otherwise_get_it_so_from_then_on():
    def act(request):
        if "max_tokens" in request.body:
            return fails(400, "Unsupported parameter: use max_completion_tokens instead.")
        return says("yes")

    with LocalEndpoint(by=act) as server:
        endpoint = to(server, retries=0)
        assert [endpoint.complete().text for _ in range(2)] == ["yes", "yes"]
    assert [request.body.get("max_completion_tokens") for request in server.requests] == [
        None,
        9,
        9,
    ]


def test_the_budget_counts_every_request_and_is_never_exceeded():
    with LocalEndpoint(says("yes"), fails(500), says("yes")) as server:
        endpoint = to(server, max_requests=3)
        endpoint.complete()
        endpoint.complete()
        with pytest.raises(CalibError, match="judge.max_requests=3"):
            endpoint.complete()
    assert len(server.requests) == 3


def test_nothing_is_asked_after_a_halt():
    with LocalEndpoint(says("yes")) as server:
        endpoint = to(server)
        endpoint.abort()
        with pytest.raises(Aborted):
            endpoint.complete()
        endpoint.resume()
        assert endpoint.complete().text == "yes"
    assert len(server.requests) == 1


def test_a_halt_ends_a_wait(monkeypatch):
    monkeypatch.setattr(trouble, "FIRST_WAIT", 30.0)
    with LocalEndpoint(fails(500)) as server:
        endpoint = to(server)
        threading.Timer(0.3, endpoint.abort).start()
        begun = time.monotonic()
        with pytest.raises(Aborted):
            endpoint.complete()
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    "act", [fails(401, f"{KEY} is no key"), fails(500, KEY), fails(400, f"Bearer {KEY}")]
)
def test_the_key_is_in_no_error_and_no_log(act, caplog):
    caplog.set_level(logging.DEBUG)
    with LocalEndpoint(act) as server, pytest.raises(CalibError) as told:
        to(server, retries=0).complete()
    assert KEY not in str(told.value)
    assert "***" in str(told.value)
    assert KEY not in caplog.text


def test_the_key_is_in_no_reply_and_no_repr():
    with LocalEndpoint(says(f"your key is {KEY}")) as server:
        endpoint = to(server)
        assert endpoint.complete().text == "your key is ***"
    assert KEY not in repr(endpoint)


def test_a_placeholder_for_a_key_is_no_secret(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with LocalEndpoint(says('{"refusal": "none"}')) as server:
        assert to(server).complete().text == '{"refusal": "none"}'


def test_a_missing_key_is_named_before_anything_is_sent(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(CalibError, match="OPENAI_API_KEY.*api.openai.com"):
        at()
    with pytest.raises(CalibError, match="OTHER_KEY.*https://example.org"):
        at(base_url="https://example.org/v1", key_env="OTHER_KEY")
    monkeypatch.setenv("OPENAI_API_KEY", " ")
    with pytest.raises(CalibError, match="OPENAI_API_KEY"):
        at()


def test_a_server_on_this_machine_needs_no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with LocalEndpoint(says("yes")) as server:
        assert to(server).complete().text == "yes"
    for url in ("http://localhost:1/v1", "http://[::1]:1/v1"):
        at(base_url=url)
    with pytest.raises(CalibError, match="OPENAI_API_KEY"):
        at(base_url="http://localhost.example.org/v1")


def test_a_key_with_a_line_break_or_a_foreign_letter_is_refused(monkeypatch):
    for key in ("sk-0123\n456", "sk-\u00e9"):
        monkeypatch.setenv("OPENAI_API_KEY", key)
        with pytest.raises(CalibError, match="no key has") as told:
            at()
        assert key not in str(told.value)


def test_a_missing_package_is_told_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(CalibError, match=r"pip install 'calib\[api\]'"):
        at()


def test_without_an_address_openai_is_asked_whatever_the_environment_says():
    client = at()._client
    assert str(client.base_url).rstrip("/") == "https://api.openai.com/v1"
