"""Refusal control: a probe decides the sign of the steering, and its strength."""

import numpy as np
import pytest
from by_hand import FormulaEdit, require_same
from sklearn.linear_model import LogisticRegression

from calib.config.steering import Steer
from calib.methods.refusal_control import method

PROBE_LAYER, LAYER = 4, 3


@pytest.fixture(scope="module")
def probability(world):
    """p(unsafe) of a probe on activations at a mean square of 1."""
    sides = [world.plain.last(world.twins(safety), PROBE_LAYER) for safety in ("unsafe", "safe")]
    both = np.concatenate(sides)
    scale = np.sqrt((both**2).mean())
    labels = [True] * len(sides[0]) + [False] * len(sides[1])
    probe = LogisticRegression(max_iter=1000).fit(both / scale, labels)
    return lambda e: probe.predict_proba(world.plain.last([e], PROBE_LAYER) / scale)[0, 1]


@pytest.mark.parametrize("picture", [True, False])
@pytest.mark.parametrize("side", [np.argmax, np.argmin])
def test_unsafe_queries_move_towards_refusal_and_safe_ones_away(world, probability, picture, side):
    config = Steer(
        "refusal_control", contrast="refusal", gate="probe", gate_layers=PROBE_LAYER, threshold=0.5,
        otherwise="opposite", positions="response", opposite_ratio=1.5,
    )  # fmt: skip
    tested = [*world.twins("unsafe", "test"), *world.twins("safe", "test")]
    candidates = [example for example in tested if (example.picture is not None) == picture]
    example = candidates[side([probability(example) for example in candidates])]
    assert (probability(example) >= 0.5) == (side is np.argmax)
    factor = 2.0 if side is np.argmax else -3.0
    change = FormulaEdit(LAYER, "response", lambda h: h + factor * world.refusal(LAYER))
    require_same(world, method(world.fitting, config).setting(LAYER, 2.0), example, [change])
