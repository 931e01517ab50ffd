"""Requests to the engine, the settings of decoding, and the responses."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from calib.data.example import Example
from calib.engine.edits import REACH, Edits
from calib.models.prompts import Prompt


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
class Request:
    """One row: an example, and what is done to the model while it answers."""

    example: Example
    edits: Edits = ()
    seed: int = 0
    """Where sampling is on: rows with equal seeds draw alike."""
    is_final: Callable[[str], bool] | None = None
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


@dataclass
class DecodingRow:
    """What is asked, and what has been answered so far."""

    index: int
    """Where its response belongs."""
    prompt: Prompt
    edits: Edits
    seed: int | None = None
    """Where its draws start; None takes the likeliest token."""
    is_final: Callable[[str], bool] | None = None
    """Whether a response that begins so needs no more tokens."""
    base: Prompt | None = None
    """Another prompt whose unedited first token KL is measured against; None is its own."""
    generator: torch.Generator | None = None
    tokens: list[int] = field(default_factory=list)
    kl: float | None = None
    finish: str | None = None
    """None while it is on its way, then as in Response."""

    def restart(self) -> None:
        """Forget what was generated."""
        self.tokens, self.finish, self.generator = [], None, None
        if self.seed is not None:
            device = self.prompt.tokens.device
            self.generator = torch.Generator(device).manual_seed(self.seed)

    def forks_before_last(self) -> bool:
        """Whether an edit begins before the last token of the prompt."""
        return any(REACH[edit.positions][0] for edit in self.edits)


def token_history(row: DecodingRow) -> torch.Tensor:
    """Prompt and response of a row so far. # [length] int64"""
    tokens = row.prompt.tokens
    return torch.cat([tokens, torch.tensor(row.tokens, dtype=tokens.dtype, device=tokens.device)])


@dataclass
class Stats:
    """Counts since the engine was made."""

    rows: int = 0
    """Rows answered."""
    tokens: int = 0
    """Tokens of their responses, the end token included."""
    prefill_token_layers: int = 0
    """Tokens of prompts that passed a decoder block, padding included."""
    decode_row_steps: int = 0
    """Rows of the batches that decoding passed through the model, a token each."""
    retries: int = 0
    """How often a batch was made smaller because memory ran out."""
