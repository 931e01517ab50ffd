"""VLM-Guard beside our notes on its paper (arXiv 2502.10486): subspace, both steps, condition."""

from dataclasses import replace

import numpy as np
import pytest

from calib.config.method import Subspace
from calib.methods.vlm_guard import method

LAYER = 4


def states(fitting, examples):
    return fitting.activations(examples, [LAYER])[:, 0].double().numpy()


def text_pairs(world):
    """Unsafe and safe questions in words alone, of the pairs that differ in words."""
    pairs = zip(world.twins("unsafe"), world.twins("safe"), strict=True)
    differing = [pair for pair in pairs if pair[0].query != pair[1].query]
    return zip(*[[replace(e, picture=None) for e in pair] for pair in differing], strict=True)


@pytest.mark.parametrize("rank", [1, 3])
def test_the_edited_state(world, random_fitting, rank):
    unsafe, safe = (states(random_fitting, side) for side in text_pairs(world))
    gram = (unsafe - safe).T @ (unsafe - safe)
    basis = np.linalg.eigh(gram)[1][:, ::-1][:, :rank]  # [width, rank], largest first
    first = basis[:, 0] * np.sign((unsafe - safe).mean(axis=0) @ basis[:, 0])
    projector = basis @ basis.T
    tested = [e for s in ("unsafe", "safe") for e in world.twins(s, "test")]
    h = states(random_fitting, tested)
    plain = states(random_fitting, [replace(e, picture=None) for e in tested])
    guarded = method(random_fitting, Subspace("vlm_guard", rank=rank)).setting(LAYER, 1.0)
    conditions = []
    for example, hidden, text, (edit,) in zip(
        tested, h, plain, guarded.intervention.edits_for(tested), strict=True
    ):
        removed = hidden - (hidden - text) @ projector
        conditions.append(removed @ first > 0)
        theirs = removed + conditions[-1] * removed @ projector
        np.testing.assert_allclose(
            hidden + edit.operator.vector.numpy(), theirs, atol=1e-4, err_msg=example.id
        )
    assert any(conditions)
