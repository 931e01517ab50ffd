"""One request to vLLM with the edits of vllm-lens, its completion, and what a backend does."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

TOO_LONG = "too_long"
"""``Completion.finish`` of a prompt that exceeds the model's context."""
NOT_FINITE = "not_finite"
"""``Completion.finish`` where a log-probability is not finite. The tokens are those before it; if
there are none, the log-probabilities of the first token are NaN."""
RESTART = (
    "An edit that was too strong may have left values that are not finite in vLLM's cache, where "
    "other requests read them: start vLLM again, and give smaller strengths."
)


@dataclass(frozen=True)
class SteeringVector:
    """Vectors that are added to the output of decoder blocks; vllm-lens' SteeringVector."""

    layers: tuple[int, ...]
    """0-based decoder blocks."""
    vectors: torch.Tensor
    """# [layers, width], added at every token of the prompt and of the response; or
    [layers, positions, width], added at ``positions``. float32"""
    positions: tuple[int, ...] | None = None
    """Absolute positions in the sequence, in vLLM's tokens; None with two axes."""
    scale: float = 1.0
    norm_match: bool = False
    """Scale each vector to the norm of the activation that it is added to."""


@dataclass(frozen=True)
class Hook:
    """A function of a request's activations at some blocks; vllm-lens' Hook."""

    function: Callable[[Any, torch.Tensor], torch.Tensor | None]
    """Called with a context and the tokens of one pass; returns the edited activations.
    # [tokens, width] -> [tokens, width]

    It must be picklable by value, for servers without calib."""
    layers: tuple[int, ...]
    pre: bool = False
    """Edit the input of a block instead of its output."""


@dataclass(frozen=True)
class VllmRequest:
    """A chat prompt with decoding settings and edits."""

    messages: list[dict[str, Any]]
    """Chat messages; pictures are data URLs of PNG files in their full size."""
    max_tokens: int
    chat_template: str | None = None
    """None is the template of the served model."""
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    """The last message is the beginning of the response, which vLLM continues."""
    processor_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the image processor; vLLM's mm_processor_kwargs."""
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    repetition_penalty: float = 1.0
    stop_tokens: tuple[int, ...] = ()
    """All tokens that end the response, for stop_token_ids; the end token that vLLM knows by itself
    is ignored (ignore_eos)."""
    vectors: tuple[SteeringVector, ...] = ()
    hooks: tuple[Hook, ...] = ()
    logprobs: int | None = None
    """Number of log-probabilities of the first response token; -1 is the whole vocabulary, and 0
    returns none. Unless None, those of all chosen tokens show whether the response is finite."""
    residual_layers: tuple[int, ...] | None = None
    """Blocks whose output is returned, in ascending order."""


@dataclass(frozen=True)
class Completion:
    """What vLLM returned for a request."""

    text: str
    """The response as vLLM decodes it; calib decodes ``tokens`` itself."""
    tokens: tuple[int, ...]
    """Generated tokens, including the end token."""
    prompt_tokens: tuple[int, ...]
    """Tokens of the prompt as vLLM read it, with each image's tokens expanded."""
    finish: str
    """"stop", "length", TOO_LONG or NOT_FINITE."""
    logprobs: tuple[torch.Tensor, torch.Tensor] | None = None
    """Token ids and log-probabilities of the first response token. # two of [returned tokens]"""
    residual: Mapping[int, torch.Tensor] | None = None
    """Output of blocks by layer, for all tokens but the last one generated. # [tokens, width]"""
    hook_results: Mapping[str, Mapping[str, Any]] | None = None
    """What each hook saved, by its index in ``VllmRequest.hooks`` as text."""

    @property
    def saved(self) -> Mapping[str, Any]:
        """What the request's hook saved; calib's requests have one at most."""
        return (self.hook_results or {}).get("0", {})


def not_finite() -> Completion:
    """The completion of a request whose first log-probabilities are not finite."""
    undefined = torch.tensor([0]), torch.tensor([torch.nan])
    return Completion("", (), (), NOT_FINITE, undefined)


class Backend(Protocol):
    """A vLLM engine in this process, or behind servers."""

    @property
    def rows_in_flight(self) -> int:
        """Requests that all replicas together work on at once."""
        ...

    @property
    def runs_hooks(self) -> bool:
        """Whether hooks may be sent: to vLLM in this process, or with engine.hooks=true."""
        ...

    def complete(
        self, requests: Sequence[VllmRequest], window: int
    ) -> Iterator[tuple[int, Completion]]:
        """Yield (index of the request, completion) as completions arrive, in any order.

        At most ``window`` requests are in flight. ``requests`` may build each request when it is
        indexed, so it is indexed when a request is sent. A request that was lost is sent again. No
        request may read a prefix cache, because edits change what it holds. After an
        error or Ctrl-C no further request starts. Closing the iterator cancels what is in flight.

        Raises CalibError if vLLM fails for good.
        """
        ...

    def complete_everywhere(self, request: VllmRequest) -> list[Completion]:
        """The completion of one request from every replica that can be reached.

        Raises CalibError if the request fails.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Version, model, dtype and settings of vLLM and vllm-lens, for run.json; no address."""
        ...

    @property
    def notes(self) -> list[str]:
        """Notes for the reader of a run, e.g. about restarts; they do not depend on timing."""
        ...

    def close(self) -> None:
        """Free the engine's memory, or close connections."""
        ...
