"""Limits on requests: how many are open, and how large and how slow their bodies are."""

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect, Request

from calib.serving.api_errors import BUSY, APIError, disconnected

MAX_TOTAL_BYTES = 1 << 30
"""Maximum size of all open requests together."""
BODY_TIMEOUT = 60.0
"""Seconds within which a body must arrive."""
BODY_PAUSE = 10.0
"""Longest time without a byte of a body that is not complete, in seconds."""
MAX_DISCARDED_BYTES = 256 << 20
"""Maximum number of bytes read and discarded from a body that is too large. A client that gets its
error while it still sends may see a broken connection instead of the error."""


class Limits:
    """Counts the open requests and their bytes."""

    def __init__(self, max_requests: int, max_bytes: int) -> None:
        """Allow ``max_requests`` open requests of at most ``max_bytes`` each."""
        self.max_requests, self.max_bytes = max_requests, max_bytes
        self.open_requests = self.open_bytes = 0

    def acquire(self) -> "Slot":
        """Reserve a slot for one request.

        Raises APIError (429) when all slots are taken.
        """
        if self.open_requests >= self.max_requests:
            raise _busy(f"{self.max_requests} requests are already open")
        self.open_requests += 1
        return Slot(self)


class Slot:
    """The share of the limits that one request uses."""

    def __init__(self, limits: Limits) -> None:
        self.limits, self.bytes, self.released = limits, 0, False

    def release(self) -> None:
        """Return the slot; calling this again has no effect."""
        if not self.released:
            self.released = True
            self.limits.open_requests -= 1
            self.limits.open_bytes -= self.bytes

    def reserve(self, count: int) -> None:
        """Reserve memory for what a body of this request is decoded to, until the slot is released.

        Raises APIError (429) if the open requests together would use too many bytes.
        """
        if self.limits.open_bytes + count > MAX_TOTAL_BYTES:
            raise _busy("the open requests use all memory reserved for them")
        self.bytes += count
        self.limits.open_bytes += count

    async def read_body(self, request: Request) -> bytes:
        """The body of a request.

        Raises APIError if it is not declared as JSON, too large or too slow, or if the client
        disconnects.
        """
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != "application/json":
            # Web pages of other origins cannot send this content type without permission (CORS),
            # so this also protects a local server from them.
            raise APIError(
                "The Content-Type of the body must be application/json.",
                None,
                "invalid_content_type",
                415,
            )
        try:
            async with asyncio.timeout(BODY_TIMEOUT):
                return await self._read(request)
        except TimeoutError as error:
            raise APIError(
                f"The body took longer than {BODY_TIMEOUT:g} s to arrive, or paused for more than "
                f"{BODY_PAUSE:g} s.",
                None,
                "timeout",
                408,
            ) from error

    async def _read(self, request: Request) -> bytes:
        max_bytes = self.limits.max_bytes
        body = bytearray()  # not a list: a client may send single bytes
        length = 0
        error: APIError | None = None
        async for part in _parts(request):
            length += len(part)
            if error is None and length > max_bytes:
                error = APIError(
                    f"The body is larger than {max_bytes >> 20} MiB. Send smaller images.",
                    None,
                    "request_too_large",
                    413,
                )
            if error is None:
                try:
                    self.reserve(len(part))
                except APIError as busy:
                    error = busy
            if error is None:
                body += part
            elif length > max_bytes + MAX_DISCARDED_BYTES:
                break
            else:
                body.clear()
        if error is not None:
            raise error
        return bytes(body)


async def _parts(request: Request) -> AsyncIterator[bytes]:
    stream = request.stream()
    try:
        while True:
            async with asyncio.timeout(BODY_PAUSE):
                part = await anext(stream, None)
            if part is None:
                return
            yield part
    except ClientDisconnect as error:
        raise disconnected() from error


def _busy(reason: str) -> APIError:
    return APIError(
        f"Too many requests: {reason}. Try again in a moment.", None, "queue_full", 429, BUSY
    )
