"""Adaptive steering: coefficients are linear in the input's projections, and clipped."""

import re

import numpy as np
import pytest
from by_hand import FormulaEdit, require_same, unit
from raising import raises

from calib.config.steering import Adaptive
from calib.methods.adaptive import method

COEFFICIENT_LAYER = 4


def vectors(world, layer):
    """Differences and midpoints of the class means along refusal and harm."""
    refused, answered = (
        world.plain.last(world.twins("unsafe", "train", r), layer).mean(0) for r in (True, False)
    )
    unsafe, safe = world.means(layer)
    return (refused - answered, (refused + answered) / 2), (unsafe - safe, (unsafe + safe) / 2)


def added_harm(world, layer, part):
    """The component of the harm vector along refusal, or the rest."""
    (r, _), (harm, _) = vectors(world, layer)
    along = (harm @ unit(r)) * unit(r)
    return along if part == "projected" else harm - along


def coefficients(world, example, config):
    """Slope x (projection in gap units from the midpoint - offset), clipped, for both."""
    hidden = world.plain.last([example], COEFFICIENT_LAYER)[0]
    clipped = []
    for (along, middle), slope, offset, limits in zip(
        vectors(world, COEFFICIENT_LAYER),
        (config.refusal_slope, config.harm_slope),
        (config.refusal_offset, config.harm_offset),
        (config.refusal_limits, config.harm_limits),
        strict=True,
    ):
        in_gaps = (hidden - middle) @ along / (along @ along)
        clipped.append(float(np.clip(slope * (in_gaps - offset), *limits)))
    return clipped


def config(**settings):
    return Adaptive(
        "adaptive",
        all_layers_at_once=True,
        positions="prompt",
        coefficient_layer=COEFFICIENT_LAYER,
        **settings,
    )


@pytest.mark.parametrize("safety", ["unsafe", "safe"])
@pytest.mark.parametrize("picture", [True, False])
@pytest.mark.parametrize(
    ("limits", "part"), [([-20.0, 20.0], "projected"), ([-0.7, 0.4], "orthogonal")]
)
def test_both_directions_are_added_by_their_coefficients(world, safety, picture, limits, part):
    settings = config(
        refusal_slope=-3.0, harm_slope=2.5, refusal_limits=limits, harm_limits=limits,
        refusal_offset=0.2, harm_offset=-0.3, harm_direction=part,
    )  # fmt: skip
    example = world.test_example(picture, safety)
    on_refusal, on_harm = coefficients(world, example, settings)

    def change(layer):
        (r, _), _ = vectors(world, layer)
        added = 0.75 * (on_refusal * r + on_harm * added_harm(world, layer, part))
        return FormulaEdit(layer, "prompt", lambda h: h + added)

    setting = method(world.fitting, settings).setting(None, 0.75)
    require_same(world, setting, example, [change(layer) for layer in range(6)])


def test_coefficients_differ_and_some_are_clipped(world):
    tested = [*world.twins("unsafe", "test"), *world.twins("safe", "test")]
    wide = np.array([coefficients(world, e, config()) for e in tested])
    assert wide.std(0).min() > 0.1
    narrow = config(refusal_limits=[-0.7, 0.4], harm_limits=[-0.7, 0.4])
    clipped = np.array([coefficients(world, e, narrow) for e in tested])
    for column in clipped.T:
        assert {-0.7, 0.4} <= set(column)


def test_each_coefficient_is_read_at_the_layer_with_the_best_auroc_of_its_direction(world):
    best = [
        int(np.argmax(world.fitting.direction(contrast).auroc))
        for contrast in ("harmful_refusal", "safety")
    ]
    note, *_ = method(world.fitting, Adaptive("adaptive", all_layers_at_once=True)).notes
    assert re.findall(r"layer (\d)", note) == [str(layer) for layer in best]


def test_a_coefficient_layer_beyond_the_model_is_refused(world):
    with raises("invalid-value", "layer 6", "mini-internvl"):
        method(world.fitting, Adaptive("adaptive", coefficient_layer=6))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("refusal_limits", [1.0, -1.0]),
        ("harm_limits", [1.0]),
        ("harm_slope", float("inf")),
        ("coefficient_layer", [1, 2, 3]),
        ("harm_direction", "parallel"),
        ("refusal_offset", float("nan")),
    ],
)
def test_invalid_settings_are_refused(name, value):
    with raises("invalid-setting", name, value):
        Adaptive("adaptive", **{name: value})
