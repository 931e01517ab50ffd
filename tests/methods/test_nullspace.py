"""A matrix that moves unsafe activations to the refusal direction and safe ones nowhere."""

import numpy as np
import pytest
from by_hand import By, require_same

from calib.config.method import Nullspace
from calib.methods.nullspace import method
from calib.util.errors import CalibError


def matrix(world, layer, null_share, ridge):
    """P Delta, in full. # [width, width]"""
    unsafe, safe = (world.plain.last(world.twins(s), layer) for s in ("unsafe", "safe"))
    width = safe.shape[1]
    values, vectors = np.linalg.eigh(safe.T @ safe)  # smallest first
    kept = vectors[:, : max(round(null_share * width), int((values < 1e-9 * values[-1]).sum()))]
    projector = kept @ kept.T
    inside = unsafe @ projector
    target = np.tile(world.refusal(layer), (len(unsafe), 1))
    solved = np.linalg.solve(inside.T @ inside + ridge * np.eye(width), inside.T @ target)
    return projector @ solved


# 30 safe train queries span 30 of 128 channels: a share of 0.6 leaves all of the others, 0.9 a part
# of what they span.
@pytest.mark.parametrize("null_share", [0.6, 0.9])
@pytest.mark.parametrize("ridge", [10.0, 200.0])
@pytest.mark.parametrize("strength", [-12.0, 12.0])
def test_the_edit_is_that_of_the_full_matrix(world, null_share, ridge, strength):
    config = Nullspace(
        "nullspace", contrast="refusal", layers=[3, 4], all_layers_at_once=True,
        null_share=null_share, ridge=ridge,
    )  # fmt: skip

    def change(layer):
        moved = matrix(world, layer, null_share, ridge)
        return By(layer, "last_prompt", lambda h: h + strength * h @ moved)

    setting = method(world.fitting, config).setting(None, strength)
    require_same(world, setting, world.shown(), [change(3), change(4)])


def test_safe_train_activations_are_left_alone(world):
    moved = matrix(world, 3, 0.6, 10.0)
    unsafe, safe = (world.plain.last(world.twins(s), 3) for s in ("unsafe", "safe"))
    size = np.linalg.norm(world.refusal(3))
    assert np.linalg.norm(safe @ moved, axis=1).max() < 1e-6 * size
    along = unsafe @ moved @ world.refusal(3) / size**2
    assert 0.8 < along.mean() < 1.05  # strength 1 moves by about the gap


@pytest.mark.parametrize("setting", [{"null_share": 1.5}, {"ridge": 0.0}])
def test_settings_that_mean_nothing_are_refused(setting):
    with pytest.raises(CalibError, match=f"method.{next(iter(setting))}: "):
        Nullspace("nullspace", **setting)
