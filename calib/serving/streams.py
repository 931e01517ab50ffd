"""The event stream of one request: an answer in chunks, or the first of its events."""

from collections.abc import AsyncIterator
from typing import Any

from fastapi.responses import StreamingResponse

from calib.serving.limits import Slot


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
