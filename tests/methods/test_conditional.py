"""Conditional steering: the edit of the model's prompts where the condition is met."""

import numpy as np
import pytest
from by_hand import FormulaEdit, require_same, unit

from calib.config.steering import Steer
from calib.interventions.gates import fit_gate
from calib.methods.conditional import method

CONDITION = 4


def prompt_means(world, examples):
    """Mean activations over all prompt tokens. # [examples, width]"""
    return np.stack([world.plain.read(example)[CONDITION].mean(0) for example in examples])


def similarities(world, examples):
    """cos(h, tanh(P h)), with P the projector on the first component of the pair differences."""
    unsafe, safe = (prompt_means(world, world.twins(s)) for s in ("unsafe", "safe"))
    c = np.linalg.svd(unsafe - safe)[2][0]  # its sign does not matter to P
    projector = np.outer(c, c) / (c @ c)
    return np.array([unit(h) @ unit(np.tanh(projector @ h)) for h in prompt_means(world, examples)])


def config(threshold=None):
    return Steer(
        "conditional", contrast="refusal", gate="cosine", gate_layers=CONDITION,
        gate_positions="prompt", threshold=threshold, layers="middle", all_layers_at_once=True,
        positions="all",
    )  # fmt: skip


@pytest.fixture
def tested(world):
    return [*world.twins("unsafe", "test"), *world.twins("safe", "test")]


def test_similarities_and_decisions_are_those_of_the_formula(world, tested):
    gate, expected = fit_gate(world.fitting, config()), similarities(world, tested)
    np.testing.assert_allclose(gate.scores(tested).numpy(), expected, atol=1e-5)
    opened = (expected >= gate.threshold) == gate.above
    assert gate.open(tested) == opened.tolist()
    assert 0 < opened.sum() < len(tested)


@pytest.mark.parametrize("side", [True, False])
def test_only_examples_with_an_open_gate_are_steered(world, tested, side):
    similar = similarities(world, tested)
    conditional = method(world.fitting, config(float(np.median(similar))))
    above = fit_gate(world.fitting, config(float(np.median(similar)))).above
    opened = (similar >= np.median(similar)) == above
    example = tested[int(np.flatnonzero(opened == side)[0])]
    setting = conditional.setting(None, 0.25)
    if not side:
        assert setting.intervention.edits_for([example]) == [()]
        return

    def change(layer):
        return FormulaEdit(layer, "all", lambda h: h + 0.25 * world.refusal(layer))

    require_same(world, setting, example, [change(layer) for layer in (1, 2, 3)])
