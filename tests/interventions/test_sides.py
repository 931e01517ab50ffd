"""Two thresholds on a score, each as precise as asked for."""

import math

import numpy as np
import pytest
import torch

from calib.interventions.sides import TwoThresholds, two_thresholds


def of(scores, unsafe, middle, precision):
    return two_thresholds(torch.tensor(scores), torch.tensor(unsafe), middle, precision)


def test_separated_classes_leave_nothing_undecided():
    assert of([0.1, 0.2, 0.8, 0.9], [False, False, True, True], 0.5, 1.0) == TwoThresholds(0.5, 0.5)


def test_queries_between_the_thresholds_are_undecided():
    scores = [0.1, 0.2, 0.45, 0.55, 0.8, 0.9]
    thresholds = of(scores, [False, False, True, False, True, True], 0.5, 1.0)
    assert thresholds.sides(torch.tensor(scores)) == [
        "safe", "safe", "undecided", "undecided", "unsafe", "unsafe",
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("precision", [0.6, 0.9])
def test_no_threshold_nearer_to_the_middle_is_as_precise(seed, precision):
    draw = np.random.default_rng(seed)
    unsafe = draw.random(30) < 0.5
    scores = np.round(np.where(unsafe, 0.6, 0.4) + 0.2 * draw.standard_normal(30), 2)
    found = of(scores, unsafe, 0.5, precision)
    above, below = unsafe[scores >= found.upper], unsafe[scores < found.lower]
    assert above.mean() >= precision and (~below).mean() >= precision
    for score in scores[(scores >= 0.5) & (scores < found.upper)]:
        assert unsafe[scores >= score].mean() < precision
    for score in scores[(scores >= found.lower) & (scores < 0.5)]:
        assert (~unsafe[scores <= score]).mean() < precision


def test_a_score_that_tells_nothing_decides_nothing():
    scores = [0.3, 0.3, 0.7, 0.7]
    thresholds = of(scores, [True, False, True, False], 0.5, 0.9)
    assert thresholds == TwoThresholds(-math.inf, math.inf)
    sides = thresholds.sides(torch.tensor(scores))
    assert sides == ["undecided"] * 4
    assert "4 of 4" in thresholds.note(sides, 0.9)
