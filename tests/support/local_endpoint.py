"""A real server on this machine that speaks OpenAI's chat completions, and fails on request.

    with LocalEndpoint(fails(429), says("hello")) as endpoint:
        ...                                # send requests to endpoint.url
    endpoint.requests[0].body["messages"]

Its behaviour is a list of acts, one per request in order of arrival, the last of them repeated; or
a function from the request to an act, for clients that send requests in parallel.
"""

import json
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Request:
    """A request of a client."""

    path: str
    headers: dict[str, str]
    """Header names are in lower case."""
    body: dict[str, Any]

    @property
    def system(self) -> str:
        return self.body["messages"][0]["content"]

    @property
    def user(self) -> Any:
        return self.body["messages"][-1]["content"]

    @property
    def payload(self) -> dict[str, str]:
        """The JSON object in the user's message, which may contain an image besides."""
        return json.loads(self.user if isinstance(self.user, str) else self.user[0]["text"])


Act = Callable[[BaseHTTPRequestHandler], None]


def says(
    content: str | None,
    end: str = "stop",
    model: str | None = None,
    prompt_tokens: int = 1,
    **message: Any,
) -> Act:
    """Answer with a completion of the requested model, or of ``model``.

    ``prompt_tokens`` is the length of the prompt that it reports; ``message`` adds fields to its
    message, e.g. refusal=...
    """

    def act(handler: Any) -> None:
        full = {"role": "assistant", "content": content, **message}
        completion = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 0,
            "model": model or handler.request_seen.body["model"],
            "choices": [{"index": 0, "message": full, "finish_reason": end}],
            "usage": {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": 1,
                "total_tokens": prompt_tokens + 1,
            },
        }
        _send(handler, 200, json.dumps(completion))

    return act


def fails(status: int, message: str = "made up", code: str | None = None, **headers: str) -> Act:
    """Answer with an error; headers as in retry_after="0"."""
    body = json.dumps({"error": {"message": message, "type": "made_up", "code": code}})
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: _send(handler, status, body, headers=named)


def writes(text: str, kind: str = "application/json") -> Act:
    """Answer with status 200 and any body."""
    return lambda handler: _send(handler, 200, text, kind)


def hangs(released: threading.Event) -> Act:
    """Wait for the event without an answer, then close the connection."""
    return lambda handler: (released.wait(30), None)[1]


def resets(handler: BaseHTTPRequestHandler) -> None:
    """Reset the connection without an answer."""
    # Lingering for zero seconds sends RST instead of FIN.
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


class LocalEndpoint:
    """The server, to be used in a with statement."""

    def __init__(self, *acts: Act, by: Callable[[Request], Act] | None = None) -> None:
        self.requests: list[Request] = []
        """All requests so far, in order of arrival."""
        self.most_at_once = 0
        self._acts, self._by = list(acts), by
        self._lock = threading.Lock()
        self._at_once = 0
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                endpoint._answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:  # a client disconnected
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> "LocalEndpoint":
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, handler: Any) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        request = Request(handler.path, headers, json.loads(body))
        handler.request_seen = request
        with self._lock:
            number = len(self.requests)
            self.requests.append(request)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        act = self._by(request) if self._by else self._acts[min(number, len(self._acts) - 1)]
        in_flight = [request]

        def ended() -> None:
            with self._lock:
                self._at_once -= len(in_flight)
                in_flight.clear()

        # Before the answer is sent, because the client may send its next request before this
        # thread runs again.
        handler.ended = ended
        try:
            act(handler)
        finally:
            ended()


def _send(
    handler: Any,
    status: int,
    body: str,
    kind: str = "application/json",
    headers: dict[str, str] | None = None,
) -> None:
    data = body.encode()
    handler.ended()
    handler.send_response(status)
    for name, value in {"Content-Type": kind, **(headers or {})}.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)
