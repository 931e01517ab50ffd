"""Responses in the format of OpenAI's protocol: whole, or as chunks of a stream."""

import json
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from calib.serving.api_errors import APIError
from calib.serving.job import Done

LAST = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class Completion:
    """What all parts of one answer have in common."""

    model: str
    fingerprint: str
    """Of the weights."""
    calib: dict[str, Any]
    """Method, layer and strength that were in force."""
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, done: Done) -> dict[str, Any]:
        """The answer in one piece."""
        message = {"role": "assistant", "content": done.text, "refusal": None}
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": done.finish,
        }
        return {**self._head("chat.completion"), "choices": [choice], "usage": usage(done)}

    def chunk(
        self, delta: dict[str, Any], finish: str | None = None, counted: bool = False
    ) -> bytes:
        """A part of the answer as an event; ``counted`` says that usage comes at the end."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        found = {**self._head("chat.completion.chunk"), "choices": [choice]}
        return event({**found, "usage": None} if counted else found)

    def counts(self, done: Done) -> bytes:
        """The event that says how many tokens there were."""
        return event({**self._head("chat.completion.chunk"), "choices": [], "usage": usage(done)})

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "calib": self.calib,
        }


def usage(done: Done) -> dict[str, int]:
    """Tokens that were read and generated."""
    return {
        "prompt_tokens": done.prompt_tokens,
        "completion_tokens": done.tokens,
        "total_tokens": done.prompt_tokens + done.tokens,
    }


def event(found: dict[str, Any]) -> bytes:
    """A server-sent event."""
    return b"data: " + json.dumps(found, ensure_ascii=False).encode() + b"\n\n"


def error_event(refused: APIError) -> bytes:
    """An error behind what was streamed already."""
    return event(refused.body)
