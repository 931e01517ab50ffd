"""Requests to vLLM for the rows of a run: the response, and log-probabilities for KL."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from calib.data.example import Example
from calib.engine.edits import Edits
from calib.engine.request import Decoding, Request
from calib.engine.sampling import Sampler
from calib.engine.vllm.edits import translate
from calib.engine.vllm.prompts import ServedPrompts
from calib.engine.vllm.request import VllmRequest
from calib.util.errors import CalibError

VALUES = 2**15
"""Most log-probabilities of one response that are returned along with it. vLLM returns them for
each token, and only those of the first are needed; beyond this number, a second request of one
token has them."""

_PASSED = ("TemperatureLogitsWarper", "TopPLogitsWarper")
"""Logits processors that vLLM has for its own sampling."""
_SEEDS = 2**31


@dataclass(frozen=True)
class Call:
    """One request to vLLM that a row needs."""

    purpose: Literal["response", "first", "reference"]
    """"response" generates, "first" returns the log-probabilities of the row's first token, and
    "reference" those of the unedited prompt that its KL is measured against."""
    row: int
    """Index of the row; of the first one that needs it, for a reference."""
    example: Example
    edits: Edits = ()
    seed: int = 0


class CallMaker:
    """Makes the requests of calls, under one set of decoding settings."""

    def __init__(
        self, prompts: ServedPrompts, decoding: Decoding, sampler: Sampler, first_token: int | str
    ) -> None:
        """Raises CalibError (unsupported) for generation settings that vLLM does not have."""
        self.prompts, self.decoding, self.sampler = prompts, decoding, sampler
        self.full = first_token == "full"
        self.logprobs = -1 if self.full else int(first_token)
        config = prompts.vlm.model.config.get_text_config(decoder=True)
        values = config.vocab_size if self.full else self.logprobs
        self.joined = values * decoding.max_new_tokens <= VALUES
        """Whether responses come with the log-probabilities of their tokens."""
        self.penalty = _repetition_penalty(sampler)

    def request(self, call: Call) -> VllmRequest:
        """The request of a call. Raises CalibError as translate does."""
        prompt, decoding = self.prompts.get(call.example), self.decoding
        edits = translate(call.edits, prompt.tokens)
        generates = call.purpose == "response"
        measured = decoding.kl and (self.joined or not generates)
        return replace(
            prompt.request,
            max_tokens=decoding.max_new_tokens if generates else 1,
            temperature=decoding.temperature if generates else 0.0,
            top_p=decoding.top_p if generates else 1.0,
            seed=(decoding.seed + call.seed) % _SEEDS if decoding.temperature else None,
            repetition_penalty=self.penalty,
            stop_tokens=tuple(sorted(self.sampler.end_tokens)),
            vectors=edits.vectors,
            hooks=edits.hooks,
            # vLLM chooses token 0 where the output is not finite, which also follows from keys and
            # values that another request left in the cache: no response goes unchecked.
            logprobs=self.logprobs if measured else 0,
        )

    def plan(self, rows: Sequence[Request], known: Callable[[Example], bool]) -> list[Call]:
        """The calls of rows; ``known`` says whether an example's reference was read before."""
        decoding = self.decoding
        responses = [
            Call("response", k, row.example, row.edits, row.seed) for k, row in enumerate(rows)
        ]
        if not decoding.kl:
            return responses
        unedited = {id(row.example) for row in rows if not row.edits} if self.joined else set()
        calls, planned = [], set(unedited)
        for call, row in zip(responses, rows, strict=True):
            against = row.reference or row.example
            changed = bool(row.edits) or row.reference is not None
            if changed and id(against) not in planned and not known(against):
                planned.add(id(against))
                calls.append(Call("reference", call.row, against))
            if changed and not self.joined:
                calls.append(replace(call, purpose="first"))
            calls.append(call)
        return calls


class RequestList(Sequence[VllmRequest]):
    """The requests of calls, each built when it is sent: pictures in them are large."""

    def __init__(self, maker: CallMaker, calls: Sequence[Call]) -> None:
        self.maker, self.calls = maker, calls

    def __len__(self) -> int:
        return len(self.calls)

    def __getitem__(self, index: int) -> VllmRequest:  # type: ignore[override]  # no slices
        return self.maker.request(self.calls[index])


def _repetition_penalty(sampler: Sampler) -> float:
    """The checkpoint's repetition penalty, which both engines apply to prompt and response."""
    penalty = 1.0
    for processor in sampler.processors:
        name = type(processor).__name__
        if name == "RepetitionPenaltyLogitsProcessor":
            penalty = float(processor.penalty)
        elif name not in _PASSED:
            raise CalibError(
                "unsupported",
                f"the generation settings of the checkpoint use {name}, which vLLM does not have. "
                "Use engine=transformers.",
            )
    return penalty
