"""Activations and first-token logits of prompts, read through vLLM."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from calib.config.choices import Site
from calib.data.example import Example
from calib.engine.activations import no_tokens_to_read, require_finite
from calib.engine.edits import Edits
from calib.engine.vllm.edits import hooked_layers, require_edited, translate
from calib.engine.vllm.kl import FirstToken
from calib.engine.vllm.prompts import ServedPrompts
from calib.engine.vllm.recovery import complete_finite
from calib.engine.vllm.request import (
    NOT_FINITE,
    TOO_LONG,
    Backend,
    Completion,
    VllmRequest,
)
from calib.models.prompt_batch import read_tokens, token_batch
from calib.util.errors import CalibError


class Reads(Sequence[VllmRequest]):
    """Requests of one token each, built when they are sent."""

    def __init__(
        self,
        prompts: ServedPrompts,
        reads: Sequence[tuple[Example, Edits]],
        logprobs: int | None = None,
        layers: tuple[int, ...] | None = None,
    ) -> None:
        self.prompts, self.reads = prompts, reads
        self.logprobs, self.layers = logprobs, layers

    def __len__(self) -> int:
        return len(self.reads)

    def __getitem__(self, index: int) -> VllmRequest:  # type: ignore[override]  # no slices
        example, edits = self.reads[index]
        prompt = self.prompts.get(example)
        translated = translate(edits, prompt.tokens)
        return replace(
            prompt.request,
            vectors=translated.vectors,
            hooks=translated.hooks,
            logprobs=self.logprobs,
            residual_layers=self.layers,
        )


def complete_reads(
    backend: Backend, reads: Reads, window: int | None = None
) -> Iterator[tuple[int, Completion]]:
    """Completions of reads, in any order, ``window`` at a time.

    None means as many as the backend has in flight, but one where activations are returned: vLLM
    may interrupt one of several for lack of memory and read it again, and vllm-lens then returns
    wrong activations without an error.

    Reads whose positions were of other tokens than vLLM's are sent again. Raises CalibError for a
    prompt that is too long, or reads other text than calib's.
    """
    again = []
    window = window or (backend.rows_in_flight if reads.layers is None else 1)
    for index, completion in complete_finite(backend, reads, window, reads.prompts.vlm.num_layers):
        example, edits = reads.reads[index]
        if completion.finish == TOO_LONG:
            raise CalibError(
                "too-large",
                f"example '{example.id}' exceeds the context that vLLM was started with. Start it "
                "with a larger max_model_len, or leave the example out.",
            )
        if completion.finish == NOT_FINITE:
            yield index, completion
            continue
        confirmed = reads.prompts.confirm(example, completion.prompt_tokens)
        if not confirmed and edits:
            again.append(index)
            continue
        require_edited(completion, hooked_layers(edits), f"example '{example.id}'")
        yield index, completion
    if again:
        rest = Reads(reads.prompts, [reads.reads[k] for k in again], reads.logprobs, reads.layers)
        for index, completion in complete_reads(backend, rest, window):
            yield again[index], completion


def read_activations(
    backend: Backend,
    prompts: ServedPrompts,
    examples: Sequence[Example],
    positions: str,
    progress: Any,
    layers: Sequence[int] | None,
    site: Site,
) -> torch.Tensor:
    """As calib.engine.activations.read_activations, for the residual stream only.

    # [examples, layers, width] float32, on the CPU

    Prompts are read one at a time: in a batch, last bits would depend on the other requests in it,
    and a resumed run would fit methods to other numbers.

    Raises CalibError (unsupported) for another site.
    """
    if site != "residual":
        raise CalibError(
            "unsupported",
            f"engine=vllm reads the residual stream, and not site={site}. Use engine=transformers.",
        )
    numbers = list(range(prompts.vlm.num_layers)) if layers is None else list(layers)
    asked = tuple(sorted(set(numbers)))
    activations = torch.empty(len(examples), len(numbers), prompts.vlm.width)
    reads = Reads(prompts, [(example, ()) for example in examples], layers=asked)
    for index, completion in complete_reads(backend, reads, window=1):
        example = examples[index]
        mask = read_tokens(token_batch(prompts.get(example).tokens), positions)[0]
        if not mask.any():
            raise no_tokens_to_read(example, positions)
        assert completion.residual is not None
        for k, layer in enumerate(numbers):
            stream = completion.residual[layer][: len(mask)].float()  # [prompt tokens, width]
            activations[index, k] = stream[mask].mean(0)
        require_finite(activations[index : index + 1], [example], numbers)
        if progress is not None:
            progress.update(1)
    return activations


def first_token_logits(
    backend: Backend,
    prompts: ServedPrompts,
    examples: Sequence[Example],
    settings: Sequence[Edits],
) -> torch.Tensor:
    """As calib.engine.reading.first_token_logits: log-probabilities, which are logits too.

    # [settings, examples, vocabulary] float32, on the CPU
    """
    size = prompts.vlm.model.config.get_text_config(decoder=True).vocab_size
    logits = torch.empty(len(settings), len(examples), size)
    asked = [(example, edits) for example in examples for edits in settings]
    for index, completion in complete_reads(backend, Reads(prompts, asked, logprobs=-1)):
        row, setting = divmod(index, len(settings))
        assert completion.logprobs is not None
        first = FirstToken.of(completion.logprobs)
        if first.is_finite:
            first.require_whole()
        elif not settings[setting]:
            raise unedited_overflow(examples[row])
        logits[setting, row] = first.dense(size)[:size]
    return logits


def unedited_overflow(example: Example) -> CalibError:
    """The error of a prompt whose output is not finite without any edit, in a clean cache."""
    return CalibError(
        "not-finite",
        f"the output of the unedited model is not finite for example '{example.id}'. Use a wider "
        "type (model.dtype=float32), and check the weights.",
    )
