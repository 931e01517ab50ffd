"""Responses in the format of OpenAI's API, complete or streamed."""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, StreamingResponse

from calib.serving.api_errors import APIError, disconnected
from calib.serving.http.limits import Slot
from calib.serving.job import Event, Finished, Job, TextDelta

END_OF_STREAM = b"data: [DONE]\n\n"
PIECE = 64 << 10
"""Bytes of a complete response that are handed to the connection at once."""


@dataclass(frozen=True)
class Completion:
    """The fields shared by all parts of one response."""

    model: str
    fingerprint: str
    """Fingerprint of the weights."""
    calib: dict[str, Any]
    """Method, layer and strength that were used."""
    with_token_ids: bool = False
    """Whether the complete response has the tokens of prompt and response."""
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def body(self, finished: Finished) -> dict[str, Any]:
        """The complete response as a JSON object."""
        message = {"role": "assistant", "content": finished.text, "refusal": None}
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": finished.finish_reason,
        }
        body = {**self._head("chat.completion"), "choices": [choice], "usage": usage(finished)}
        if self.with_token_ids:
            choice["token_ids"] = finished.token_ids
            body["prompt_token_ids"] = finished.prompt_token_ids
        if finished.activations is not None:
            body["activations"] = {"residual_stream": finished.activations}
        return body

    def chunk(
        self, delta: dict[str, Any], finish_reason: str | None = None, with_usage: bool = False
    ) -> bytes:
        """The event of one part of a stream; ``with_usage`` announces a final event with usage."""
        choice = {
            "index": 0,
            "delta": delta,
            "logprobs": None,
            "finish_reason": finish_reason,
        }
        chunk = {**self._head("chat.completion.chunk"), "choices": [choice]}
        return server_sent_event({**chunk, "usage": None} if with_usage else chunk)

    def usage_chunk(self, finished: Finished) -> bytes:
        """The event with the token counts, after the last part of a stream."""
        head = self._head("chat.completion.chunk")
        return server_sent_event({**head, "choices": [], "usage": usage(finished)})

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "calib": self.calib,
        }


def usage(finished: Finished) -> dict[str, int]:
    """Token counts of prompts and response."""
    return {
        "prompt_tokens": finished.prompt_tokens,
        "completion_tokens": finished.completion_tokens,
        "total_tokens": finished.prompt_tokens + finished.completion_tokens,
    }


def server_sent_event(body: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


class CompleteResponse(JSONResponse):
    """A response in one body; keeps its slot until its last piece is sent."""

    def __init__(self, body: dict[str, Any], slot: Slot) -> None:
        super().__init__(body)
        self.slot = slot

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = memoryview(self.body)
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        try:
            await send(start)
            # The connection takes the next piece when the previous ones have been sent.
            for k in range(0, len(body), PIECE):
                more = k + PIECE < len(body)
                piece = bytes(body[k : k + PIECE])
                if not more:
                    # Before the client has everything: its next request must find the slot free.
                    self.slot.release()
                await send({"type": "http.response.body", "body": piece, "more_body": more})
        finally:
            self.slot.release()


class EventStream(StreamingResponse):
    """A streamed response; cancels its job and releases its slot when the connection closes."""

    def __init__(self, chunks: AsyncIterator[bytes], job: Job, slot: Slot) -> None:
        super().__init__(chunks, media_type="text/event-stream")
        self.headers["Cache-Control"] = "no-cache"
        self.job, self.slot = job, slot

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.job.cancelled = True
            self.slot.release()


async def stream_chunks(
    completion: Completion,
    first: Event,
    events: "asyncio.Queue[Event]",
    include_usage: bool,
) -> AsyncIterator[bytes]:
    """The events of a streamed response; ``first`` was taken from ``events`` already."""
    yield completion.chunk({"role": "assistant", "content": ""}, with_usage=include_usage)
    event = first
    while isinstance(event, TextDelta):
        yield completion.chunk({"content": event.text}, with_usage=include_usage)
        event = await events.get()
    if isinstance(event, APIError):
        yield server_sent_event(event.body)
        return
    yield completion.chunk({}, event.finish_reason, with_usage=include_usage)
    if include_usage:
        yield completion.usage_chunk(event)
    yield END_OF_STREAM


async def next_event(events: "asyncio.Queue[Event]", request: Request) -> Event:
    """The next event of a job.

    Raises APIError if the client disconnects first.
    """

    async def disconnect() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    event = asyncio.ensure_future(events.get())
    disconnect_task = asyncio.ensure_future(disconnect())
    try:
        await asyncio.wait((event, disconnect_task), return_when=asyncio.FIRST_COMPLETED)
        if not event.done():
            raise disconnected()
        return event.result()
    finally:
        event.cancel()
        disconnect_task.cancel()
