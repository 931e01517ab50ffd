"""Errors in the format of OpenAI's API."""

from typing import Any

INVALID, SERVER, BUSY, KEY = (
    "invalid_request_error",
    "server_error",
    "rate_limit_error",
    "authentication_error",
)
"""Error types that clients distinguish."""


class APIError(Exception):
    """A request that gets an error in place of a response."""

    def __init__(
        self,
        message: str,
        param: str | None = None,
        code: str | None = None,
        status: int = 400,
        kind: str = INVALID,
    ) -> None:
        """``param`` is the field at fault, ``code`` a stable name for programs, ``status`` the HTTP
        status and ``kind`` the error type."""
        # A message may quote half of a surrogate pair, which no JSON response can carry.
        message = message.encode(errors="replace").decode()
        super().__init__(message)
        self.message, self.param, self.code = message, param, code
        self.status, self.kind = status, kind

    @property
    def body(self) -> dict[str, Any]:
        """The error as a JSON object."""
        fields = {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }
        return {"error": fields}


def server_error(message: str, code: str = "internal_error", status: int = 500) -> APIError:
    """An error that the server is responsible for."""
    return APIError(message, None, code, status, SERVER)


def unavailable() -> APIError:
    """The error for requests that a stopping server cannot answer."""
    return server_error("The server is stopping.", "stopping", 503)


def worker_ended() -> APIError:
    """The error for requests that are not answered because the worker's thread has ended."""
    return server_error(
        "The worker thread has ended. If GET /health has the status failing, restart the server; "
        "otherwise try again.",
        "worker_ended",
        503,
    )


def stalled(seconds: float) -> APIError:
    """The error for requests that are not answered because the model makes no progress."""
    return server_error(
        f"The model has made no progress for {seconds:g} s: no layer and no token was computed. "
        "Restart the server if GET /health still has the status failing.",
        "stalled",
        503,
    )


def disconnected() -> APIError:
    """The error for a request whose client closed the connection; only logs see it."""
    return APIError("The client closed the connection.", None, "disconnected", 499)
