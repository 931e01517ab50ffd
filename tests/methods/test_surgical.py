"""Surgical ablation: the false-refusal vector, without true refusal, is removed."""

import numpy as np
import pytest
from by_hand import FormulaEdit, require_same, unit

from calib.config.method import Surgical
from calib.methods.surgical import method

LAYER = 2


def vectors(world, share):
    """The false-refusal vector w without a share of r, and the refusal direction r."""
    refused, answered, harmful = (
        world.plain.last(world.twins(safety, "train", r), LAYER).mean(0)
        for safety, r in (("safe", True), ("safe", False), ("unsafe", True))
    )
    w, r = refused - answered, harmful - answered
    return w - share * (w @ r) / (r @ r) * r, r


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("added", [0.0, 0.5])
def test_the_vector_is_ablated_and_refusal_added(world, share, added):
    config = Surgical("surgical", positions="all", orthogonalisation=share, refusal_strength=added)
    w, r = vectors(world, share)
    w = unit(w)
    changes = [
        FormulaEdit(layer, "all", lambda h: h - 1.5 * np.outer(h @ w, w)) for layer in range(6)
    ]
    if added:
        changes.append(FormulaEdit(LAYER, "all", lambda h: h + added * r))
    setting = method(world.fitting, config).setting(LAYER, 1.5)
    require_same(world, setting, world.test_example(), changes)


def test_full_orthogonalisation_keeps_the_refusal_direction(world):
    edit = method(world.fitting, Surgical("surgical")).setting(LAYER, 1.0).intervention.edits[0]
    assert abs(edit.operator.direction.numpy() @ unit(vectors(world, 1.0)[1])) < 1e-5
    assert abs(unit(vectors(world, 0.0)[0]) @ unit(vectors(world, 0.0)[1])) > 0.1
