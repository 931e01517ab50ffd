"""Rows with every operator, all positions and layers, alone and combined, in mixed order."""

import random
from collections.abc import Sequence

import torch
from naive_loop import unit_vector

from calib.data.example import Example
from calib.engine.edits import REACH, Edit, Edits
from calib.engine.operators import (
    Ablate,
    AblateByCosine,
    Add,
    AddByNorm,
    AddByNormKeepingNorm,
    AddKeepingNorm,
    Clamp,
    LowRank,
    Operator,
)
from calib.models.load import VLM
from calib.models.prompt_batch import PromptToken


def operators(width: int, seed: int, factor: float = 1.0) -> tuple[Operator, ...]:
    """Every operator along random directions; a factor of 1 adds about an activation's norm."""
    d, e = unit_vector(width, seed), unit_vector(width, seed + 100)
    plane = torch.linalg.qr(torch.stack([d, e]).T).Q.T.contiguous()
    size = 45.0 * factor
    return (
        Add(size * d),
        AddKeepingNorm(size * d),
        AddByNorm(d, 0.8 * factor),
        AddByNormKeepingNorm(d, -0.9 * factor),
        Ablate(d, 6.0 * factor),
        Ablate(plane, 4.0 * factor),
        AblateByCosine(-d, 9.0 * factor, 15.0 * e),
        Clamp(d, size / 2, size),
        LowRank(plane, factor * torch.stack([e, d]), torch.tensor([8.0, -4.0]), high=size),
    )


def edited_rows(
    vlm: VLM, examples: Sequence[Example], factor: float = 1.0
) -> list[tuple[Example, Edits]]:
    """Unedited and edited rows of some examples, with and without pictures."""
    shown = [example for example in examples if example.picture]
    plain = [example for example in examples if not example.picture]
    rows: list[tuple[Example, Edits]] = [(example, ()) for example in examples]
    for k, positions in enumerate(REACH):
        for j, operator in enumerate(operators(vlm.width, k, factor)):
            edit = Edit((k + 2 * j) % vlm.num_layers, operator, positions)
            rows.append((shown[(k + j) % len(shown)], (edit,)))
            if j % 3 == k % 3 or positions == "response":
                rows.append((plain[(k + j) % len(plain)], (edit,)))
    add, keep, by_norm, _, ablate, _, _, clamp, low_rank = operators(vlm.width, 9, factor)
    last = vlm.num_layers - 1
    several = (
        (Edit(1, add, "response"), Edit(3, clamp, "all")),
        (Edit(0, ablate, "prompt"), Edit(0, add, "image"), Edit(last, keep, "last_prompt")),
        (Edit(2, keep, "text"), Edit(2, keep, "response"), Edit(2, ablate, "all")),
        (Edit(2, clamp, "all"), Edit(2, add, "all")),
        (Edit(2, add, "all"), Edit(2, clamp, "all")),
        (Edit(3, low_rank, "image"), Edit(1, add, "image")),
        (Edit(2, add, PromptToken(3)), Edit(2, keep, PromptToken(2))),
        (Edit(1, by_norm, "all"), Edit(1, add, "response")),
        tuple(Edit(layer, add, "all") for layer in range(vlm.num_layers)),
    )
    rows += [(example, edits) for edits in several for example in (shown[0], plain[0])]
    # Two equal rows, which may not share what one of them has edited.
    rows += [(shown[1], several[0]), (shown[1], several[0])]
    random.Random(vlm.name).shuffle(rows)
    return rows
