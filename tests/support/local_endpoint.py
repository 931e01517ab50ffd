"""A real server on this machine that speaks OpenAI's chat completions, and misbehaves on request.

    with LocalEndpoint(fails(429), says("hello")) as endpoint:
        ...                                # ask endpoint.url
    endpoint.requests[0].body["messages"]

What it does is a list of acts, one a request in order of arrival, the last one again and again; or
one function from the request to an act, for clients that ask in parallel.
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
    """What a client sent."""

    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: dict[str, Any]

    @property
    def system(self) -> str:
        return self.body["messages"][0]["content"]

    @property
    def user(self) -> Any:
        return self.body["messages"][-1]["content"]

    @property
    def said(self) -> dict[str, str]:
        """The JSON object that the user's message is, or holds beside a picture."""
        return json.loads(self.user if isinstance(self.user, str) else self.user[0]["text"])


Act = Callable[[BaseHTTPRequestHandler], None]


def says(content: str | None, end: str = "stop", model: str | None = None, **message: Any) -> Act:
    """A completion by the model that was asked, or by ``model``; ``message`` adds to its message
    (refusal=...)."""

    def act(handler: Any) -> None:
        whole = {"role": "assistant", "content": content, **message}
        answer = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 0,
            "model": model or handler.request_seen.body["model"],
            "choices": [{"index": 0, "message": whole, "finish_reason": end}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }
        _send(handler, 200, json.dumps(answer))

    return act


def fails(status: int, message: str = "made up", code: str | None = None, **headers: str) -> Act:
    """An error; headers as retry_after="0"."""
    body = json.dumps({"error": {"message": message, "type": "made_up", "code": code}})
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: _send(handler, status, body, headers=named)


def writes(text: str, kind: str = "application/json") -> Act:
    """Status 200 and any body."""
    return lambda handler: _send(handler, 200, text, kind)


def hangs(released: threading.Event) -> Act:
    """No answer until the event, then a closed connection."""
    return lambda handler: (released.wait(30), None)[1]


def resets(handler: BaseHTTPRequestHandler) -> None:
    """The connection is reset before anything is answered."""
    # Lingering for no time sends RST instead of FIN.
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


class LocalEndpoint:
    """The server; use it in a with statement."""

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

            def handle_error(self, *_: Any) -> None:  # a client that gave up is no news
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
        under_way = [request]

        def ended() -> None:
            with self._lock:
                self._at_once -= len(under_way)
                under_way.clear()

        # Before the answer goes out: whoever has it may ask again before this thread runs again.
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
