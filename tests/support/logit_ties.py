"""Whether two responses to one row differ only where two tokens were equally likely."""

from collections.abc import Sequence

import torch
from naive_loop import editing, inputs

from calib.data.example import Example
from calib.models.load import VLM

TIE = 1e-4
"""Largest gap between two logits that counts as a tie, relative to the spread of all logits."""


def first_difference(one: Sequence[int], other: Sequence[int]) -> int | None:
    """Index of the first token that differs; None for equal responses."""
    for k, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return k
    return None if len(one) == len(other) else min(len(one), len(other))


@torch.no_grad()
def gap(
    vlm: VLM, example: Example, edits: Sequence[object], one: Sequence[int], other: Sequence[int]
) -> float:
    """The gap between the logits of two responses' tokens where they first differ, in the naive
    loop, relative to the standard deviation of the logits."""
    k = first_difference(one, other)
    assert k is not None and k < min(len(one), len(other))
    prompt = inputs(vlm, example)
    tokens = prompt["input_ids"][0]
    with editing(vlm, tokens, edits):
        output = vlm.model.generate(
            **prompt,
            max_new_tokens=k + 1,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
    assert output.sequences[0, len(tokens) :].tolist()[:k] == list(one[:k])
    logits = output.logits[k][0].double()
    return float((logits[one[k]] - logits[other[k]]).abs() / logits.std())
