"""Connections with deadlines, for clients that send or read slowly, or not at all.

uvicorn itself has one deadline, for connections that are idle between two requests. Those of bodies
are in calib.serving.http.limits.
"""

import asyncio
import json
from http import HTTPStatus

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from calib.serving.api_errors import APIError, server_error

HEAD_SECONDS = 10.0
"""Time for the request line and headers, from the connection's start or from their first byte."""
LINGER_SECONDS = 10.0
"""Time for the rest of a body whose request has its response already, such as an error."""
READER_SECONDS = 30.0
"""Time in which a client must read what is buffered for it, at most about 128 KiB."""


class Connection(H11Protocol):
    """A connection that is closed when its client misses a deadline."""

    max_connections = 4096
    """Largest number of connections; see ``limited_connections``."""
    _deadline: asyncio.TimerHandle | None = None
    _awaited: str = ""
    """What the present deadline is for: "head", "body" or nothing."""
    _reader_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.max_connections and not self._close_idle():
            self._refuse(
                server_error("The server has too many connections.", "too_many_connections", 503)
            )
            return
        self._await("head")

    def connection_lost(self, exc: Exception | None) -> None:
        self._await("")
        self._stop_reader_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._await(self._expected(head=True))

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._await(self._expected(head=bool(self.conn.trailing_data[0])))

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._reader_deadline is None:
            self._reader_deadline = self.loop.call_later(READER_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_reader_deadline()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._close_now()

    def send_400_response(self, msg: str) -> None:
        """Refuse a request that is not HTTP, in the format of all other errors."""
        self._refuse(APIError(msg, None, "invalid_http"))

    def _expected(self, head: bool) -> str:
        """What the client has to send now; ``head`` says whether a head has begun."""
        if self.transport.is_closing():
            return ""
        if self.conn.their_state is h11.IDLE:
            return "head" if head else ""
        answered = self.cycle is not None and self.cycle.response_complete
        return "body" if answered and self.conn.their_state is h11.SEND_BODY else ""

    def _await(self, awaited: str) -> None:
        if awaited == self._awaited:
            return  # a byte now and then does not extend a deadline
        if self._deadline is not None:
            self._deadline.cancel()
        seconds = {"head": HEAD_SECONDS, "body": LINGER_SECONDS}.get(awaited)
        self._awaited = awaited
        self._deadline = self.loop.call_later(seconds, self._miss) if seconds else None

    def _miss(self) -> None:
        if self._awaited == "head" and self.conn.trailing_data[0]:
            reason = f"The headers took longer than {HEAD_SECONDS:g} s to arrive."
            self._refuse(APIError(reason, None, "timeout", 408))
        else:
            self._close_now()

    def _close_now(self) -> None:
        # close() would wait for a client that does not read what is buffered.
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def _stop_reader_deadline(self) -> None:
        if self._reader_deadline is not None:
            self._reader_deadline.cancel()
            self._reader_deadline = None

    def _close_idle(self) -> bool:
        """Close the connections that are idle between two requests; whether there were any."""
        idle = [
            each
            for each in self.connections
            if isinstance(each, Connection) and each.timeout_keep_alive_task is not None
        ]
        for each in idle:
            each.timeout_keep_alive_handler()
        return bool(idle)

    def _refuse(self, error: APIError) -> None:
        body = json.dumps(error.body).encode()
        lines = [
            f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "Connection: close",
        ]
        # Written past h11, which after an invalid request is in a state that allows no more.
        self.transport.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        self.transport.close()


def limited_connections(maximum: int) -> type[Connection]:
    """The class of connections of a server that has at most ``maximum``.

    Beyond it, connections that are idle between two requests are closed, and a new one gets 503 if
    there are none.
    """
    return type("Connection", (Connection,), {"max_connections": maximum})
