"""The refusal direction is added where the condition finds the query unsafe."""

import numpy as np
import pytest
from by_hand import By, require_same, unit

from calib.config.method import Steer
from calib.interventions.gates import fit_gate
from calib.methods.conditional import method

CONDITION = 4


def similarities(world, examples):
    """cos(h, tanh(P h)), P the projector on the first component of the pairs' differences."""
    unsafe, safe = (world.plain.last(world.twins(s), CONDITION) for s in ("unsafe", "safe"))
    c = np.linalg.svd(unsafe - safe)[2][0]  # its sign does not matter to P
    projector = np.outer(c, c) / (c @ c)
    hidden = world.plain.last(examples, CONDITION)
    return np.array([unit(h) @ unit(np.tanh(projector @ h)) for h in hidden])


def config(threshold=None):
    return Steer(
        "conditional", contrast="refusal", gate="cosine", gate_layers=CONDITION,
        threshold=threshold, layers="middle", all_layers_at_once=True,
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
def test_steered_where_it_is_open_and_left_alone_elsewhere(world, tested, side):
    similar = similarities(world, tested)
    conditional = method(world.fitting, config(float(np.median(similar))))
    above = "opens at or above" in conditional.notes[0]
    opened = (similar >= np.median(similar)) == above
    shown = tested[int(np.flatnonzero(opened == side)[0])]
    setting = conditional.setting(None, 4.0)
    if not side:
        assert setting.intervention.edits_for([shown]) == [()]
        return

    def change(layer):
        return By(layer, "last_prompt", lambda h: h + 4 * world.refusal(layer))

    require_same(world, setting, shown, [change(layer) for layer in (1, 2, 3)])
