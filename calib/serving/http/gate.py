"""The outermost part of the application: the check of the host, and the format of all errors."""

import asyncio
import logging
import traceback
from typing import Any

from fastapi.responses import JSONResponse
from starlette.requests import Request

from calib.serving.api_errors import APIError, server_error, unavailable
from calib.serving.http.access import Access

log = logging.getLogger("calib.serve")


class Gate:
    """ASGI middleware: no request passes it with a wrong host, and no error without a body."""

    def __init__(self, app: Any, access: Access) -> None:
        self.app, self.access = app, access

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def send_watched(message: Any) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            self.access.check_host(Request(scope))
            await self.app(scope, receive, send_watched)
            return
        except APIError as refusal:
            error = refusal
        except asyncio.CancelledError:  # the server stops, and its grace period is over
            error = unavailable()
        except Exception as failure:
            error = failed(failure)
        # A response that has begun is cut off: uvicorn closes the connection.
        if not started:
            await error_response(error)(scope, receive, send)


def error_response(error: APIError) -> JSONResponse:
    """The response to a request that has failed."""
    headers = {"Retry-After": "1"} if error.status in (429, 503) else {}
    return JSONResponse(error.body, error.status, headers)


def failed(error: Exception) -> APIError:
    """The error for a request that a defect of the server has ended; it is logged without its
    message, which may quote the request."""
    stack = "".join(traceback.format_tb(error.__traceback__))
    log.error("a request failed: %s\n%s", type(error).__name__, stack)
    return server_error("The server failed; see its log.")
