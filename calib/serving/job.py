"""One request on its way: what is asked, and who is told what comes of it."""

from collections.abc import Callable
from dataclasses import dataclass

from calib.data.example import Example
from calib.engine.request import Decoding
from calib.serving.api_errors import APIError
from calib.serving.messages import Conversation

UNFINISHED = "\N{REPLACEMENT CHARACTER}"
"""What a character of several tokens is decoded to until its last one is there."""


@dataclass(frozen=True)
class Piece:
    """Some more of the text."""

    text: str


@dataclass(frozen=True)
class Done:
    """The whole answer."""

    text: str
    finish: str
    """stop or length."""
    prompt_tokens: int
    """Of all prompts that were read for it: a method may ask more than once."""
    tokens: int
    """Generated, the end token included."""


Event = Piece | Done | APIError


@dataclass(eq=False)
class Job:
    """A request that waits for the model, or is being answered."""

    conversation: Conversation
    layer: int | None
    strength: float
    decoding: Decoding
    """Requests with equal ones are answered together."""
    tell: Callable[[Event], None]
    """Called in the worker's thread."""
    seed: int = 0
    stop: tuple[str, ...] = ()
    stream: bool = False
    cancelled: bool = False
    """Whether nobody waits for the answer any more."""
    told: str = ""
    """What was streamed so far, also by an attempt that failed."""

    @property
    def example(self) -> Example:
        return self.conversation.example

    def let_go(self) -> None:
        """Free the pictures."""
        for picture in self.conversation.pictures:
            picture.let_go()


class Telling:
    """Watches a text grow: tells the new part of it, and when it has said what ends it."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.before = ""

    def enough(self, text: str) -> bool:
        """Whether a text that has come so far needs no more tokens; what is new of it is told."""
        if self.job.cancelled:
            return True
        ended = cut_at(text, self.job.stop) is not None
        if self.job.stream and not ended:
            # What the next token may still change is held back: the last token's share of the text,
            # and what may be the beginning of a stop text.
            settled = _common(self.before, text).rstrip(UNFINISHED)
            held = max((len(stop) for stop in self.job.stop), default=1) - 1
            self._tell(settled[: len(text) - held] if held else settled)
        self.before = text
        return ended

    def end(self, text: str) -> str:
        """The text without what stands behind a stop text; what was not told yet is.

        Raises ValueError where another beginning was told.
        """
        cut = cut_at(text, self.job.stop)
        whole = text if cut is None else text[:cut]
        if not whole.startswith(self.job.told):
            raise ValueError("the text is not the one that was streamed")
        if self.job.stream:
            self._tell(whole)
        return whole

    def _tell(self, text: str) -> None:
        told = self.job.told
        if len(text) > len(told) and text.startswith(told):
            self.job.tell(Piece(text[len(told) :]))
            self.job.told = text


def cut_at(text: str, stops: tuple[str, ...]) -> int | None:
    """Where the first stop text begins."""
    found = [place for stop in stops if (place := text.find(stop)) >= 0]
    return min(found, default=None)


def _common(one: str, other: str) -> str:
    length = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        length += 1
    return one[:length]
