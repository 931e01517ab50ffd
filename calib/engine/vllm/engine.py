"""The engine on vLLM: responses and activations of one model, by requests to a backend."""

import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from calib.config.choices import Site
from calib.data.example import Example
from calib.engine.edits import Edits
from calib.engine.request import Decoding, Request, Response
from calib.engine.sampling import Sampler, response_text, thought_tag
from calib.engine.vllm import activations, self_check
from calib.engine.vllm.activations import unedited_overflow
from calib.engine.vllm.calls import Call, CallMaker, RequestList
from calib.engine.vllm.edits import hooked_layers, require_edited
from calib.engine.vllm.hook_code import registered
from calib.engine.vllm.kl import FirstToken, divergences
from calib.engine.vllm.prompts import ServedPrompts
from calib.engine.vllm.recovery import complete_finite
from calib.engine.vllm.request import NOT_FINITE, TOO_LONG, Backend, Completion
from calib.models.load import VLM
from calib.util.errors import CalibError

SEGMENT = 4
"""Rows whose order is restored together, as a multiple of the rows in flight."""
SAVED_EVERY = 0.5
"""Seconds between two lists of responses: saving each alone would take longer than short ones."""
REFERENCES = 256
"""Prompts whose first-token log-probabilities stay in memory, as references of KL."""


@dataclass
class Served:
    """What engines with other decoding settings share: prompts, references and checks."""

    prompts: ServedPrompts
    references: "OrderedDict[int, tuple[Example, FirstToken]]" = field(default_factory=OrderedDict)
    """By id() of the example, which is held alive."""
    checked: set[tuple[bool, bool]] = field(default_factory=set)
    """Kinds of rows that the self-check has compared: whether edited, whether with a picture."""
    notes: list[str] = field(default_factory=list)

    def keep(self, example: Example, first: FirstToken) -> None:
        self.references[id(example)] = example, first
        if len(self.references) > REFERENCES:
            self.references.popitem(last=False)


class VllmEngine:
    """Generates responses through vLLM, with one set of decoding settings."""

    def __init__(
        self,
        vlm: VLM,
        decoding: Decoding,
        backend: Backend,
        first_token: int | str = "full",
        skip_long: bool = False,
        served: Served | None = None,
    ) -> None:
        """``first_token`` is engine.first_token. ``skip_long`` gives a prompt that exceeds vLLM's
        context a response with finish "too_long", instead of an error after all other rows."""
        self.vlm, self.decoding, self.backend = vlm, decoding, backend
        self.first_token, self.skip_long = first_token, skip_long
        self.served = served or Served(ServedPrompts(vlm))
        self.sampler = Sampler(vlm, decoding)
        if backend.runs_hooks:
            registered()
        self.maker = CallMaker(self.served.prompts, decoding, self.sampler, first_token)

    @property
    def rows_in_flight(self) -> int:
        return self.backend.rows_in_flight

    def with_decoding(self, decoding: Decoding) -> "VllmEngine":
        """An engine with other decoding settings, which shares what was read."""
        return VllmEngine(
            self.vlm, decoding, self.backend, self.first_token, self.skip_long, self.served
        )

    @property
    def notes(self) -> list[str]:
        """Notes about how responses were computed, for the reader of a run."""
        notes = [*self.backend.notes, *self.served.notes]
        if resized := self.served.prompts.resized:
            notes.append(
                f"vLLM reads another number of image tokens than the processor for {len(resized)} "
                f"examples (first: {min(resized)}): it prepares pictures in another way"
            )
        if not self.maker.full:
            notes.append(
                f"engine.first_token={self.first_token}: the KL is a lower bound, from the most "
                "likely first tokens that both sides returned and the rest as one"
            )
        if self.decoding.temperature:
            notes.append(
                "vLLM draws its own random numbers: samples differ from engine=transformers"
            )
        return notes

    def answer(
        self,
        requests: Sequence[Request],
        on_end: Callable[[], None] | None = None,
        on_tokens: Callable[[int], None] | None = None,
    ) -> list[Response]:
        """One response per request, in order. Errors as ``stream``."""
        responses: list[Response] = []
        for batch in self.stream(requests):
            for _, response in batch:
                responses.append(response)
                if on_end is not None:
                    on_end()
                if on_tokens is not None:
                    on_tokens(len(response.tokens))
        return responses

    def stream(
        self, requests: Sequence[Request]
    ) -> Generator[list[tuple[int, Response]], None, None]:
        """Yield lists of (index of the request, response), in the order of the requests.

        Raises CalibError if the backend fails, a self-check fails, an edit cannot be made, or,
        after all other rows, if prompts exceed vLLM's context.
        """
        self_check.run(self, requests)
        too_long: dict[str, None] = {}
        size = SEGMENT * self.rows_in_flight
        for start in range(0, len(requests), size):
            segment = _Segment(self, requests[start : start + size])
            ready: list[tuple[int, Response]] = []
            last = time.monotonic()
            for index, response in segment.responses():
                if response.finish == TOO_LONG and not self.skip_long:
                    too_long[requests[start + index].example.id] = None
                else:
                    ready.append((start + index, response))
                if ready and time.monotonic() - last >= SAVED_EVERY:
                    yield ready
                    ready, last = [], time.monotonic()
            if ready:
                yield ready
        if too_long:
            raise CalibError(
                "too-large",
                f"{len(too_long)} examples and their responses exceed the context that vLLM was "
                f"started with (first: '{next(iter(too_long))}'). Finished rows are saved. Start "
                "vLLM with a larger max_model_len, or leave them out with data.skip_long=true.",
            )

    def read_activations(
        self,
        examples: Sequence[Example],
        positions: str = "last_prompt",
        batch_rows: int = 64,
        progress: Any = None,
        layers: Sequence[int] | None = None,
        site: Site = "residual",
    ) -> torch.Tensor:
        """Activations of unedited prompts. # [examples, layers, width] float32, on the CPU"""
        return activations.read_activations(
            self.backend, self.served.prompts, examples, positions, progress, layers, site
        )

    def first_token_logits(
        self, examples: Sequence[Example], settings: Sequence[Edits]
    ) -> torch.Tensor:
        """First-token logits under each of ``settings``; all of them, whatever engine.first_token.

        # [settings, examples, vocabulary] float32, on the CPU
        """
        return activations.first_token_logits(self.backend, self.served.prompts, examples, settings)


class _Segment:
    """Rows whose responses are put in order."""

    def __init__(self, engine: VllmEngine, rows: Sequence[Request]) -> None:
        self.engine, self.rows, self.served = engine, rows, engine.served
        self.completions: dict[int, Completion] = {}
        self.firsts: dict[int, FirstToken] = {}
        self.references: dict[int, FirstToken | None] = {}  # by id(); None: the prompt is too long
        for example, first in self.served.references.values():
            self.references[id(example)] = first

    def responses(self) -> Iterator[tuple[int, Response]]:
        """Each row's index and response, in order, each as soon as all before it are complete."""
        maker, backend = self.engine.maker, self.engine.backend
        calls = maker.plan(self.rows, lambda example: id(example) in self.references)
        next_row = 0
        while calls:
            again = []
            requests, layers = RequestList(maker, calls), self.engine.vlm.num_layers
            for index, completion in complete_finite(
                backend, requests, backend.rows_in_flight, layers
            ):
                if not self._accept(calls[index], completion):
                    again.append(calls[index])
                while next_row < len(self.rows) and self._is_complete(next_row):
                    yield next_row, self._response(next_row)
                    next_row += 1
            calls = again
        assert next_row == len(self.rows), "a backend completes every request"

    def _accept(self, call: Call, completion: Completion) -> bool:
        """Take a completion; false if its edits were at positions of other tokens than vLLM's."""
        first = None
        if completion.finish == NOT_FINITE and not completion.tokens:
            assert completion.logprobs is not None
            first = FirstToken.of(completion.logprobs)
        elif completion.finish != TOO_LONG:
            prompts = self.served.prompts
            confirmed = prompts.confirm(call.example, completion.prompt_tokens)
            if not confirmed and call.edits:
                return False
            require_edited(completion, hooked_layers(call.edits), f"example '{call.example.id}'")
            first = None if completion.logprobs is None else FirstToken.of(completion.logprobs)
            if first is not None and first.is_finite and self.engine.maker.full:
                first.require_whole()
        is_reference = not call.edits and (first is not None or call.purpose == "reference")
        if is_reference:
            self.references[id(call.example)] = first
            if first is not None:
                self.served.keep(call.example, first)
        if call.purpose != "reference" and first is not None:
            self.firsts[call.row] = first
        ends = call.purpose == "response" or completion.finish == TOO_LONG
        if ends and call.purpose != "reference":
            self.completions[call.row] = completion
        return True

    def _is_complete(self, row: int) -> bool:
        if row not in self.completions:
            return False
        if not self._is_measured(row) or self.completions[row].finish == TOO_LONG:
            return True
        request = self.rows[row]
        return row in self.firsts and id(request.reference or request.example) in self.references

    def _is_measured(self, row: int) -> bool:
        """Whether the row's KL is measured, and not 0 because nothing differs."""
        request = self.rows[row]
        return self.engine.decoding.kl and bool(request.edits or request.reference)

    def _response(self, row: int) -> Response:
        request, completion = self.rows[row], self.completions[row]
        engine = self.engine
        kl, kl_base = (0.0, 0.0) if engine.decoding.kl else (None, None)
        tokens, text, finish = self._ended(request, completion)
        first = self.firsts.get(row)
        if first is not None and not first.is_finite:
            finish = NOT_FINITE
        elif finish != TOO_LONG and self._is_measured(row):
            reference = self.references[id(request.reference or request.example)]
            if reference is None:
                finish = TOO_LONG
            elif not reference.is_finite:
                finish = NOT_FINITE
            else:
                assert first is not None
                kl, kl_base = divergences(first, reference, engine.maker.full)
        if finish == NOT_FINITE and not request.edits:
            raise unedited_overflow(request.example)
        if finish == TOO_LONG:
            return Response("", (), TOO_LONG, None, {})
        return Response(text, tokens, finish, kl, kl_base=kl_base)

    def _ended(self, request: Request, completion: Completion) -> tuple[tuple[int, ...], str, str]:
        """Tokens, text and finish of a response, as the other engine would end it."""
        engine, tokens = self.engine, completion.tokens
        overflowed = completion.finish == NOT_FINITE
        if completion.finish == TOO_LONG or not tokens:
            return (), "", NOT_FINITE if overflowed else TOO_LONG
        tag = thought_tag(engine.vlm, completion.prompt_tokens)

        def text(shown: Sequence[int]) -> str:
            return response_text(engine.vlm, shown, tag, engine.sampler.hidden_tokens)

        if request.is_final is not None:
            for count in range(1, len(tokens) + overflowed):
                if request.is_final(text(tokens[:count])):
                    return tokens[:count], text(tokens[:count]), "cut"
        if overflowed:
            return tokens, text(tokens), NOT_FINITE
        if tokens[-1] in engine.sampler.end_tokens:
            return tokens, text(tokens), "stop"
        if len(tokens) == engine.decoding.max_new_tokens:
            return tokens, text(tokens), "length"
        return (), "", TOO_LONG  # cut at vLLM's max_model_len
