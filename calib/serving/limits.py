"""Who comes in: how many requests at once, how large, and from where."""

import asyncio
import hmac
from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect, Request

from calib.serving.api_errors import BUSY, KEY, APIError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
TOGETHER = 1 << 30
"""Bytes of all requests that are here at once."""
ARRIVING = 60.0
"""Seconds that a body may take to arrive."""
DRAINED = 256 << 20
"""Bytes of a body that is too large that are still taken in and thrown away: a client that is
answered while it sends may see a broken connection instead of the answer."""


class Admission:
    """Counts the requests that are here, and their bytes."""

    def __init__(self, most: int, largest: int) -> None:
        """At most ``most`` requests at once, of at most ``largest`` bytes."""
        self.most, self.largest = most, largest
        self.here = self.bytes = 0

    def enter(self) -> "Slot":
        """A place for one request.

        Raises Refused where there is none.
        """
        if self.here >= self.most:
            raise _busy(f"{self.most} requests are waiting already")
        self.here += 1
        return Slot(self)


class Slot:
    """One request's share."""

    def __init__(self, admission: Admission) -> None:
        self.admission, self.bytes, self.left = admission, 0, False

    def leave(self) -> None:
        """Make room for another; a second time does nothing."""
        if not self.left:
            self.left = True
            self.admission.here -= 1
            self.admission.bytes -= self.bytes

    async def body(self, request: Request) -> bytes:
        """The body of a request.

        Raises Refused for one that is no JSON by its own account, too large, or too slow.
        """
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            # Also what keeps other sites' pages from asking: they cannot send this unasked.
            raise APIError(
                "the body's Content-Type is not application/json.", None, "invalid_content_type",
                415,
            )  # fmt: skip
        try:
            async with asyncio.timeout(ARRIVING):
                return await self._read(request)
        except TimeoutError as error:
            raise APIError(
                f"the body took longer than {ARRIVING:g} s to arrive.", None, "timeout", 408
            ) from error

    async def _read(self, request: Request) -> bytes:
        largest = self.admission.largest
        parts: list[bytes] = []
        length = 0
        refused: APIError | None = None
        async for part in _parts(request):
            length += len(part)
            if refused is None and length > largest:
                refused = APIError(
                    f"the body is larger than {largest >> 20} MiB. Send smaller pictures.",
                    None,
                    "request_too_large",
                    413,
                )
            elif refused is None and self.admission.bytes + len(part) > TOGETHER:
                refused = _busy("the requests that wait take all the memory there is for them")
            if refused is None:
                parts.append(part)
                self.bytes += len(part)
                self.admission.bytes += len(part)
            elif length > largest + DRAINED:
                break
            else:
                parts.clear()
        if refused is not None:
            raise refused
        return b"".join(parts)


async def _parts(request: Request) -> AsyncIterator[bytes]:
    try:
        async for part in request.stream():
            yield part
    except ClientDisconnect as error:
        raise APIError("the client went away.", None, "disconnected", 499) from error


def _busy(why: str) -> APIError:
    return APIError(f"{why}. Try again in a moment.", None, "queue_full", 429, BUSY)


def check_key(request: Request, key: str | None) -> None:
    """Raise Refused unless the request has the key, where there is one."""
    if key is None:
        return
    given = request.headers.get("authorization", "")
    scheme, _, said = given.partition(" ")
    # Headers are decoded as Latin-1, whatever they hold.
    right = hmac.compare_digest(said.strip().encode("latin-1", "replace"), key.encode())
    if scheme.lower() != "bearer" or not right:
        raise APIError(
            "the key is missing or wrong. Give the server's as api_key.",
            None,
            "invalid_api_key",
            401,
            KEY,
        )


def check_host(request: Request) -> None:
    """Raise Refused for another name of this machine than its own: a page whose address was turned
    to this machine could ask in the name of whoever looks at it."""
    host = request.headers.get("host", "")
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    if name.strip("[]").lower() not in LOOPBACK:
        raise APIError(
            "this server answers to localhost only. To serve others give host=0.0.0.0 and key_env.",
            None,
            "unknown_host",
            403,
        )
