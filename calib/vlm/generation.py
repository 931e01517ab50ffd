"""Answer a batch of rows, each with its own edits, greedily."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList

from calib.vlm.editing import Edit, editing
from calib.vlm.load import VLM
from calib.vlm.prompts import Prompt, collate


@dataclass(frozen=True)
class Response:
    """What one row answered."""

    text: str
    tokens: int
    """Generated tokens, the end token included."""
    finish: str
    """"stop" when the model ended its answer, "length" when it was cut."""
    first_token: torch.Tensor
    """Log-probabilities of the first response token, float32 on the CPU. # [vocabulary]"""


class _FirstToken(LogitsProcessor):
    """Keeps the logits of the first step and changes nothing."""

    def __init__(self) -> None:
        self.logits: torch.Tensor | None = None

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> Any:
        if self.logits is None:
            self.logits = scores.detach().to("cpu", torch.float32, copy=True)
        return scores


@torch.no_grad()
def generate(
    vlm: VLM, prompts: Sequence[Prompt], edits: Sequence[Sequence[Edit]], max_new_tokens: int
) -> list[Response]:
    """One response per row; ``prompts`` and ``edits`` are aligned, one entry per row."""
    batch = collate(vlm, prompts)
    first = _FirstToken()
    with editing(vlm, batch, edits):
        sequences = vlm.model.generate(
            **batch.inputs,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            num_beams=1,
            logits_processor=LogitsProcessorList([first]),
        )
    generated = sequences[:, batch.tokens.shape[1] :].cpu()  # [rows, steps]
    assert first.logits is not None
    log_probabilities = first.logits.log_softmax(-1)  # [rows, vocabulary]
    ends = _end_tokens(vlm)
    return [_response(vlm, row, log_probabilities[k], ends) for k, row in enumerate(generated)]


def _end_tokens(vlm: VLM) -> torch.Tensor:
    ends = vlm.model.generation_config.eos_token_id
    if ends is None:
        ends = vlm.processor.tokenizer.eos_token_id
    return torch.tensor([ends] if isinstance(ends, int) else list(ends or []))


def _response(vlm: VLM, row: torch.Tensor, first: torch.Tensor, ends: torch.Tensor) -> Response:
    stops = torch.isin(row, ends).nonzero()
    stopped = len(stops) > 0
    length = int(stops[0]) + 1 if stopped else len(row)
    text = vlm.processor.tokenizer.decode(row[:length], skip_special_tokens=True)
    return Response(text.strip(), length, "stop" if stopped else "length", first)


def kl_divergence(calibrated: torch.Tensor, base: torch.Tensor) -> float:
    """KL(calibrated || base) in nats, from log-probabilities. # [vocabulary], [vocabulary]"""
    # Float64: small divergences are differences of nearly equal numbers.
    p, q = calibrated.double(), base.double()
    return max(0.0, float((p.exp() * (p - q)).nan_to_num(0.0).sum()))
