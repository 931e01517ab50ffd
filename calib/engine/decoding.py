"""How rows are to be answered, and what comes of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from calib.data.example import Example
from calib.engine.edit import Edits


@dataclass(frozen=True)
class Decoding:
    """How responses are generated."""

    max_new_tokens: int = 32
    batch_rows: int = 256
    """Rows in flight at once, where memory allows."""
    memory: int | None = None
    """Bytes that keys, values and activations may take; None measures what is free."""
    temperature: float = 0.0
    """0 takes the likeliest token."""
    top_p: float = 1.0
    """Draw among the likeliest tokens that together have this probability."""
    kl: bool = True
    """Whether the KL of each row is measured; where nobody asks for the unedited row, its prompt is
    read along for that, and so is every base."""
    sharing: bool = True
    """Whether rows of one prompt share what they have in common; the responses are the same."""
    seed: int = 0
    """Where draws start, together with the row's own seed."""

    @property
    def identity(self) -> str:
        """What of this a response depends on."""
        if self.temperature == 0:
            return str(self.max_new_tokens)
        return f"{self.max_new_tokens}/{self.temperature:g}/{self.top_p:g}/{self.seed}"


@dataclass(frozen=True)
class Asked:
    """One row: an example, and what is done to the model while it answers."""

    example: Example
    edits: Edits = ()
    seed: int = 0
    """Where sampling is on: rows with equal seeds draw alike."""
    certain: Callable[[str], bool] | None = None
    """Whether a response that begins so needs no more tokens; None lets it end by itself."""
    base: Example | None = None
    """The prompt whose unedited first-token distribution KL is measured against; None is the row's
    own."""


@dataclass(frozen=True)
class Response:
    """What one row answered."""

    text: str
    tokens: tuple[int, ...]
    """Generated tokens, the end token included."""
    finish: str
    """"stop" when the model ended its answer, "length" when it reached max_new_tokens, "cut" when
    what it had said was enough, "not_finite" when its logits were not finite, "blocked" when a
    remote provider's filter ended or withheld it."""
    kl: float | None
    """KL(edited || unedited) of the first response token, in nats, where unedited is the row's own
    prompt or the base that was asked for; None where not measured."""
    remote: Mapping[str, Any] | None = None
    """What an endpoint said besides, by the names it is recorded under; None for a loaded model."""
