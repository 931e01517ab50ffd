"""The safety subspace: the picture's shift taken out of it, what is unsafe in it amplified."""

from dataclasses import replace

import numpy as np
import pytest
from by_hand import By, require_same

from calib.config.method import Subspace
from calib.methods.vlm_guard import method
from calib.util.errors import CalibError


def guarded(world, example, layer, rank, strength):
    """What the unedited activation becomes, whether it counted as unsafe, and the activation."""
    unsafe, safe = (world.plain.last(world.twins(s), layer) for s in ("unsafe", "safe"))
    v = np.linalg.svd(unsafe - safe)[2][:rank]
    first = v[0] * np.sign(v[0] @ (unsafe - safe).mean(0))
    hidden = world.plain.last([example], layer)[0]
    shift = hidden - world.plain.last([replace(example, picture=None)], layer)[0]
    removed = hidden - strength * shift @ v.T @ v
    counts = bool(removed @ first > 0)
    return removed + strength * counts * removed @ v.T @ v, counts, hidden


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("strength", [-2.0, 1.0, 3.0])
@pytest.mark.parametrize("picture", [True, False])
def test_both_steps_are_those_of_the_formula(world, rank, strength, picture):
    shown, layers = world.shown(picture), (3, 4, 5)

    def change(layer):
        after, _, before = guarded(world, shown, layer, rank, strength)
        return By(layer, "last_prompt", lambda h: h + after - before)

    config = Subspace("vlm_guard", layers="upper", all_layers_at_once=True, rank=rank)
    setting = method(world.fitting, config).setting(None, strength)
    require_same(world, setting, shown, [change(layer) for layer in layers])


def test_some_count_as_unsafe_and_others_do_not(world):
    tested = [*world.twins("unsafe", "test"), *world.twins("safe", "test")]
    edits = (
        method(world.fitting, Subspace("vlm_guard")).setting(3, 1.0).intervention.edits_for(tested)
    )
    counted = []
    for example, (edit,) in zip(tested, edits, strict=True):
        after, unsafe, before = guarded(world, example, 3, 3, 1.0)
        np.testing.assert_allclose(edit.operator.vector.numpy(), after - before, atol=1e-3)
        counted.append(unsafe)
    assert 0 < sum(counted) < len(tested)


def test_a_rank_of_nothing_is_refused():
    with pytest.raises(CalibError, match="method.rank: 0 is too small"):
        Subspace("vlm_guard", rank=0)
