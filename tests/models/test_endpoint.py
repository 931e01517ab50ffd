"""The client against a real server on this machine: requests, retries, errors and the key."""

import logging
import sys
import threading
import types
from email.utils import formatdate

import pytest
from local_endpoint import LocalEndpoint, fails, hangs, resets, says, writes
from raising import raises

from calib.models import backoff
from calib.models.endpoint import Aborted, Access, Endpoint, Reply

KEY = "sk-made-up-0123456789"
MESSAGES = [{"role": "system", "content": "Say yes."}, {"role": "user", "content": "Now."}]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(backoff, "FIRST_WAIT", 0.01)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    # The variable may be set on the machine that runs the tests; it must have no effect.
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/elsewhere")


NAMES = {
    "config_group": "judge",
    "model_setting": "judge.models",
    "package_hint": "pip install 'calib[api]'",
    "saved_note": "Verdicts so far are saved.",
}


class SameRequest(Endpoint):
    """An endpoint with default arguments for complete."""

    def complete(self, model="m", messages=MESSAGES, limit=9, settings=None):
        return super().complete(model, messages, limit, settings or {})


def at(**settings):
    return SameRequest(Access(**NAMES | settings))


def to(server, **settings):
    return at(base_url=server.url, **settings)


def test_the_request_and_the_reply():
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
def test_transient_errors_are_retried(act):
    with LocalEndpoint(act, says("yes")) as server:
        endpoint = to(server)
        assert endpoint.complete().text == "yes"
    assert len(server.requests) == endpoint.requests_sent == 2


def test_a_timeout_is_retried():
    released = threading.Event()
    with LocalEndpoint(hangs(released), says("yes")) as server:
        assert to(server, timeout=1, retries=9).complete().text == "yes"
        released.set()
    assert len(server.requests) >= 2  # more where the second reply took longer, too


@pytest.mark.parametrize("act", [fails(429), fails(500), resets])
def test_a_lasting_error_is_raised_after_the_retries(act):
    values = "judge.models", "m at http://127.0.0.1", "3 tries", "judge.retries"
    with LocalEndpoint(act) as server, raises("endpoint", *values):
        to(server, retries=2).complete()
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("act", "values"),
    [
        (fails(401, "no such key"), ("401", "no such key", "OPENAI_API_KEY")),
        (fails(403), ("403", "OPENAI_API_KEY")),
        (fails(404), ("404", "judge.models", "judge.base_url")),
        (fails(400, "temperature must be 1"), ("400", "temperature must be 1")),
        (fails(429, code="insufficient_quota"), ("429",)),
    ],
)
def test_permanent_errors_are_not_retried(act, values):
    with LocalEndpoint(act) as server, raises("endpoint", *values):
        to(server).complete()
    assert len(server.requests) == 1


def test_retry_after_sets_the_wait(monkeypatch):
    waits = []
    with LocalEndpoint(fails(429, retry_after="40"), says("yes")) as server:
        endpoint = to(server)
        monkeypatch.setattr(endpoint._aborted, "wait", lambda seconds: waits.append(seconds))
        assert endpoint.complete().text == "yes"
    assert waits == [40.0]


def test_a_retry_after_above_the_limit_is_an_error(monkeypatch):
    monkeypatch.setattr(backoff, "LONGEST_REQUESTED_WAIT", 0.1)
    with (
        LocalEndpoint(fails(429, retry_after="0.2"), says("yes")) as server,
        raises("endpoint", "429"),
    ):
        to(server).complete()
    assert len(server.requests) == 1


def test_retry_after_is_a_number_or_a_date(monkeypatch):
    assert backoff._retry_after("2") == 2.0
    assert backoff._retry_after("-2") == 0.0
    monkeypatch.setattr("time.time", lambda: 1e9)
    assert backoff._retry_after(formatdate(1e9 + 60, usegmt=True)) == 60
    assert backoff._retry_after("soon") is None
    assert backoff._retry_after("") is None


def test_waits_grow_up_to_a_limit(monkeypatch):
    monkeypatch.setattr(backoff, "FIRST_WAIT", 1.0)
    waits = [backoff.backoff(ValueError(), tries) for tries in (1, 2, 3, 20)]
    for wait, full in zip(waits, (1.0, 2.0, 4.0, backoff.LONGEST_WAIT), strict=True):
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
        *(
            (fails(400, message), Reply("", "context_length_exceeded"))
            for message in (
                "the maximum context length is 8",
                "The prompt (length 9) is longer than the maximum model length of 8.",
                "prompt is too long: 9 tokens > 8 maximum",
                "The input token count (9) exceeds the maximum number of tokens allowed (8).",
                "the request exceeds the available context size, try increasing it",
            )
        ),
    ],
)
def test_blocked_refused_and_truncated_replies(act, reply):
    with LocalEndpoint(act) as server:
        assert to(server).complete() == reply
    assert len(server.requests) == 1


def test_the_client_switches_to_max_completion_tokens():
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
        with raises("endpoint", "judge.max_requests=3"):
            endpoint.complete()
    assert len(server.requests) == 3


def test_no_request_after_abort():
    with LocalEndpoint(says("yes")) as server:
        endpoint = to(server)
        endpoint.abort()
        with pytest.raises(Aborted):
            endpoint.complete()
        endpoint.resume()
        assert endpoint.complete().text == "yes"
    assert len(server.requests) == 1


def test_abort_ends_a_wait(monkeypatch):
    monkeypatch.setattr(backoff, "FIRST_WAIT", 3600.0)
    monkeypatch.setattr(backoff, "LONGEST_WAIT", 3600.0)
    monkeypatch.setattr(backoff, "LONGEST_REQUESTED_WAIT", 3600.0)
    with LocalEndpoint(fails(500)) as server:
        endpoint = to(server)
        threading.Timer(0.3, endpoint.abort).start()
        with pytest.raises(Aborted):  # not after an hour
            endpoint.complete()
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "act", [fails(401, f"{KEY} is no key"), fails(500, KEY), fails(400, f"Bearer {KEY}")]
)
def test_the_key_is_in_no_error_and_no_log(act, caplog):
    caplog.set_level(logging.DEBUG)
    with LocalEndpoint(act) as server, raises("endpoint", "***") as caught:
        to(server, retries=0).complete()
    assert KEY not in str(caught.value)
    assert KEY not in caplog.text


def test_the_key_is_in_no_reply_and_no_repr():
    with LocalEndpoint(says(f"your key is {KEY}")) as server:
        endpoint = to(server)
        assert endpoint.complete().text == "your key is ***"
    assert KEY not in repr(endpoint)


def test_a_placeholder_key_is_not_redacted(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with LocalEndpoint(says('{"refusal": "none"}')) as server:
        assert to(server).complete().text == '{"refusal": "none"}'


def test_a_missing_key_is_an_error_before_the_first_request(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with raises("missing-setting", "OPENAI_API_KEY", "api.openai.com"):
        at()
    with raises("missing-setting", "OTHER_KEY", "https://example.org"):
        at(base_url="https://example.org/v1", key_env="OTHER_KEY")
    monkeypatch.setenv("OPENAI_API_KEY", " ")
    with raises("missing-setting", "OPENAI_API_KEY"):
        at()


def test_a_server_on_this_machine_needs_no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with LocalEndpoint(says("yes")) as server:
        assert to(server).complete().text == "yes"
    for url in ("http://localhost:1/v1", "http://[::1]:1/v1"):
        at(base_url=url)
    with raises("missing-setting", "OPENAI_API_KEY"):
        at(base_url="http://localhost.example.org/v1")


def test_a_key_with_a_line_break_or_a_letter_outside_ascii(monkeypatch):
    for key in ("sk-0123\n456", "sk-\u00e9"):
        monkeypatch.setenv("OPENAI_API_KEY", key)
        with raises("invalid-setting", "OPENAI_API_KEY") as caught:
            at()
        assert key not in str(caught.value)


def test_a_missing_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with raises("needs-package", "pip install 'calib[api]'"):
        at()


def test_the_default_address_ignores_the_environment():
    client = at()._client
    assert str(client.base_url).rstrip("/") == "https://api.openai.com/v1"


def test_the_message_of_a_server_is_quoted_without_its_status():
    reply = types.SimpleNamespace(message="Error code: 400 - {'error': {'message': 'no\nhooks'}}")
    assert backoff.server_message(reply) == "{'error': {'message': 'no hooks'}}"
    reply.body = {"message": "no\nhooks"}
    assert backoff.server_message(reply) == "no hooks"
