"""Every error is JSON in the format of the API, also those of defects and of a stopping server."""

import asyncio
import json
import logging

import pytest

from calib.serving.api_errors import APIError
from calib.serving.http.access import Access
from calib.serving.http.gate import Gate
from calib.serving.http.limits import Limits
from calib.serving.http.responses import CompleteResponse

SCOPE = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", b"localhost")]}


def answered(app, access=None):
    """The messages that an application behind the gate sends."""
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    asyncio.run(Gate(app, access or Access())(SCOPE, receive, send))
    return sent


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ZeroDivisionError("SECRET"), 500, "internal_error"),
        (asyncio.CancelledError(), 503, "stopping"),
        (APIError("no", None, "teapot", 418), 418, "teapot"),
    ],
)
def test_errors_are_json(error, status, code, caplog):
    async def app(scope, receive, send):
        raise error

    with caplog.at_level(logging.DEBUG, "calib.serve"):
        start, body = answered(app)
    assert start["status"] == status and b"application/json" in dict(start["headers"]).values()
    assert json.loads(body["body"])["error"]["code"] == code
    assert "SECRET" not in caplog.text


def test_a_response_that_has_begun_is_cut_off():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    assert [message["type"] for message in answered(app)] == ["http.response.start"]


def test_a_complete_response_keeps_its_slot_until_its_last_piece():
    limits = Limits(1, 1)
    still_open = []

    async def app(scope, receive, send):
        async def watched(message):
            still_open.append(limits.open_requests)
            await send(message)

        await CompleteResponse({"text": "x" * 200_000}, limits.acquire())(scope, receive, watched)

    _, *pieces = answered(app)
    assert json.loads(b"".join(piece["body"] for piece in pieces)) == {"text": "x" * 200_000}
    assert len(pieces) == 4 and not pieces[-1]["more_body"]
    assert still_open == [1, 1, 1, 1, 0] and limits.open_requests == 0
