"""The gain of the best of k settings by chance: by hand, and its error rate in simulated sweeps."""

import itertools

import numpy as np
import pytest
from raising import raises

from calib.scoring.best_of_k import gain_by_chance


def test_by_hand():
    # One setting, three changed clusters of ten: the sums of signs are 3, 1, -1, -3.
    after = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0])
    assert gain_by_chance([after], np.zeros(10)) == pytest.approx(0.3)
    assert gain_by_chance([after], np.zeros(10), level=0.8) == pytest.approx(0.1)
    assert gain_by_chance([np.zeros(10)], np.zeros(10)) == 0


def test_all_settings_share_the_signs_of_a_cluster():
    rng = np.random.default_rng(0)
    after = rng.integers(2, size=(4, 8)).astype(float)
    before = rng.integers(2, size=8).astype(float)
    patterns = np.array(list(itertools.product((1, -1), repeat=8)))
    best = ((after - before) @ patterns.T / 8).max(axis=0)
    drawn = gain_by_chance(list(after), before, draws=40_000)
    assert drawn == pytest.approx(np.quantile(best, 0.95), abs=1 / 8 + 1e-9)
    # Copies of a setting are one setting.
    one = gain_by_chance([after[0]], before)
    assert gain_by_chance([after[0]] * 5, before) == one


def test_opposite_settings_gain_whatever_the_signs():
    before = np.zeros(16)
    up = np.array([1.0, -1.0] * 8)
    both = gain_by_chance([up, -up], before)
    assert both > gain_by_chance([up], before)
    signs = np.random.default_rng(1).choice([-1, 1], size=(16, 100_000))
    assert both == pytest.approx(np.quantile(np.abs(up @ signs) / 16, 0.95), abs=2 / 16)


@pytest.mark.parametrize("settings", [1, 8])
def test_error_rate_in_sweeps_without_effect(settings):
    """The best of k settings without an effect exceeds the quantile in 5% of simulated sweeps.

    Both queries of a pair change together, and neighbouring settings change mostly the same pairs.
    """
    rng = np.random.default_rng(settings)
    exceeded, sweeps = 0, 400
    pairs = np.repeat(np.arange(60), 2)
    for _ in range(sweeps):
        shared = rng.choice([-1, 0, 1], p=[0.15, 0.7, 0.15], size=60)
        own = rng.choice([-1, 0, 1], p=[0.1, 0.8, 0.1], size=(settings, 60))
        change = np.where(rng.random((settings, 60)) < 0.5, shared, own)[:, pairs].astype(float)
        limit = gain_by_chance(list(change), np.zeros(120), pairs.tolist(), draws=1000)
        exceeded += change.mean(axis=1).max() > limit
    # 95% of the binomial distribution around 5% of 400 is 12 to 29.
    assert 8 <= exceeded <= 32


def test_no_settings_are_an_error():
    with raises("too-few", "setting"):
        gain_by_chance([], [0, 1])
    with raises("mismatch", "2", "3"):
        gain_by_chance([[1, 0]], [0, 1, 1])
