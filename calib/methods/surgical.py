"""Surgical ablation of false refusal (arXiv 2410.03415, section 3).

    w = mean h(safe, refused) - mean h(safe, answered)          what false refusals have in common
    r = mean h(unsafe, refused) - mean h(safe, answered)        the refusal direction
    w  <-  w - lambda (w . r / r . r) r
    h_l  <-  h_l - strength x (h_l . w^) w^                     after every block l, at every token

with w^ = w / |w|, all at the last prompt token of one layer, the layer of the grid. lambda =
orthogonalisation keeps true refusals out of what is removed; refusal_strength also adds r, in gap
units, at its own layer. Strength is the share of the component that is removed.
"""

import torch

from calib.config.method import Surgical
from calib.engine.operators import Ablate, Add
from calib.interventions.fitting import Fitting
from calib.interventions.grid import edits_at
from calib.interventions.intervention import Axis, Intervention, Method

AXIS = Axis("share of the component that is removed", default_scale=0.5)


def method(fitting: Fitting, config: Surgical) -> Method:
    """One false-refusal vector for each layer of the grid, ablated everywhere."""
    positions = config.read_positions
    false = fitting.direction("false_refusal", "mean_difference", positions)
    true = fitting.direction("true_refusal", "mean_difference", positions)
    edited = fitting.layers(config.edited_layers)

    def change(layer: int | None, strength: float) -> Intervention:
        assert layer is not None
        row = false.row(layer)
        removed = orthogonalised(
            false.vectors[row], true.vectors[true.row(layer)], config.orthogonalisation
        )
        edits = edits_at(None, edited, lambda at: Ablate(removed, strength), config.positions)
        if config.refusal_strength:
            added = Add(true.at(layer, config.refusal_strength))
            edits += edits_at(layer, edited, lambda at: added, config.positions)
        return Intervention(edits)

    return Method(config.name, AXIS, fitting.layers(config.layers), change, false)


def orthogonalised(vector: torch.Tensor, refusal: torch.Tensor, share: float) -> torch.Tensor:
    """``vector`` without a share of its component along ``refusal``, of unit length. # [width]"""
    left = vector - share * (vector @ refusal) / (refusal @ refusal) * refusal
    return left / left.norm()
