"""VLM-Guard: keep the picture out of the safety subspace, and amplify what is unsafe in it
(arXiv 2502.10486; known to us from notes on it, its code is not public).

    V_l   the first right singular vectors of h_l(unsafe) - h_l(safe) over the train pairs
    m_l = h_l(picture, query) - h_l(query)                          the visual shift of an input
    h'  = h_l - strength x m_l V^T V
    h_l  <-  h' + strength x [h' . v_1 > 0] x h' V^T V              at the last prompt token

m and the condition are those of the unedited prompt; an example without a picture has no shift.
Strength 1 is the paper's removal of the whole shift, with its alpha of 1.
"""

from collections.abc import Sequence
from functools import partial

import torch

from calib.config.method import Subspace
from calib.data.example import Example
from calib.directions.subspaces import svd_subspace
from calib.engine.edits import Edits
from calib.engine.operators import Add
from calib.interventions.fitting import Fitting
from calib.interventions.grid import edits_at, grid_layers
from calib.interventions.intervention import Axis, Intervention, Method
from calib.interventions.pictures import picture_variant

AXIS = Axis(
    "share of the visual shift removed and of the safety component added", default_scale=0.5
)


def method(fitting: Fitting, config: Subspace) -> Method:
    """An edit of its own for every example."""
    layers = fitting.layers(config.layers)
    positions = config.read_positions
    samples = fitting.samples("safety", "train", positions, layers=layers)
    basis = partial(svd_subspace, rank=config.rank)(samples).basis  # [layers, rank, width]
    alone = picture_variant("none")

    def change(layer: int | None, strength: float) -> Intervention:
        def rule(examples: Sequence[Example]) -> list[Edits]:
            hidden = fitting.activations(examples, layers, positions)
            plain = fitting.activations(alone.of(examples), layers, positions)
            added = guard(hidden, hidden - plain, basis, strength)  # [examples, layers, width]

            def edits(one: torch.Tensor) -> Edits:
                by_layer = dict(zip(layers, one, strict=True))
                return edits_at(layer, layers, lambda at: Add(by_layer[at]), config.positions)

            return [edits(one) for one in added]

        return Intervention(rule=rule)

    return Method(config.name, AXIS, grid_layers(layers, config.all_layers_at_once), change)


def guard(
    hidden: torch.Tensor, shift: torch.Tensor, basis: torch.Tensor, strength: float
) -> torch.Tensor:
    """What is added to the unedited activations.

    # hidden and shift [examples, layers, width], basis [layers, rank, width]
    """

    def within(vectors: torch.Tensor) -> torch.Tensor:
        along = torch.einsum("elw,lrw->elr", vectors, basis)
        return torch.einsum("elr,lrw->elw", along, basis)

    removed = hidden - strength * within(shift)
    unsafe = torch.einsum("elw,lw->el", removed, basis[:, 0]) > 0
    amplified = removed + strength * unsafe[..., None] * within(removed)
    return amplified - hidden
