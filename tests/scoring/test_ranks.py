"""Ranks and their bootstrap intervals: by hand, ties, and coverage in simulated comparisons."""

import numpy as np
import pytest
from raising import raises

from calib.scoring.ranks import Rank, rank_by_change


def test_clear_differences_have_narrow_intervals():
    changes = {"a": [1] * 30 + [0] * 10, "c": [-1] * 30 + [0] * 10, "b": [0] * 40}
    ranks = rank_by_change(changes, range(40))
    assert ranks == {"a": Rank(1, 1, 1), "c": Rank(3, 3, 3), "b": Rank(2, 2, 2)}


def test_equal_methods_share_their_places():
    changes = {"a": [1, 0] * 20, "b": [1, 0] * 20, "c": [-1] * 40}
    ranks = rank_by_change(changes, range(40))
    assert ranks == {"a": Rank(1, 1, 2), "b": Rank(1, 1, 2), "c": Rank(3, 3, 3)}


def test_resamples_by_hand():
    """a is better on one of eight clusters and b on another.

    Resamples that lack either of them are (7/8)^8 = 34% each, so every rank is within 95%.
    """
    ranks = rank_by_change({"a": [3, 0] + [0] * 6, "b": [0, 2] + [0] * 6}, range(8))
    assert ranks == {"a": Rank(1, 1, 2), "b": Rank(2, 1, 2)}


def test_groups_weigh_the_same_and_clusters_are_resampled_whole():
    changes = {"few": [1.0] * 10 + [0.0] * 30, "many": [0.0] * 10 + [0.5] * 30}
    groups = ["unsafe"] * 10 + ["safe"] * 30
    assert rank_by_change(changes, range(40), groups)["few"].value == 1
    assert rank_by_change(changes, range(40))["few"].value == 2
    rng = np.random.default_rng(0)
    noise = rng.choice([0, 1], size=(2, 40)).astype(float)
    noise[0, :12] = 1
    apart = rank_by_change({"a": noise[0], "b": noise[1]}, range(40))
    together = rank_by_change({"a": noise[0], "b": noise[1]}, [0] * 39 + [1])
    assert apart["a"].high <= together["a"].high == 2


def test_coverage_of_the_true_rank():
    """Three methods with gains of 20, 10 and 0 points; the true rank of the second is 2."""
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(200):
        common = rng.random(80)
        changes = {
            name: (np.where(rng.random(80) < 0.5, common, rng.random(80)) < share).astype(float)
            for name, share in (("a", 0.3), ("b", 0.2), ("c", 0.1))
        }
        low, high = rank_by_change(changes, range(80), resamples=500)["b"][1:]
        covered += low <= 2 <= high
    assert covered >= 185


@pytest.mark.parametrize("clusters", ["xx", "xy", range(7)])
def test_few_clusters_leave_every_rank_possible(clusters):
    """Resamples of clusters that agree are all alike, however few the clusters are."""
    n = len(clusters)
    assert rank_by_change({"a": [1] * n, "b": [0] * n}, clusters) == {
        "a": Rank(1, 1, 2), "b": Rank(2, 1, 2),
    }  # fmt: skip
    assert rank_by_change({}, clusters) == {}


@pytest.mark.parametrize("changes", [{"a": [1, 0, 1]}, {"a": [1, 0], "b": [1]}])
def test_different_lengths_are_an_error(changes):
    with raises("mismatch"):
        rank_by_change(changes, "xy")
