"""Surgical ablation of false refusal (arXiv 2410.03415, section 3).

    w = mean h(safe, refused) - mean h(safe, answered)          the false-refusal vector    [width]
    r = mean h(unsafe, refused) - mean h(safe, answered)        the refusal direction       [width]
    w  <-  w - lambda (w . r / r . r) r
    h_l  <-  h_l - strength x (h_l . w^) w^                     after every block l, at every token

with w^ = w / |w|. The means are taken at the last prompt token of one layer, the layer of the grid.
lambda (``orthogonalisation``) keeps true refusals out of the removed component; with
``refusal_strength``, r is also added at its own layer, in gap units. Strength is the share of the
component that is removed.
"""

import torch

from calib.config.method import Surgical
from calib.engine.operators import Ablate, Add
from calib.interventions.fitting import Fitting
from calib.interventions.grid import edits_at
from calib.interventions.intervention import Axis, Intervention, Method

AXIS = Axis("share of the component that is removed", default_scale=0.5)


def method(fitting: Fitting, config: Surgical) -> Method:
    """One false-refusal vector per layer of the grid, ablated at all ``config.edited_layers``."""
    positions = config.read_positions
    false_refusal = fitting.direction("false_refusal", "mean_difference", positions)
    true_refusal = fitting.direction("true_refusal", "mean_difference", positions)
    edited_layers = fitting.layers(config.edited_layers)

    def intervention(layer: int | None, strength: float) -> Intervention:
        assert layer is not None
        vector = orthogonalised(
            false_refusal.vectors[false_refusal.row(layer)],
            true_refusal.vectors[true_refusal.row(layer)],
            config.orthogonalisation,
        )
        ablation = Ablate(vector, strength)
        edits = edits_at(edited_layers, lambda _: ablation, config.positions)
        if config.refusal_strength:
            addition = Add(true_refusal.at(layer, config.refusal_strength))
            edits += edits_at([layer], lambda _: addition, config.positions)
        return Intervention(edits)

    return Method(config.name, AXIS, fitting.layers(config.layers), intervention, false_refusal)


def orthogonalised(vector: torch.Tensor, refusal: torch.Tensor, share: float) -> torch.Tensor:
    """``vector`` without a share of its component along ``refusal``, at unit length. # [width]"""
    remainder = vector - share * (vector @ refusal) / (refusal @ refusal) * refusal
    return remainder / remainder.norm()
