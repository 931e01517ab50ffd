"""Steering with every operator, site, layer band and contrast, against formulas written out."""

import numpy as np
import pytest
import torch
from by_hand import FormulaEdit, require_same, unit
from raising import raises

from calib.config.choices import OPERATORS
from calib.config.method import Steer
from calib.directions.direction import write_direction
from calib.interventions.intervention import NO_INTERVENTION
from calib.interventions.steering import AXES
from calib.methods.steer import check, method

LAYER = 3


@pytest.mark.parametrize("strength", [-1.5, 2.0])
@pytest.mark.parametrize("picture", [True, False])
@pytest.mark.parametrize("positions", ["all", "prompt", "text", "last_prompt", "response"])
def test_the_difference_of_the_means_is_added(world, strength, picture, positions):
    steered = method(world.fitting, Steer(positions=positions))
    unsafe, safe = world.means(LAYER)
    change = FormulaEdit(LAYER, positions, lambda h: h + strength * (unsafe - safe))
    require_same(world, steered.setting(LAYER, strength), world.test_example(picture), [change])


def test_at_image_tokens(world):
    steered = method(world.fitting, Steer(positions="image"))
    unsafe, safe = world.means(0)
    change = FormulaEdit(0, "image", lambda h: h + 8 * (unsafe - safe))
    require_same(world, steered.setting(0, 8.0), world.test_example(), [change])


@pytest.mark.parametrize("contrast", ["refusal", "harmful_refusal", "false_refusal"])
def test_contrasts_of_behaviour(world, contrast):
    kinds = {"harmful_refusal": ["unsafe"], "false_refusal": ["safe"]}
    kinds = kinds.get(contrast, ["unsafe", "safe"])
    refused, answered = (
        world.plain.last(sum((world.twins(kind, "train", r) for kind in kinds), []), LAYER).mean(0)
        for r in (True, False)
    )
    steered = method(world.fitting, Steer(contrast=contrast))
    change = FormulaEdit(LAYER, "response", lambda h: h + 3 * (refused - answered))
    require_same(world, steered.setting(LAYER, 3.0), world.test_example(), [change])


def norms(h):
    return np.linalg.norm(h, axis=-1, keepdims=True)


def add_keeping_norm(h, d, gap, middle, s):
    return (h + s * gap * d) * norms(h) / norms(h + s * gap * d)


def add_by_norm_keeping_norm(h, d, gap, middle, s):
    return norms(h) * (h / norms(h) + s * d) / norms(h / norms(h) + s * d)


def clamp(h, d, gap, middle, s):
    """The projection is at least (at most, for s < 0) s gaps from the midpoint of the classes."""
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
    change = FormulaEdit(5, "response", formula, site)
    require_same(world, steered.setting(5, strength), world.test_example(safety="safe"), [change])


@pytest.mark.parametrize("strength", [-0.25, 0.25])
def test_a_clamp_leaves_activations_within_its_bound_unchanged(world, strength):
    steered = method(world.fitting, Steer(operator="clamp"))
    operator = steered.setting(LAYER, strength).intervention.edits[0].operator
    unsafe, safe = (torch.from_numpy(m)[None, None] for m in world.means(LAYER))
    outside, inside = (unsafe, safe) if strength < 0 else (safe, unsafe)
    tensors = [tensor.double()[None, None] for tensor in operator.tensors()]
    assert torch.equal(operator.formula(inside, *tensors), inside)
    # A class mean lies 0.5 + |strength| gaps from the bound on the other side.
    distance = (operator.formula(outside, *tensors) - outside).norm()
    assert float(distance / (unsafe - safe).norm()) == pytest.approx(0.5 + abs(strength), rel=1e-4)


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
    """One setting per layer, or one that edits all of them, each along its own difference."""
    layers = BANDS[wanted]
    value = list(wanted) if isinstance(wanted, tuple) else wanted
    config = Steer(layers=value, all_layers_at_once=all_layers_at_once)
    steered = method(world.fitting, config)
    assert list(steered.layers) == ([None] if all_layers_at_once else layers)

    def change(layer):
        unsafe, safe = world.means(layer)
        return FormulaEdit(layer, "response", lambda h: h + 4 * (unsafe - safe))

    for at in steered.layers:
        edited = layers if all_layers_at_once else [at]
        require_same(
            world, steered.setting(at, 4.0), world.test_example(), [change(k) for k in edited]
        )


def test_strength_zero_changes_nothing(world):
    steered = method(world.fitting, Steer(gate="probe"))
    assert steered.setting(LAYER, 0.0).intervention is NO_INTERVENTION
    assert NO_INTERVENTION.edits_for([world.test_example()]) == [()]


@pytest.fixture
def written(world, tmp_path):
    """Writes the fitted direction to a file, with changes."""

    def write(**changes):
        direction = method(world.fitting, Steer()).direction.select_layers([2, 3])
        for name, value in changes.items():
            object.__setattr__(direction, name, value)
        write_direction(tmp_path / "given.safetensors", direction)
        return str(tmp_path / "given.safetensors")

    return write


def test_a_direction_from_a_file_is_added_at_its_layers(world, written):
    config = Steer(direction=written())
    check(config, world.vlm, world.examples)
    steered = method(world.fitting, config)
    assert list(steered.layers) == [2, 3]
    unsafe, safe = world.means(2)
    change = FormulaEdit(2, "response", lambda h: h + 4 * (unsafe - safe))
    require_same(world, steered.setting(2, 4.0), world.test_example(), [change])


@pytest.mark.parametrize(
    ("changes", "settings", "code", "values"),
    [
        ({}, {"layers": [1]}, "invalid-value", ["layer 1", [2, 3]]),
        ({}, {"layers": [9]}, "invalid-value", ["layer 9", "mini-internvl"]),
        ({"layers": [4, 5]}, {"layers": "lower"}, "conflicting-settings", ["lower", [4, 5]]),
        ({"layers": [2, 6]}, {}, "mismatch", [[6], "mini-internvl", 5]),
        ({"vectors": torch.eye(2, 64)}, {}, "mismatch", [64, "mini-internvl", 128]),
        ({"operator": "ablate"}, {}, "conflicting-settings", ["method.operator=ablate"]),
        ({"fingerprint": "0" * 16, "origin": {}}, {}, "mismatch", ["0" * 16, "mini-internvl"]),
        (
            {"fingerprint": "1" * 16, "origin": {"weights": "0" * 16}},
            {},
            "mismatch",
            ["0" * 16, "mini-internvl"],
        ),
    ],
)
def test_a_direction_that_does_not_fit_is_refused(world, written, changes, settings, code, values):
    with raises(code, *values):
        check(Steer(direction=written(**changes), **settings), world.vlm, world.examples)


def test_a_missing_direction_is_refused(world, tmp_path):
    path = str(tmp_path / "none.safetensors")
    with raises("not-found", path):
        check(Steer(direction=path), world.vlm, world.examples)


def test_invalid_strengths_are_refused():
    with raises("invalid-setting", "method.strengths", "nan"):
        Steer(strengths=[1.0, float("nan")])
    with raises("invalid-setting", "method.strengths"):
        Steer(strengths=[])
