"""A queued request, the events it produces, and the tracking of its growing response."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from calib.data.example import Example
from calib.directions.token_projections import TokenProjections
from calib.engine.request import Decoding
from calib.serving.api_errors import APIError
from calib.serving.messages import Conversation
from calib.serving.served_model import ServedModel
from calib.serving.steering_vectors import Steering

UNFINISHED = "\N{REPLACEMENT CHARACTER}"
"""Decoded form of a character whose last token is not generated yet."""


@dataclass(frozen=True)
class TextDelta:
    """The next part of a streamed response."""

    text: str


@dataclass(frozen=True)
class Finished:
    """A complete response."""

    text: str
    finish_reason: str
    """"stop" or "length"."""
    prompt_tokens: int
    """Total over all prompts of the response; a method may use several."""
    completion_tokens: int
    """Number of generated tokens, including end tokens, over all prompts."""
    prompt_token_ids: list[int] = field(default_factory=list)
    """Tokens of the prompt that the response answers."""
    token_ids: list[int] = field(default_factory=list)
    """Tokens of the response, including the end token and tokens after a stop sequence."""
    activations: dict[str, Any] | None = None
    """Residual stream of that prompt and response, in the format of vllm-lens; None if the request
    asks for none. # [layers, prompt + response - 1, width]"""
    projections: TokenProjections | None = None
    """Projections of these tokens on the method's direction; None if the request asks for none."""


LARGE_PIXELS = 4_000_000
"""Pixels of a request, decoded, above which it gets a batch of its own."""

Event = TextDelta | Finished | APIError


@dataclass(eq=False)
class Job:
    """A request that waits for the model or is being answered."""

    conversation: Conversation
    layer: int | None
    strength: float
    decoding: Decoding
    """Jobs with equal decoding settings are answered in one batch."""
    notify: Callable[[Event], None]
    """Receives every event, in the worker's thread; see ``send``."""
    steering: Steering = Steering()
    """Steering vectors of the request, added to what the method does."""
    residual_layers: tuple[int, ...] = ()
    """Layers whose residual stream the client asks for."""
    projected_layer: int | None = None
    """Layer at which the client asks for projections on the method's direction."""
    served: ServedModel | None = None
    """The method that answers; None is the worker's own."""
    seed: int = 0
    stop: tuple[str, ...] = ()
    """Stop sequences."""
    stream: bool = False
    cancelled: bool = False
    """Whether the client has disconnected or the server is stopping."""
    streamed: str = ""
    """Text sent so far, including text from a failed attempt."""
    finished: bool = False
    """Whether the final event has been sent: the response or an error."""

    def send(self, event: Event) -> None:
        """Deliver an event; after the final one, further events have no effect.

        A job whose events cannot be delivered is cancelled.
        """
        if self.finished:
            return
        self.finished = not isinstance(event, TextDelta)
        try:
            self.notify(event)
        except Exception:  # an error here must not fail the other jobs of the batch
            self.cancelled = True

    @property
    def large(self) -> bool:
        """Whether the pictures take the model's processor so long that other jobs go first."""
        return self.conversation.pixels > LARGE_PIXELS

    @property
    def example(self) -> Example:
        return self.conversation.example

    def release_images(self) -> None:
        """Free the memory of the request's images."""
        for image in self.conversation.images:
            image.release()


class ResponseTracker:
    """Streams a job's response as it grows, and detects its stop sequences."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.previous = ""

    def update(self, text: str) -> bool:
        """Stream the new part of the response so far; true when no more tokens are needed."""
        if self.job.cancelled:
            return True
        ended = stop_index(text, self.job.stop) is not None
        if self.job.stream and not ended:
            # Hold back text that the next token may still change: the share of the last token, and
            # a possible beginning of a stop sequence.
            stable = _common_prefix(self.previous, text).rstrip(UNFINISHED)
            held_back = max((len(stop) for stop in self.job.stop), default=1) - 1
            self._send(stable[: len(text) - held_back] if held_back else stable)
        self.previous = text
        return ended

    def finish(self, text: str) -> str:
        """Stream the rest, and return the response up to its first stop sequence.

        Raises ValueError if the streamed text is not a prefix of the response.
        """
        end = stop_index(text, self.job.stop)
        response = text if end is None else text[:end]
        if not response.startswith(self.job.streamed):
            raise ValueError("The response differs from the text that was streamed")
        if self.job.stream:
            self._send(response)
        return response

    def _send(self, text: str) -> None:
        streamed = self.job.streamed
        if len(text) > len(streamed) and text.startswith(streamed):
            self.job.send(TextDelta(text[len(streamed) :]))
            self.job.streamed = text


def stop_index(text: str, stops: tuple[str, ...]) -> int | None:
    """Index of the first stop sequence in the text; None if there is none."""
    indices = [index for stop in stops if (index := text.find(stop)) >= 0]
    return min(indices, default=None)


def _common_prefix(a: str, b: str) -> str:
    pairs = enumerate(zip(a, b, strict=False))
    return a[: next((k for k, (x, y) in pairs if x != y), min(len(a), len(b)))]
