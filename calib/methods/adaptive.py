"""Adaptive steering, with coefficients that depend on the input (AdaSteer, arXiv 2504.09466,
section 4).

Per layer l, r_l is the unit refusal direction (refused minus answered unsafe queries) and c_l the
unit harm direction (unsafe minus safe queries, orthogonal to r_l), both [width]; gap_l(v) is the
distance between the two class means along v. p(x, v) is the projection on v of the activation at
the last prompt token of x, at one layer, measured from the midpoint between the class means in
units of the gap: the class means lie at +-0.5.

    lambda_r(x) = clip(refusal_slope x p(x, r), refusal_limits)
    lambda_c(x) = clip(harm_slope x p(x, c), harm_limits)
    h_l  <-  h_l + strength x (lambda_r(x) gap_l(r) r_l + lambda_c(x) gap_l(c) c_l)

at all layers. A negative refusal slope pushes queries that lean towards an answer towards refusal,
and vice versa; a positive harm slope pushes every query further to its own side. Strength scales
both coefficients.

The paper fits slopes, offsets and limits for each model; here one set of values serves all models,
because gap units make them comparable.
"""

from collections.abc import Sequence

import torch

from calib.config.method import Adaptive
from calib.data.example import Example
from calib.directions.direction import Direction
from calib.engine.edits import Edits
from calib.engine.operators import Add
from calib.interventions.fitting import Fitting
from calib.interventions.grid import edits_at
from calib.interventions.intervention import Axis, Intervention, Method

AXIS = Axis("factor of the adaptive coefficients", signed=False, default_scale=0.5)


def method(fitting: Fitting, config: Adaptive) -> Method:
    """Two directions per layer, added with coefficients of each example."""
    positions = config.read_positions
    refusal = fitting.direction("harmful_refusal", "mean_difference", positions)
    harm = fitting.direction("safety", "mean_difference", positions)
    harm_vectors = orthogonalised(harm.vectors, refusal.vectors)  # [layers, width]
    harm_gap = harm.gap * (harm.vectors * harm_vectors).sum(-1)  # [layers]
    coefficient_layer = _coefficient_layer(config, fitting, harm)
    grid = fitting.layer_grid(config)
    safety = fitting.samples("safety", "train", positions, layers=[coefficient_layer])
    harmful = fitting.samples("harmful_refusal", "train", positions, layers=[coefficient_layer])
    refusal_scale = ProjectionScale.fit(
        refusal.vectors[coefficient_layer], harmful.positive[:, 0], harmful.negative[:, 0]
    )
    harm_scale = ProjectionScale.fit(
        harm_vectors[coefficient_layer], safety.positive[:, 0], safety.negative[:, 0]
    )

    def intervention(layer: int | None, strength: float) -> Intervention:
        def edits(on_refusal: torch.Tensor, on_harm: torch.Tensor) -> Edits:
            def addition(number: int) -> Add:
                along_harm = on_harm * harm_gap[number] * harm_vectors[number]
                return Add(strength * (on_refusal * refusal.at(number, 1.0) + along_harm))

            return edits_at(grid.edited(layer), addition, config.positions)

        def rule(examples: Sequence[Example]) -> list[Edits]:
            hidden = fitting.activations(examples, [coefficient_layer], positions)[:, 0]
            on_refusal = config.refusal_slope * refusal_scale.project(hidden)
            on_harm = config.harm_slope * harm_scale.project(hidden)
            coefficients = zip(
                on_refusal.clip(*config.refusal_limits),
                on_harm.clip(*config.harm_limits),
                strict=True,
            )
            return [edits(*pair) for pair in coefficients]

        return Intervention(rule=rule)

    note = f"{config.name}: coefficients are read at layer {coefficient_layer}"
    return Method(config.name, AXIS, grid.layers, intervention, refusal, [note])


def orthogonalised(vectors: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """``vectors`` without their components along ``others``, at unit length.

    # [layers, width] each
    """
    components = (vectors * others).sum(-1, keepdim=True)
    remainder = vectors - components * others
    return remainder / remainder.norm(dim=-1, keepdim=True)


class ProjectionScale:
    """Projections on a vector in units of the gap between two class means, which lie at +-0.5."""

    def __init__(self, vector: torch.Tensor, midpoint: float, gap: float) -> None:
        self.vector, self.midpoint, self.gap = vector, midpoint, gap

    @classmethod
    def fit(
        cls, vector: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor
    ) -> "ProjectionScale":
        """The scale for two classes of activations. # [width], [examples, width] twice"""
        high, low = float((positive @ vector).mean()), float((negative @ vector).mean())
        return cls(vector, (high + low) / 2, high - low)

    def project(self, activations: torch.Tensor) -> torch.Tensor:
        """# [examples, width] -> [examples]"""
        return (activations @ self.vector - self.midpoint) / self.gap


def _coefficient_layer(config: Adaptive, fitting: Fitting, harm: Direction) -> int:
    if config.coefficient_layer != "auto":
        return fitting.layers(config.coefficient_layer)[0]
    if not harm.auroc:  # no validation pairs: the middle of the depth
        return harm.layers[len(harm.layers) // 2]
    return harm.layers[max(range(len(harm.layers)), key=lambda row: harm.auroc[row])]
