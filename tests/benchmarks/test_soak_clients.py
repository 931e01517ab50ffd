"""The soak test tells complete responses and errors from everything else."""

import json

import pytest

pytest.importorskip("h11", reason="the serve extra brings uvicorn, which brings h11")

from benchmarks.soak_clients import outcome  # noqa: E402

ANSWER = json.dumps({"choices": [{"message": {"content": "Hello"}}]}).encode()
ERROR = json.dumps({"error": {"message": "Too many.", "code": None}}).encode()


def reply(status, body, length=None):
    length = len(body) if length is None else length
    return b"HTTP/1.1 %d Any\r\nContent-Length: %d\r\n\r\n%s" % (status, length, body)


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        (reply(200, ANSWER), "answered"),
        (reply(200, b'data: {"choices": []}\n\ndata: [DONE]\n\n'), "answered"),
        (reply(200, b"data: " + ERROR + b"\n\n"), "failed"),
        (reply(429, ERROR), "refused"),
        (reply(503, ERROR), "failed"),
        (b"", "lost"),
        (reply(200, ANSWER, len(ANSWER) + 1), "lost"),
        (reply(200, b'data: {"choices": []}\n\n'), "lost"),
        (reply(200, b'{"choices": []}'), "lost"),
        (reply(500, b"Internal Server Error"), "lost"),
        (reply(500, b"{}"), "lost"),
    ],
)
def test_outcomes(received, expected):
    assert outcome(received) == expected
