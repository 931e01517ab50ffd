"""Requests to the engine, decoding settings, responses, and the state of a row while it decodes."""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch

from calib.config.sweep import GenerationConfig
from calib.data.example import Example
from calib.engine.edits import Edits, reach
from calib.models.prompts import Prompt


@dataclass(frozen=True)
class Decoding:
    """Settings for generating responses."""

    max_new_tokens: int = 32
    batch_rows: int = 256
    """Maximum number of rows decoded at once; fewer when memory is short."""
    memory: int | None = None
    """Bytes for keys, values and activations; None derives a budget from the device."""
    temperature: float = 0.0
    """0 is greedy decoding."""
    top_p: float = 1.0
    """Nucleus sampling: draw from the smallest set of likeliest tokens with this probability."""
    kl: bool = True
    """Measure the KL of each row. This reads every reference prompt, also those that no request
    generates a response for."""
    sharing: bool = True
    """Share computation between the rows of a prompt. Responses are the same without it."""
    seed: int = 0
    """Seed of the run; added to the seed of each row."""

    @classmethod
    def of(cls, generation: GenerationConfig, *, seed: int = 0, kl: bool = True) -> "Decoding":
        """The decoding settings of a run or a server."""
        assert generation.max_new_tokens is not None, "the command's configuration sets it"
        return cls(
            max_new_tokens=generation.max_new_tokens,
            batch_rows=generation.batch_rows,
            memory=generation.memory,
            temperature=generation.temperature,
            top_p=generation.top_p,
            kl=kl,
            sharing=generation.sharing,
            seed=seed,
        )

    @property
    def identity(self) -> str:
        """The settings that a response depends on, as part of a row id."""
        if self.temperature == 0:
            return str(self.max_new_tokens)
        return f"{self.max_new_tokens}/{self.temperature:g}/{self.top_p:g}/{self.seed}"


@dataclass(frozen=True)
class Request:
    """One row: an example and the edits of the model while it responds."""

    example: Example
    edits: Edits = ()
    seed: int = 0
    """Sampling seed; rows with equal seeds draw the same random numbers."""
    is_final: Callable[[str], bool] | None = None
    """Stops decoding early: true for a partial response that needs no more tokens. None waits for
    the end token or max_new_tokens."""
    reference: Example | None = None
    """The unedited prompt that KL is measured against; None is the request's own example."""


@dataclass(frozen=True)
class Response:
    """The response of one row."""

    text: str
    """The response, with the tags of its thoughts: also those that are special tokens, and the
    opening tag if the chat template opened a thought."""
    tokens: tuple[int, ...]
    """Generated tokens, including the end token."""
    finish: str
    """Reason for the end: "stop" (end token), "length" (max_new_tokens reached), "cut"
    (``Request.is_final`` was true), "not_finite" (logits were not finite), "blocked" (a remote
    provider's filter ended or withheld the response) or "too_long" (the prompt exceeds a remote
    model's context)."""
    kl: float | None
    """KL(edited || unedited) of the first response token in nats, with the reference prompt as the
    unedited one; None if not measured."""
    remote: Mapping[str, Any] | None = None
    """Metadata returned by an endpoint, under the names used in rows.jsonl; None for a local
    model."""
    kl_base: float | None = None
    """KL(unedited || edited) of the first response token in nats; None if not measured."""


@runtime_checkable
class StreamingEngine(Protocol):
    """An engine whose responses are recorded one by one, as they arrive."""

    decoding: Decoding

    @property
    def notes(self) -> list[str]:
        """Notes about how responses were computed, for the reader of a run."""
        ...

    def stream(
        self, requests: Sequence[Request]
    ) -> Generator[list[tuple[int, Response]], None, None]:
        """Yield lists of (index of the request, response).

        Taking the next list tells the engine that the previous one is saved.
        """
        ...


@dataclass
class DecodingRow:
    """A request with its prompt, and the tokens generated so far."""

    index: int
    """Position of the request, and therefore of its response; -1 for a row that is only read."""
    prompt: Prompt
    edits: Edits
    seed: int | None = None
    """Sampling seed; None is greedy decoding."""
    is_final: Callable[[str], bool] | None = None
    """See ``Request.is_final``."""
    reference: Prompt | None = None
    """Another prompt that KL is measured against; None is the row's own prompt."""
    generator: torch.Generator | None = None
    tokens: list[int] = field(default_factory=list)
    kl: float | None = None
    kl_base: float | None = None
    """See ``Response.kl`` and ``Response.kl_base``."""
    thought_tag: str | None = None
    """Opening tag of the thought that the prompt opens, "" if it opens none; None before it is
    known."""
    finish: str | None = None
    """None while decoding, then as in ``Response``."""

    def restart(self) -> None:
        """Discard the generated tokens and reset the random generator."""
        self.tokens, self.finish, self.generator = [], None, None
        if self.seed is not None:
            device = self.prompt.tokens.device
            self.generator = torch.Generator(device).manual_seed(self.seed)

    def forks_before_last(self) -> bool:
        """Whether an edit changes tokens before the last token of the prompt."""
        return any(reach(edit.positions)[0] for edit in self.edits)


def token_history(row: DecodingRow) -> torch.Tensor:
    """Prompt and response tokens of a row so far. # [length] int64"""
    tokens = row.prompt.tokens
    return torch.cat([tokens, torch.tensor(row.tokens, dtype=tokens.dtype, device=tokens.device)])


@dataclass
class Stats:
    """Exact counts of an engine's work since it was created."""

    rows: int = 0
    """Rows with a response."""
    tokens: int = 0
    """Response tokens, including end tokens."""
    prefill_token_layers: int = 0
    """Prompt tokens times the decoder blocks they passed, including padding."""
    decode_row_steps: int = 0
    """Rows summed over decoding steps; each step generates one token per row."""
    retries: int = 0
    """Number of times that batches were made smaller because memory ran out."""
