"""Ranks and their intervals: by hand, ties, and coverage in simulated comparisons."""

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


def test_intervals_by_hand():
    """a and b differ by 0.5 on average, with values 1 and 0 in turn.

    The standard error of the difference over 12 clusters is sqrt(1 / 4 / 11) = 0.1508, so that t is
    3.317. Its quantile with 11 degrees of freedom is 2.201 for two methods and, at 5% / 4, 2.970
    for five; with 7 equal methods more it is 3.4 at 5% / 8.
    """
    changes = {"a": [1, 0] * 6, "b": [0] * 12}
    assert rank_by_change(changes, range(12)) == {"a": Rank(1, 1, 1), "b": Rank(2, 2, 2)}
    five = changes | {name: [0] * 12 for name in "cde"}
    assert rank_by_change(five, range(12))["a"] == Rank(1, 1, 1)
    nine = five | {name: [0] * 12 for name in "fghi"}
    assert rank_by_change(nine, range(12))["a"] == Rank(1, 1, 9)


def test_few_clusters_that_agree_leave_ranks_open():
    """A gain on 3 of 12 clusters, which almost every resample of the clusters has."""
    changes = {"a": [1] * 3 + [0] * 9, "b": [0] * 12, "c": [-1] * 3 + [0] * 9}
    ranks = rank_by_change(changes, range(12))
    assert [rank.value for rank in ranks.values()] == [1, 2, 3]
    assert ranks["a"].high > 1 and ranks["b"] == Rank(2, 1, 3)


def test_groups_weigh_the_same_and_a_cluster_counts_once():
    changes = {"few": [1.0] * 10 + [0.0] * 30, "many": [0.0] * 10 + [0.5] * 30}
    groups = ["unsafe"] * 10 + ["safe"] * 30
    assert rank_by_change(changes, range(40), groups)["few"].value == 1
    assert rank_by_change(changes, range(40))["few"].value == 2
    apart = {"a": [1, 1, 1, 0, 0, 0, 0, 0, 0, 0] * 8, "b": [0] * 80}
    assert rank_by_change(apart, range(80))["a"].high == 1
    assert rank_by_change(apart, list(range(10)) * 8)["a"].high == 2


@pytest.mark.parametrize("equal", [False, True])
@pytest.mark.parametrize("count", [12, 80])
def test_coverage_of_the_true_rank(count, equal):
    """Gains of 20, 10 and 0 points, or of 10 each; the true rank of the second is 2, or any."""
    rng = np.random.default_rng(3)
    covered = 0
    shares = (("a", 0.2), ("b", 0.2), ("c", 0.2)) if equal else (("a", 0.3), ("b", 0.2), ("c", 0.1))
    for _ in range(200):
        common = rng.random(count)
        changes = {
            name: (np.where(rng.random(count) < 0.5, common, rng.random(count)) < share) * 1.0
            for name, share in shares
        }
        _, low, high = rank_by_change(changes, range(count))["b"]
        covered += (low, high) == (1, 3) if equal else low <= 2 <= high
    assert covered >= 187


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
