"""Adaptive steering: what is added depends on the input (AdaSteer, arXiv 2504.09466, section 4).

With r the refusal direction (refused minus answered unsafe queries), c the harm direction (unsafe
minus safe queries, made orthogonal to r), and p(x, v) the projection of the last prompt token's
activation at one layer on v, in gaps from between the classes (+-0.5 at the class means):

    lambda_r(x) = clip(refusal_slope x p(x, r), refusal_limits)
    lambda_c(x) = clip(harm_slope x p(x, c), harm_limits)
    h_l  <-  h_l + strength x (lambda_r(x) gap_l(r) r_l + lambda_c(x) gap_l(c) c_l)

at all layers, with gap_l(v) the distance of the two class means along v. A negative refusal slope
pushes those that lean to answering towards refusing and the other way round; a positive harm slope
pushes every query further to its own side. The paper fits slopes, offsets and limits to each model;
here gap units make them comparable. Strength scales both.
"""

from collections.abc import Sequence

import torch

from calib.config.method import Adaptive
from calib.data.example import Example
from calib.directions.direction import Direction
from calib.engine.edits import Edits
from calib.engine.operators import Add
from calib.interventions.fitting import Fitting
from calib.interventions.grid import edits_at, grid_layers
from calib.interventions.intervention import Axis, Intervention, Method

AXIS = Axis("factor of the adaptive coefficients", signed=False, default_scale=0.5)


def method(fitting: Fitting, config: Adaptive) -> Method:
    """Coefficients by example, one pair of directions per layer."""
    positions = config.read_positions
    refusal = fitting.direction("harmful_refusal", "mean_difference", positions)
    harm = fitting.direction("safety", "mean_difference", positions)
    apart = orthogonal(harm.vectors, refusal.vectors)  # [layers, width]
    gap = harm.gap * (harm.vectors * apart).sum(-1)  # [layers]: of the class means along apart
    reads = _coefficient_layer(config, fitting, harm)
    layers = fitting.layers(config.layers)
    safety = fitting.samples("safety", "train", positions, layers=[reads])
    harmful = fitting.samples("harmful_refusal", "train", positions, layers=[reads])
    by_refusal = Scale.between(
        refusal.vectors[reads], harmful.positive[:, 0], harmful.negative[:, 0]
    )
    by_harm = Scale.between(apart[reads], safety.positive[:, 0], safety.negative[:, 0])

    def change(layer: int | None, strength: float) -> Intervention:
        def edits(on_refusal: torch.Tensor, on_harm: torch.Tensor) -> Edits:
            def added(at: int) -> Add:
                both = on_refusal * refusal.at(at, 1.0) + on_harm * gap[at] * apart[at]
                return Add(strength * both)

            return edits_at(layer, layers, added, config.positions)

        def rule(examples: Sequence[Example]) -> list[Edits]:
            read = fitting.activations(examples, [reads], positions)[:, 0]
            on_refusal = (config.refusal_slope * by_refusal.of(read)).clip(*config.refusal_limits)
            on_harm = (config.harm_slope * by_harm.of(read)).clip(*config.harm_limits)
            return [edits(*both) for both in zip(on_refusal, on_harm, strict=True)]

        return Intervention(rule=rule)

    note = f"{config.name}: coefficients are read at layer {reads}"
    return Method(
        config.name, AXIS, grid_layers(layers, config.all_layers_at_once), change, refusal, [note]
    )


def orthogonal(vectors: torch.Tensor, to: torch.Tensor) -> torch.Tensor:
    """Unit vectors without their components along others. # [layers, width] each"""
    along = (vectors * to).sum(-1, keepdim=True)
    left = vectors - along * to
    return left / left.norm(dim=-1, keepdim=True)


class Scale:
    """Projections on a vector in gaps from between two classes: +-0.5 at the class means."""

    def __init__(self, vector: torch.Tensor, middle: float, gap: float) -> None:
        self.vector, self.middle, self.gap = vector, middle, gap

    @classmethod
    def between(
        cls, vector: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor
    ) -> "Scale":
        """By the activations of the classes. # [width], [examples, width] each"""
        high, low = float((positive @ vector).mean()), float((negative @ vector).mean())
        return cls(vector, (high + low) / 2, high - low)

    def of(self, activations: torch.Tensor) -> torch.Tensor:
        """# [examples, width] -> [examples]"""
        return (activations @ self.vector - self.middle) / self.gap


def _coefficient_layer(config: Adaptive, fitting: Fitting, harm: Direction) -> int:
    if config.coefficient_layer != "auto":
        return fitting.layers(config.coefficient_layer)[0]
    if not harm.auroc:  # no validation pairs: the middle of the depth
        return harm.layers[len(harm.layers) // 2]
    return harm.layers[max(range(len(harm.layers)), key=lambda row: harm.auroc[row])]
