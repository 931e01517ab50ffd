"""Null-space steering moves unsafe activations towards refusal, and safe activations hardly."""

import numpy as np
import pytest
from by_hand import FormulaEdit, require_same
from raising import raises

from calib.config.method import Nullspace
from calib.methods.nullspace import method


def matrix(world, layer, null_share, ridge):
    """P Delta as a full matrix. # [width, width]"""
    unsafe, safe = (world.plain.last(world.twins(s), layer) for s in ("unsafe", "safe"))
    width = safe.shape[1]
    values, vectors = np.linalg.eigh(safe.T @ safe)  # smallest first
    null = vectors[:, : max(round(null_share * width), int((values < 1e-9 * values[-1]).sum()))]
    projector = null @ null.T
    inside = unsafe @ projector
    target = np.tile(world.refusal(layer), (len(unsafe), 1))
    solved = np.linalg.solve(inside.T @ inside + ridge * np.eye(width), inside.T @ target)
    return projector @ solved


# 30 safe train queries span 30 of 128 channels: a null share of 0.6 lies outside of that span, 0.9
# overlaps with it.
@pytest.mark.parametrize("null_share", [0.6, 0.9])
@pytest.mark.parametrize("ridge", [10.0, 200.0])
@pytest.mark.parametrize("strength", [-12.0, 12.0])
def test_the_rank_one_edit_equals_the_full_matrix(world, null_share, ridge, strength):
    config = Nullspace(
        "nullspace", contrast="refusal", layers=[3, 4], all_layers_at_once=True,
        null_share=null_share, ridge=ridge,
    )  # fmt: skip

    def change(layer):
        moved = matrix(world, layer, null_share, ridge)
        return FormulaEdit(layer, "last_prompt", lambda h: h + strength * h @ moved)

    setting = method(world.fitting, config).setting(None, strength)
    require_same(world, setting, world.test_example(), [change(3), change(4)])


def test_safe_train_activations_are_unchanged(world):
    moved = matrix(world, 3, 0.6, 10.0)
    unsafe, safe = (world.plain.last(world.twins(s), 3) for s in ("unsafe", "safe"))
    size = np.linalg.norm(world.refusal(3))
    assert np.linalg.norm(safe @ moved, axis=1).max() < 1e-6 * size
    along = unsafe @ moved @ world.refusal(3) / size**2
    assert 0.8 < along.mean() < 1.05  # strength 1 moves by about the gap


@pytest.mark.parametrize("setting", [{"null_share": 1.5}, {"ridge": 0.0}])
def test_invalid_settings_are_refused(setting):
    ((name, value),) = setting.items()
    with raises("invalid-setting", f"method.{name}", value):
        Nullspace("nullspace", **setting)
