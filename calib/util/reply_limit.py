"""HTTP clients for the openai package that give up replies that are too large, too slow or packed.

A server may be broken, or not the one that was meant: its reply must not fill the memory.
"""

import contextlib
import importlib
import time
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from types import ModuleType
from typing import Any

import psutil

MAX_REPLY = 16 * 2**20
"""Largest reply, in bytes: a completion of 100,000 tokens has less than one million."""
_ALLOWED: ContextVar[int | None] = ContextVar("allowed", default=None)


def limited_client(openai: ModuleType, seconds: float, *, asynchronous: bool = False) -> Any:
    """An HTTP client that gives up replies of more than MAX_REPLY bytes (or as many as
    ``large_replies`` allows), and those that are not complete after ``seconds``.

    It follows no redirect, because a request contains data.
    """
    base = openai.DefaultAsyncHttpxClient if asynchronous else openai.DefaultHttpxClient
    # httpx, or its successor, by the version of openai.
    http = importlib.import_module(base.__base__.__module__.partition(".")[0])

    class Limit:
        def __init__(self) -> None:
            self.end, self.size = time.monotonic() + seconds, 0
            self.most = _ALLOWED.get() or MAX_REPLY

        def passed(self, chunk: bytes) -> bytes:
            self.size += len(chunk)
            if self.size > self.most:
                raise http.ReadError(f"the reply has more than {self.most:,} bytes")
            if time.monotonic() > self.end:
                raise http.ReadTimeout(f"the reply is not complete after {seconds:g} s")
            return chunk

    class Limited(http.SyncByteStream):  # type: ignore[name-defined]
        def __init__(self, stream: Any) -> None:
            self.stream = stream

        def __iter__(self) -> Iterator[bytes]:
            yield from map(Limit().passed, self.stream)

        def close(self) -> None:
            self.stream.close()

    class AsyncLimited(http.AsyncByteStream):  # type: ignore[name-defined]
        def __init__(self, stream: Any) -> None:
            self.stream = stream

        async def __aiter__(self) -> AsyncIterator[bytes]:
            limit = Limit()
            async for chunk in self.stream:
                yield limit.passed(chunk)

        async def aclose(self) -> None:
            await self.stream.aclose()

    def limit(response: Any) -> None:
        encoding = response.headers.get("content-encoding", "identity")
        if encoding != "identity":  # a kilobyte may be a megabyte when it is unpacked
            raise http.DecodingError(
                f"the reply is compressed ({encoding[:20]}), which was not requested"
            )
        response.stream = (AsyncLimited if asynchronous else Limited)(response.stream)

    async def limit_asynchronously(response: Any) -> None:
        limit(response)

    return base(
        event_hooks={"response": [limit_asynchronously if asynchronous else limit]},
        headers={"Accept-Encoding": "identity"},
        follow_redirects=False,
    )


@contextlib.contextmanager
def large_replies(wanted: bool = True) -> Iterator[None]:
    """Allow replies of up to a quarter of the machine's memory in a block, if ``wanted``: with
    activations or a vocabulary's log-probabilities."""
    token = _ALLOWED.set(psutil.virtual_memory().total // 4 if wanted else None)
    try:
        yield
    finally:
        _ALLOWED.reset(token)
