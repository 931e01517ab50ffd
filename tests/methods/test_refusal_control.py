"""Steering whose sign a probe decides."""

import numpy as np
import pytest
from by_hand import By, require_same
from sklearn.linear_model import LogisticRegression

from calib.config.method import Steer
from calib.methods.refusal_control import method

PROBED, LAYER = 4, 3


@pytest.fixture(scope="module")
def probability(world):
    """p(unsafe) of a probe on activations at a mean square of 1."""
    sides = [world.plain.last(world.twins(safety), PROBED) for safety in ("unsafe", "safe")]
    both = np.concatenate(sides)
    scale = np.sqrt((both**2).mean())
    labels = [True] * len(sides[0]) + [False] * len(sides[1])
    probe = LogisticRegression(max_iter=1000).fit(both / scale, labels)
    return lambda e: probe.predict_proba(world.plain.last([e], PROBED) / scale)[0, 1]


@pytest.mark.parametrize("picture", [True, False])
@pytest.mark.parametrize("side", [np.argmax, np.argmin])
def test_towards_refusing_on_one_side_and_away_on_the_other(world, probability, picture, side):
    config = Steer(
        "refusal_control", contrast="refusal", gate="probe", gate_layers=PROBED, threshold=0.5,
        otherwise="opposite",
    )  # fmt: skip
    tested = [*world.twins("unsafe", "test"), *world.twins("safe", "test")]
    some = [example for example in tested if (example.picture is not None) == picture]
    shown = some[side([probability(example) for example in some])]
    sign = 1 if probability(shown) >= 0.5 else -1
    assert sign == (1 if side is np.argmax else -1), "one of each side is asked"
    change = By(LAYER, "last_prompt", lambda h: h + sign * 4 * world.refusal(LAYER))
    require_same(world, method(world.fitting, config).setting(LAYER, 4.0), shown, [change])
