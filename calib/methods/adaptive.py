"""Adaptive steering, with coefficients that depend on the input (AdaSteer, arXiv 2504.09466,
section 4).

Per layer l, r_l is the refusal vector (mean of refused minus mean of answered unsafe queries) and
c_l the harm vector (mean of unsafe minus mean of safe queries), both [width] and at full length;
proj_l is the component of c_l along r_l. p(x, v) is the projection on v of the activation at the
last prompt token of x, at one layer, measured from the midpoint between the class means in units of
their distance: the class means lie at +-0.5.

    lambda_r(x) = clip(refusal_slope x (p(x, r) - refusal_offset), refusal_limits)
    lambda_c(x) = clip(harm_slope x (p(x, c) - harm_offset), harm_limits)
    h_l  <-  h_l + strength x (lambda_r(x) r_l + lambda_c(x) proj_l)        at all prompt tokens

at all layers. proj_l may point towards refusal or away from it, so the harm coefficient pushes in
different directions at different layers. A negative refusal slope pushes queries that lean towards
an answer towards refusal, and vice versa. Strength scales both coefficients.

Authors: RD is the mean difference of rejected and complied-with harmful queries; HD that of harmful
and benign queries, of which the released vectors keep only the component along RD (|cos| = 1 at
every layer). Projections are scaled to 100 between the class means and read at the last prompt
token of one layer for each direction; both vectors are added at all layers to all prompt tokens,
not to response tokens. Slopes, offsets and clips are fitted by hand for each model. In the units
above, Llama-3.1-8B has refusal_slope=-2 refusal_offset=-1.1 refusal_limits=[0.08,0.22] harm_slope=5
harm_offset=0.65 and harm limits from -0.75 on, with layers 8 and 13 of 32; Qwen2.5-7B has
refusal_slope=-10 refusal_offset=0.9 refusal_limits=[0,0.2] harm_slope=6 harm_offset=0
harm_limits=[-0.6,0.4].

Here: the same vectors, tokens and form. One set of slopes, offsets and limits serves all models,
because gap units make them comparable, and strength scales them together. Each direction's
projection is read at the layer with its best AUROC on validation, not at a layer chosen by hand.
harm_direction=orthogonal, a variant of ours, adds the part of c_l that proj_l leaves out.

Supervised: yes (the pairs' labels and the judged responses of train pairs give the two directions;
no classifier is trained).

Searched: strength on validation; the layers of the projections by AUROC on validation.
"""

from collections.abc import Sequence

import torch

from calib.config.steering import Adaptive
from calib.data.example import Example
from calib.directions.direction import Direction
from calib.directions.separation import best_layer, chance_note
from calib.engine.edits import Edits
from calib.engine.operators import Add
from calib.interventions.fitting import Fitting
from calib.interventions.grid import edits_at
from calib.interventions.intervention import Axis, Intervention, Method

AXIS = Axis("factor of the adaptive coefficients", signed=False, default_scale=0.5)


def method(fitting: Fitting, config: Adaptive) -> Method:
    """Two vectors per layer, added with coefficients of each example."""
    positions = config.read_positions
    refusal = fitting.direction("harmful_refusal", "mean_difference", positions)
    harm = fitting.direction("safety", "mean_difference", positions)
    common = [layer for layer in refusal.layers if layer in harm.layers]
    refusal, harm = refusal.select_layers(common), harm.select_layers(common)
    refusal_layer, harm_layer = _coefficient_layers(config, fitting, refusal, harm)
    added_harm = harm_vectors(refusal, harm, config.harm_direction)  # [layers, width]
    grid = fitting.layer_grid(config, fitting.layers_of(refusal, config.layers))

    def intervention(layer: int | None, strength: float) -> Intervention:
        def edits(on_refusal: torch.Tensor, on_harm: torch.Tensor) -> Edits:
            def addition(number: int) -> Add:
                along_harm = on_harm * added_harm[harm.row(number)]
                return Add(strength * (on_refusal * refusal.at(number, 1.0) + along_harm))

            return edits_at(grid.edited(layer), addition, config.positions)

        def rule(examples: Sequence[Example]) -> list[Edits]:
            layers = [refusal_layer, harm_layer]
            hidden = fitting.activations(examples, layers, positions)  # [examples, 2, width]
            on_refusal = config.refusal_slope * (
                projections(hidden[:, 0], refusal, refusal_layer) - config.refusal_offset
            )
            on_harm = config.harm_slope * (
                projections(hidden[:, 1], harm, harm_layer) - config.harm_offset
            )
            coefficients = zip(
                on_refusal.clip(*config.refusal_limits),
                on_harm.clip(*config.harm_limits),
                strict=True,
            )
            return [edits(*pair) for pair in coefficients]

        return Intervention(rule=rule)

    note = (
        f"{config.name}: the coefficient of refusal is read at layer {refusal_layer}, that of harm "
        f"at layer {harm_layer}"
    )
    notes = [note]
    if config.coefficient_layer == "auto":
        read = [chance_note(refusal, refusal_layer), chance_note(harm, harm_layer)]
        notes += [f"{config.name}: {text}" for text in read if text]
    return Method(config.name, AXIS, grid.layers, intervention, refusal, notes)


def harm_vectors(refusal: Direction, harm: Direction, part: str) -> torch.Tensor:
    """The part of the harm vector that is added: along the refusal direction, or the rest.

    # [layers, width] float32
    """
    vectors = harm.gap[:, None] * harm.vectors
    along = (vectors * refusal.vectors).sum(-1, keepdim=True) * refusal.vectors
    return along if part == "projected" else vectors - along


def projections(activations: torch.Tensor, direction: Direction, layer: int) -> torch.Tensor:
    """Projections in gaps from the midpoint between the class means, which lie at +-0.5.

    # [examples, width] -> [examples]
    """
    row = direction.row(layer)
    along = activations @ direction.vectors[row]
    return (along - direction.midpoint[row]) / direction.gap[row]


def _coefficient_layers(
    config: Adaptive, fitting: Fitting, refusal: Direction, harm: Direction
) -> tuple[int, int]:
    """The layers of the refusal and of the harm projection."""
    given = config.coefficient_layer
    if given == "auto":
        return _coefficient_layer(refusal), _coefficient_layer(harm)
    pair = given if isinstance(given, list) else [given, given]
    refusal_layer, harm_layer = (fitting.layers(layer)[0] for layer in pair)
    return refusal_layer, harm_layer


def _coefficient_layer(direction: Direction) -> int:
    if not direction.auroc:  # no validation pairs: the middle of the depth
        return direction.layers[len(direction.layers) // 2]
    return best_layer(direction)
