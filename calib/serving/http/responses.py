"""Responses in the format of OpenAI's API, complete or streamed."""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, StreamingResponse

from calib.serving.api_errors import APIError, disconnected
from calib.serving.http.limits import Slot
from calib.serving.job import Event, Finished, Job, TextDelta

END_OF_STREAM = b"data: [DONE]\n\n"
IndexedEvent = tuple[int, Event]
"""The index of a choice, and an event of its job."""
PIECE = 64 << 10
"""Bytes of a complete response that are handed to the connection at once."""


@dataclass(frozen=True)
class Completion:
    """The fields shared by all parts of one response."""

    model: str
    fingerprint: str
    """Fingerprint of the weights."""
    calib: dict[str, Any]
    """Method, layer and strength (or strengths, in the order of the choices) that were used."""
    with_token_ids: bool = False
    """Whether the complete response has the tokens of prompt and response."""
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def body(self, finished: Sequence[Finished]) -> dict[str, Any]:
        """The complete response as a JSON object, with a choice for each strength."""
        choices = [self._choice(index, each) for index, each in enumerate(finished)]
        body = {**self._head("chat.completion"), "choices": choices, "usage": usage(finished)}
        first = finished[0]
        if self.with_token_ids:
            body["prompt_token_ids"] = first.prompt_token_ids
        if first.activations is not None:
            body["activations"] = {"residual_stream": first.activations}
        return body

    def _choice(self, index: int, finished: Finished) -> dict[str, Any]:
        choice = {
            "index": index,
            "message": {"role": "assistant", "content": finished.text, "refusal": None},
            "logprobs": None,
            "finish_reason": finished.finish_reason,
        }
        if self.with_token_ids:
            choice["token_ids"] = finished.token_ids
        return choice | _projections(finished)

    def chunk(self, index: int, part: TextDelta | Finished | None, with_usage: bool) -> bytes:
        """The event of one part of a choice: its beginning (None), some text, or its end.

        ``with_usage`` announces a final event with usage.
        """
        choice: dict[str, Any] = {"index": index, "delta": {}, "logprobs": None}
        if isinstance(part, Finished):
            choice |= {"finish_reason": part.finish_reason, **_projections(part)}
        else:
            begun = {"role": "assistant", "content": ""}
            delta = begun if part is None else {"content": part.text}
            choice |= {"delta": delta, "finish_reason": None}
        chunk = {**self._head("chat.completion.chunk"), "choices": [choice]}
        return server_sent_event({**chunk, "usage": None} if with_usage else chunk)

    def usage_chunk(self, finished: Sequence[Finished]) -> bytes:
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


def usage(finished: Sequence[Finished]) -> dict[str, int]:
    """Token counts of the prompts and responses of all choices."""
    prompt = sum(each.prompt_tokens for each in finished)
    completion = sum(each.completion_tokens for each in finished)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def _projections(finished: Finished) -> dict[str, Any]:
    projections = finished.projections
    return {} if projections is None else {"projections": asdict(projections)}


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
    """A streamed response; cancels its jobs and releases its slot when the connection closes."""

    def __init__(self, chunks: AsyncIterator[bytes], jobs: Sequence[Job], slot: Slot) -> None:
        super().__init__(chunks, media_type="text/event-stream")
        self.headers["Cache-Control"] = "no-cache"
        self.jobs, self.slot = jobs, slot

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            for job in self.jobs:
                job.cancelled = True
            self.slot.release()


async def stream_chunks(
    completion: Completion,
    first: IndexedEvent,
    events: "asyncio.Queue[IndexedEvent]",
    choices: int,
    include_usage: bool,
) -> AsyncIterator[bytes]:
    """The events of a streamed response; ``first`` was taken from ``events`` already. The first
    error of one of the ``choices`` ends all."""
    for index in range(choices):
        yield completion.chunk(index, None, include_usage)
    finished: list[Finished] = []
    index, event = first
    while True:
        if isinstance(event, APIError):
            yield server_sent_event(event.body)
            return
        yield completion.chunk(index, event, include_usage)
        if isinstance(event, Finished):
            finished.append(event)
        if len(finished) == choices:
            break
        index, event = await events.get()
    if include_usage:
        yield completion.usage_chunk(finished)
    yield END_OF_STREAM


async def collected(
    events: "asyncio.Queue[IndexedEvent]", choices: int, request: Request
) -> list[Finished]:
    """The response of each choice, none of which is streamed.

    Raises APIError for the first error, and if the client disconnects first.
    """
    finished: dict[int, Finished] = {}
    while len(finished) < choices:
        index, event = await next_event(events, request)
        assert isinstance(event, Finished), "only streamed jobs send text before their response"
        finished[index] = event
    return [finished[index] for index in range(choices)]


async def next_event(events: "asyncio.Queue[IndexedEvent]", request: Request) -> IndexedEvent:
    """The next event of a request's jobs.

    Raises APIError if it is one, or if the client disconnects first.
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
        index, part = event.result()
        if isinstance(part, APIError):
            raise part
        return index, part
    finally:
        event.cancel()
        disconnect_task.cancel()
