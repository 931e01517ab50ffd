"""Steering, and every axis of its configuration, against formulas written out."""

import numpy as np
import pytest
import torch
from by_hand import By, require_same, unit

from calib.config.choices import OPERATORS
from calib.config.method import Steer
from calib.directions.direction import write_direction
from calib.interventions.grid import resolve_layers
from calib.interventions.intervention import NO_INTERVENTION
from calib.interventions.steering import AXES
from calib.methods.steer import check, method
from calib.util.errors import CalibError

LAYER = 3


@pytest.mark.parametrize("strength", [-1.5, 2.0])
@pytest.mark.parametrize("picture", [True, False])
@pytest.mark.parametrize("positions", ["all", "prompt", "text", "last_prompt", "response"])
def test_the_difference_of_the_means_is_added(world, strength, picture, positions):
    steered = method(world.fitting, Steer(positions=positions))
    unsafe, safe = world.means(LAYER)
    change = By(LAYER, positions, lambda h: h + strength * (unsafe - safe))
    require_same(world, steered.setting(LAYER, strength), world.shown(picture), [change])


def test_at_image_tokens(world):
    steered = method(world.fitting, Steer(positions="image"))
    unsafe, safe = world.means(0)
    change = By(0, "image", lambda h: h + 8 * (unsafe - safe))
    require_same(world, steered.setting(0, 8.0), world.shown(), [change])


@pytest.mark.parametrize("contrast", ["refusal", "harmful_refusal", "false_refusal"])
def test_along_a_contrast_of_behaviour(world, contrast):
    kinds = {"harmful_refusal": ["unsafe"], "false_refusal": ["safe"]}
    kinds = kinds.get(contrast, ["unsafe", "safe"])
    refused, answered = (
        world.plain.last(sum((world.twins(kind, "train", r) for kind in kinds), []), LAYER).mean(0)
        for r in (True, False)
    )
    steered = method(world.fitting, Steer(contrast=contrast))
    change = By(LAYER, "last_prompt", lambda h: h + 3 * (refused - answered))
    require_same(world, steered.setting(LAYER, 3.0), world.shown(), [change])


def norms(h):
    return np.linalg.norm(h, axis=-1, keepdims=True)


def add_keeping_norm(h, d, gap, middle, s):
    return (h + s * gap * d) * norms(h) / norms(h + s * gap * d)


def add_by_norm_keeping_norm(h, d, gap, middle, s):
    return norms(h) * (h / norms(h) + s * d) / norms(h / norms(h) + s * d)


def clamp(h, d, gap, middle, s):
    """The projection is at least (at most, for s < 0) s gaps from the middle of the classes."""
    along = h @ d
    bound = np.maximum if s > 0 else np.minimum
    return h + (bound(along, middle + s * gap) - along)[:, None] * d


FORMULAS = {
    "add": lambda h, d, gap, middle, s: h + s * gap * d,
    "add_keeping_norm": add_keeping_norm,
    "add_by_norm": lambda h, d, gap, middle, s: h + s * norms(h) * d,
    "add_by_norm_keeping_norm": add_by_norm_keeping_norm,
    "ablate": lambda h, d, gap, middle, s: h - s * np.outer(h @ d, d),
    "linear": lambda h, d, gap, middle, s: h + s * np.outer(h @ d - middle, d),
    "clamp": clamp,
}


def test_every_operator_has_its_formula_here():
    assert set(FORMULAS) == set(OPERATORS) == set(AXES)


@pytest.mark.parametrize("site", ["residual", "heads", "mlp"])
@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("strength", [-4.0, 4.0])
def test_operators_at_sites(world, operator, site, strength):
    unsafe, safe = world.means(5, site)
    d, gap = unit(unsafe - safe), np.linalg.norm(unsafe - safe)
    middle = (unsafe + safe) / 2 @ d

    def formula(h):
        return FORMULAS[operator](h, d, gap, middle, strength)

    steered = method(world.fitting, Steer(operator=operator, site=site, positions="response"))
    change = By(5, "response", formula, site)
    require_same(world, steered.setting(5, strength), world.shown(safety="safe"), [change])


@pytest.mark.parametrize("strength", [-0.25, 0.25])
def test_a_clamp_leaves_what_is_beyond_its_bound(world, strength):
    steered = method(world.fitting, Steer(operator="clamp"))
    operator = steered.setting(LAYER, strength).intervention.edits[0].operator
    unsafe, safe = (torch.from_numpy(m)[None, None] for m in world.means(LAYER))
    moved, left = (unsafe, safe) if strength < 0 else (safe, unsafe)
    tensors = [tensor.double()[None, None] for tensor in operator.tensors()]
    assert torch.equal(operator.formula(left, *tensors), left)
    # From one class mean to the bound there is a gap of 0.5 + |strength|.
    went = (operator.formula(moved, *tensors) - moved).norm()
    assert float(went / (unsafe - safe).norm()) == pytest.approx(0.5 + abs(strength), rel=1e-4)


BANDS = {
    "all": [0, 1, 2, 3, 4, 5],
    "lower": [0, 1, 2],
    "middle": [1, 2, 3],
    "upper": [3, 4, 5],
    4: [4],
    (5, 1): [1, 5],
}


@pytest.mark.parametrize("wanted", BANDS)
@pytest.mark.parametrize("all_layers_at_once", [True, False])
def test_layers(world, wanted, all_layers_at_once):
    """One setting for each layer, or one that edits them all, each with its own difference."""
    layers = BANDS[wanted]
    chosen = list(wanted) if isinstance(wanted, tuple) else wanted
    config = Steer(layers=chosen, all_layers_at_once=all_layers_at_once)
    steered = method(world.fitting, config)
    assert list(steered.layers) == ([None] if all_layers_at_once else layers)

    def change(layer):
        unsafe, safe = world.means(layer)
        return By(layer, "last_prompt", lambda h: h + 4 * (unsafe - safe))

    for at in steered.layers:
        edited = layers if all_layers_at_once else [at]
        require_same(world, steered.setting(at, 4.0), world.shown(), [change(k) for k in edited])


@pytest.mark.parametrize("depth", [1, 2, 3, 5, 6, 7, 26, 27, 28, 32])
def test_bands_of_any_depth(depth):
    class Deep:
        layers, checkpoint = depth, "deep"

    lower, middle, upper = (resolve_layers(Deep, name) for name in ("lower", "middle", "upper"))
    assert all((lower, middle, upper))
    if depth > 1:
        assert [*lower, *upper] == list(range(depth))
        assert abs(len(lower) - len(upper)) <= 1
        assert abs(2 * len(middle) - depth) <= 2
    assert resolve_layers(Deep, "all") == resolve_layers(Deep, "auto") == list(range(depth))
    with pytest.raises(CalibError, match=f"layer {depth} does not exist: deep has layers 0 to"):
        resolve_layers(Deep, [0, depth])


def test_strength_zero_changes_nothing(world):
    steered = method(world.fitting, Steer(gate="probe"))
    assert steered.setting(LAYER, 0.0).intervention is NO_INTERVENTION
    assert NO_INTERVENTION.edits_for([world.shown()]) == [()]


@pytest.fixture
def written(world, tmp_path):
    """Writes the fitted direction with changes."""

    def write(**changes):
        direction = method(world.fitting, Steer()).direction.of_layers([2, 3])
        for name, value in changes.items():
            object.__setattr__(direction, name, value)
        write_direction(tmp_path / "given.safetensors", direction)
        return str(tmp_path / "given.safetensors")

    return write


def test_a_given_direction_is_added_where_it_belongs(world, written):
    config = Steer(direction=written())
    check(config, world.vlm, world.examples)
    steered = method(world.fitting, config)
    assert list(steered.layers) == [2, 3]
    unsafe, safe = world.means(2)
    change = By(2, "last_prompt", lambda h: h + 4 * (unsafe - safe))
    require_same(world, steered.setting(2, 4.0), world.shown(), [change])


@pytest.mark.parametrize(
    ("changes", "settings", "said"),
    [
        ({}, {"layers": [1]}, r"layer 1 is not in the direction, which has layers \[2, 3\]"),
        ({}, {"layers": [9]}, "layer 9 does not exist: mini-internvl has layers 0 to 5"),
        ({"layers": [4, 5]}, {"layers": "lower"}, "layers=lower means .*Give method.layers=all"),
        ({"layers": [2, 6]}, {}, r"has layers \[6\]; mini-internvl ends at layer 5"),
        ({"vectors": torch.eye(2, 64)}, {}, "has width 64; mini-internvl has width 128 "),
        ({"operator": "ablate"}, {}, "is for operator 'ablate'.* Give method.operator=ablate"),
        ({"fingerprint": "0" * 16}, {}, "was read from mini-internvl .* Fit a direction for this"),
    ],
)
def test_a_direction_that_does_not_fit_is_refused(world, written, changes, settings, said):
    with pytest.raises(CalibError, match=said):
        check(Steer(direction=written(**changes), **settings), world.vlm, world.examples)


def test_a_missing_direction_is_refused(world, tmp_path):
    with pytest.raises(CalibError, match="no direction file at .* Give the path"):
        check(Steer(direction=str(tmp_path / "none.safetensors")), world.vlm, world.examples)


def test_strengths_that_mean_nothing_are_refused():
    with pytest.raises(CalibError, match="method.strengths: nan is not a finite number"):
        Steer(strengths=[1.0, float("nan")])
    with pytest.raises(CalibError, match="method.strengths: the list is empty"):
        Steer(strengths=[])
