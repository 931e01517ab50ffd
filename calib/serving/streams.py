"""What waits for a job's events: an answer in chunks, or the first of them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from fastapi import Request
from fastapi.responses import StreamingResponse

from calib.serving.api_errors import APIError
from calib.serving.job import Event, Job, Piece
from calib.serving.limits import Slot
from calib.serving.responses import LAST, Completion, error_event


class Stream(StreamingResponse):
    """A stream that lets the worker know when nobody listens any more."""

    def __init__(self, chunks: AsyncIterator[bytes], job: Job, place: Slot) -> None:
        super().__init__(chunks, media_type="text/event-stream")
        self.headers["Cache-Control"] = "no-cache"
        self.job, self.place = job, place

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.job.cancelled = True
            self.place.leave()


async def event_or_gone(events: "asyncio.Queue[Event]", request: Request) -> Event:
    """The next event.

    Raises APIError when the client goes away before.
    """

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    waits = asyncio.ensure_future(events.get()), asyncio.ensure_future(gone())
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if not waits[0].done():
            raise APIError("the client went away.", None, "disconnected", 499)
        return waits[0].result()
    finally:
        for one in waits:
            one.cancel()


async def chunks_of(
    job: Job,
    completion: Completion,
    first: Event,
    events: "asyncio.Queue[Event]",
    include_usage: bool,
) -> AsyncIterator[bytes]:
    yield completion.chunk({"role": "assistant", "content": ""}, counted=include_usage)
    event = first
    while isinstance(event, Piece):
        yield completion.chunk({"content": event.text}, counted=include_usage)
        event = await events.get()
    if isinstance(event, APIError):
        yield error_event(event)
        return
    yield completion.chunk({}, event.finish, counted=include_usage)
    if include_usage:
        yield completion.counts(event)
    yield LAST
