"""Removal by how much of a direction there is."""

import numpy as np
import pytest
import torch
from by_hand import By, require_same, unit

from calib.config.method import Directed
from calib.methods.astra import method

LAYER = 3


def formula(world, strength):
    """h - strength x clip(cos(h - h_ref, v), 0, 1) x |h| x v, v from refused to answered."""
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


def cosines(world, examples):
    """How far each example is moved, in its own norm, at strength 1."""
    hidden = world.plain.last(examples, LAYER)
    moved = formula(world, 1.0)(hidden) - hidden
    return np.linalg.norm(moved, axis=1) / np.linalg.norm(hidden, axis=1)


@pytest.mark.parametrize("strength", [1.0, 7.0])
def test_it_is_removed_where_it_is(world, strength):
    tested = world.twins("unsafe", "test")
    shown = tested[int(np.argmax(cosines(world, tested)))]
    config = Directed("astra", contrast="harmful_refusal", positions="response")
    change = By(LAYER, "response", formula(world, strength))
    require_same(world, method(world.fitting, config).setting(LAYER, strength), shown, [change])


def test_what_leans_the_other_way_is_left_alone(world):
    tested = [*world.twins("unsafe", "test"), *world.twins("safe", "test")]
    found = cosines(world, tested)
    assert found.min() == 0
    assert found.max() > 0.05
    config = Directed("astra", contrast="harmful_refusal")
    edit = method(world.fitting, config).setting(LAYER, 7.0).intervention.edits[0]
    hidden = world.plain.last(tested, LAYER)
    tensors = [tensor.double()[None, None] for tensor in edit.operator.tensors()]
    moved = edit.operator.formula(torch.from_numpy(hidden)[None], *tensors)[0].numpy() - hidden
    np.testing.assert_array_equal(moved[found == 0], 0)
