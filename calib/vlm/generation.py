"""Answer a batch of rows, each with its own edits, greedily."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from calib.vlm.decoding import Greedy, can_share, read_once
from calib.vlm.editing import Edit, editing
from calib.vlm.load import VLM
from calib.vlm.prompts import FROM_THE_RESPONSE, Prompt, collate


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


@torch.no_grad()
def generate(
    vlm: VLM, prompts: Sequence[Prompt], edits: Sequence[Sequence[Edit]], max_new_tokens: int
) -> list[Response]:
    """One response per row; ``prompts`` and ``edits`` are aligned, one entry per row.

    Rows of one prompt should hold the same Prompt object: where all edits begin at the response,
    each prompt is then read once for all its rows.
    """
    batch = collate(vlm, prompts)
    inputs = batch.inputs
    if can_share(vlm, batch) and all(
        e.positions in FROM_THE_RESPONSE for row in edits for e in row
    ):
        distinct = {id(prompt): prompt for prompt in prompts}
        order = {name: k for k, name in enumerate(distinct)}
        rows = torch.tensor([order[id(prompt)] for prompt in prompts], device=vlm.device)
        inputs = read_once(vlm, collate(vlm, list(distinct.values())), rows)
    with editing(vlm, batch, edits) as edited:
        greedy = Greedy(edited, _end_tokens(vlm))
        vlm.model.generate(
            **inputs,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            num_beams=1,
            custom_generate=greedy.__call__,
        )
    log_probabilities = greedy.first_logits.log_softmax(-1)  # [rows, vocabulary]
    ends = set(greedy.end_tokens.tolist())
    return [
        _response(vlm, tokens, first, ends)
        for tokens, first in zip(greedy.tokens, log_probabilities, strict=True)
    ]


def _end_tokens(vlm: VLM) -> torch.Tensor:
    ends = vlm.model.generation_config.eos_token_id
    if ends is None:
        ends = vlm.processor.tokenizer.eos_token_id
    return torch.tensor([ends] if isinstance(ends, int) else list(ends or []))


def _response(vlm: VLM, tokens: list[int], first: torch.Tensor, ends: set[int]) -> Response:
    text = vlm.processor.tokenizer.decode(tokens, skip_special_tokens=True)
    finish = "stop" if tokens[-1] in ends else "length"
    return Response(text.strip(), len(tokens), finish, first)


def kl_divergence(calibrated: torch.Tensor, base: torch.Tensor) -> float:
    """KL(calibrated || base) in nats, from log-probabilities. # [vocabulary], [vocabulary]"""
    # Float64: small divergences are differences of nearly equal numbers.
    p, q = calibrated.double(), base.double()
    return max(0.0, float((p.exp() * (p - q)).nan_to_num(0.0).sum()))
