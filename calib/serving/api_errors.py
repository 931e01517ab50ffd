"""Errors in the format of OpenAI's protocol."""

from typing import Any

INVALID, SERVER, BUSY, KEY = (
    "invalid_request_error",
    "server_error",
    "rate_limit_error",
    "authentication_error",
)
"""Types of errors, as clients tell them apart."""


class APIError(Exception):
    """A request that gets an error instead of an answer."""

    def __init__(
        self,
        message: str,
        param: str | None = None,
        code: str | None = None,
        status: int = 400,
        kind: str = INVALID,
    ) -> None:
        """``param`` is the field that is to blame, ``code`` a name that programs can go by."""
        super().__init__(message)
        self.message, self.param, self.code = message, param, code
        self.status, self.kind = status, kind

    @property
    def body(self) -> dict[str, Any]:
        """The error as JSON."""
        said = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return {"error": said}


def failed(message: str, code: str = "internal_error", status: int = 500) -> APIError:
    """An error that is the server's own."""
    return APIError(message, None, code, status, SERVER)


def stopping() -> APIError:
    """What requests hear that are here when the server stops."""
    return failed("the server stops.", "stopping", 503)
