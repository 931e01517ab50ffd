"""Adaptive removal: the more of the direction an activation has, the more is removed."""

import numpy as np
import pytest
import torch
from by_hand import FormulaEdit, require_same, unit

from calib.config.method import Directed
from calib.methods.astra import method

LAYER = 3


def formula(world, strength):
    """h - strength x clip(cos(h - h_ref, v), 0, 1) x |h| x v, with v from refused to answered."""
    refused, answered = (
        world.plain.last(world.twins("unsafe", "train", r), LAYER).mean(0) for r in (True, False)
    )
    v = unit(answered - refused)
    reference = world.plain.last(world.twins("safe"), LAYER).mean(0)

    def removed(hidden):
        rows = []
        for h in hidden:
            cosine = (h - reference) @ v / np.linalg.norm(h - reference)
            rows.append(h - strength * min(max(cosine, 0), 1) * np.linalg.norm(h) * v)
        return np.stack(rows)

    return removed


def moved_shares(world, examples):
    """Length of each example's edit at strength 1, as a share of the activation's norm."""
    hidden = world.plain.last(examples, LAYER)
    moved = formula(world, 1.0)(hidden) - hidden
    return np.linalg.norm(moved, axis=1) / np.linalg.norm(hidden, axis=1)


@pytest.mark.parametrize("strength", [1.0, 7.0])
def test_the_direction_is_removed_by_its_cosine(world, strength):
    tested = world.twins("unsafe", "test")
    example = tested[int(np.argmax(moved_shares(world, tested)))]
    config = Directed("astra", contrast="harmful_refusal", positions="response")
    change = FormulaEdit(LAYER, "response", formula(world, strength))
    require_same(world, method(world.fitting, config).setting(LAYER, strength), example, [change])


def test_activations_with_a_negative_cosine_are_unchanged(world):
    tested = [*world.twins("unsafe", "test"), *world.twins("safe", "test")]
    shares = moved_shares(world, tested)
    assert shares.min() == 0
    assert shares.max() > 0.05
    config = Directed("astra", contrast="harmful_refusal")
    edit = method(world.fitting, config).setting(LAYER, 7.0).intervention.edits[0]
    hidden = world.plain.last(tested, LAYER)
    tensors = [tensor.double()[None, None] for tensor in edit.operator.tensors()]
    moved = edit.operator.formula(torch.from_numpy(hidden)[None], *tensors)[0].numpy() - hidden
    np.testing.assert_array_equal(moved[shares == 0], 0)
