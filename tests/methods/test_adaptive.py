"""Coefficients that are linear in the input's projections, clipped."""

import numpy as np
import pytest
from by_hand import By, require_same, unit

from calib.config.method import Adaptive
from calib.methods.adaptive import method
from calib.util.errors import CalibError

READS = 4


def vectors(world, layer):
    """Differences of the means along r (refusals of unsafe queries) and c (harm without r)."""
    refused, answered = (
        world.plain.last(world.twins("unsafe", "train", r), layer).mean(0) for r in (True, False)
    )
    unsafe, safe = world.means(layer)
    r, harm = refused - answered, unsafe - safe
    c = unit(harm - (harm @ unit(r)) * unit(r))
    return (r, (refused + answered) / 2), ((harm @ c) * c, (unsafe + safe) / 2)


def coefficients(world, example, config):
    """Slope x projection in gaps from the middle of the classes, clipped, for r and for c."""
    hidden = world.plain.last([example], READS)[0]
    found = []
    for (along, middle), slope, limits in zip(
        vectors(world, READS),
        (config.refusal_slope, config.harm_slope),
        (config.refusal_limits, config.harm_limits),
        strict=True,
    ):
        in_gaps = (hidden - middle) @ along / (along @ along)
        found.append(float(np.clip(slope * in_gaps, *limits)))
    return found


def config(**settings):
    return Adaptive("adaptive", all_layers_at_once=True, coefficient_layer=READS, **settings)


@pytest.mark.parametrize("safety", ["unsafe", "safe"])
@pytest.mark.parametrize("picture", [True, False])
@pytest.mark.parametrize("limits", [[-20.0, 20.0], [-0.7, 0.4]])
def test_both_directions_are_added_by_their_coefficients(world, safety, picture, limits):
    set_up = config(refusal_slope=-3.0, harm_slope=2.5, refusal_limits=limits, harm_limits=limits)
    shown = world.shown(picture, safety)
    on_refusal, on_harm = coefficients(world, shown, set_up)

    def change(layer):
        (r, _), (c, _) = vectors(world, layer)
        return By(layer, "last_prompt", lambda h: h + 1.5 * (on_refusal * r + on_harm * c))

    setting = method(world.fitting, set_up).setting(None, 1.5)
    require_same(world, setting, shown, [change(layer) for layer in range(6)])


def test_coefficients_differ_and_some_are_clipped(world):
    tested = [*world.twins("unsafe", "test"), *world.twins("safe", "test")]
    wide = np.array([coefficients(world, e, config()) for e in tested])
    assert wide.std(0).min() > 0.1
    narrow = config(refusal_limits=[-0.7, 0.4], harm_limits=[-0.7, 0.4])
    clipped = np.array([coefficients(world, e, narrow) for e in tested])
    for column in clipped.T:
        assert {-0.7, 0.4} <= set(column)


def test_coefficients_are_read_where_safe_and_unsafe_differ_most(world):
    harm = world.fitting.direction("safety")
    best = int(np.argmax(harm.auroc))
    found = method(world.fitting, Adaptive("adaptive", all_layers_at_once=True))
    assert found.notes == [f"adaptive: coefficients are read at layer {best}"]


def test_a_layer_that_is_not_there_is_refused(world):
    with pytest.raises(CalibError, match="layer 6 does not exist: mini-internvl has layers 0 to 5"):
        method(world.fitting, Adaptive("adaptive", coefficient_layer=6))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"refusal_limits": [1.0, -1.0]}, r"method.refusal_limits: .* is not \[least, most\]"),
        ({"harm_limits": [1.0]}, r"method.harm_limits: \[1.0\] is not \[least, most\]"),
        ({"harm_slope": float("inf")}, "harm_slope: inf is not a finite number"),
        ({"coefficient_layer": [1, 2]}, "method.coefficient_layer: give one layer, or auto"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, said):
    with pytest.raises(CalibError, match=said):
        Adaptive("adaptive", **settings)
