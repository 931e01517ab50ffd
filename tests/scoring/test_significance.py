"""The sign-flipping test against scipy and by hand, its error rate, and Holm's adjustment."""

import itertools
import math

import numpy as np
import pytest
from raising import raises
from scipy.stats import binomtest, permutation_test

from calib.scoring.intervals import paired_difference
from calib.scoring.significance import contributions, holm, paired_p_value


def test_by_hand():
    # Of the signs of 1, 2, 3 only +++ and --- reach 6.
    assert paired_p_value([1, 2, 3], [0, 0, 0]) == 0.25
    assert paired_p_value([0, 0, 0], [1, 2, 3]) == 0.25
    # 1 + 2 - 3 = 0: every pattern reaches it.
    assert paired_p_value([1, 2, 0], [0, 0, 3]) == 1
    assert paired_p_value([1, 1, 1, 1, 1], [0, 0, 0, 0, 0]) == 2 / 2**5


def test_binary_differences_are_mcnemars_exact_test():
    after = [True] * 9 + [False] * 2 + [True] * 30
    before = [False] * 9 + [True] * 2 + [True] * 30
    assert paired_p_value(after, before) == pytest.approx(binomtest(9, 11).pvalue)


def test_clusters_flip_together_as_in_scipys_permutation_test():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=16), rng.normal(size=16)
    clusters = [k // 2 for k in range(16)]
    sums = (a - b).reshape(8, 2).sum(axis=1)
    expected = permutation_test(
        (sums, np.zeros(8)),
        lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
    ).pvalue
    assert paired_p_value(a, b, clusters) == pytest.approx(expected)
    assert paired_p_value(a, b, clusters) != pytest.approx(paired_p_value(a, b))


def test_the_statistic_is_that_of_the_paired_difference_with_groups():
    rng = np.random.default_rng(1)
    a, b = rng.integers(2, size=30), rng.integers(2, size=30)
    clusters = [f"c{k % 9}" for k in range(30)]
    groups = ["safe" if k % 3 else "unsafe" for k in range(30)]
    parts = contributions(a, b, clusters, groups)
    assert len(parts) == 9
    assert parts.sum() == pytest.approx(paired_difference(a, b, clusters, groups).value)
    flips = np.array(list(itertools.product((1, -1), repeat=9))) @ parts
    expected = (abs(flips) >= abs(parts.sum()) - 1e-12).mean()
    assert paired_p_value(a, b, clusters, groups) == pytest.approx(expected)


def test_groups_of_different_sizes_have_equal_weight():
    a, b = [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]
    parts = contributions(a, b, "vwxyz", ["safe", "safe", "safe", "safe", "unsafe"])
    assert parts.tolist() == pytest.approx([1 / 8] * 4 + [1 / 2])


def test_random_draws_approximate_the_exact_value_and_are_seeded():
    # 13 clusters with a difference are one too many for the exact test.
    a = [1] * 11 + [0] * 2 + [1] * 20
    b = [0] * 11 + [1] * 2 + [1] * 20
    drawn = paired_p_value(a, b)
    exact = binomtest(11, 13).pvalue
    assert drawn == pytest.approx(exact, abs=0.004) and drawn != exact
    assert paired_p_value(a, b) == drawn
    assert paired_p_value(a, b, seed=1) != drawn
    shuffled = np.random.default_rng(0).permutation(33)
    clusters = np.arange(33)[shuffled].tolist()
    assert paired_p_value(np.array(a)[shuffled], np.array(b)[shuffled], clusters) == drawn


def test_a_drawn_p_value_is_never_zero():
    assert paired_p_value([1] * 60, [0] * 60) == 1 / 10_001
    assert paired_p_value([1] * 60, [0] * 60, draws=99) == 1 / 100


def test_clusters_without_a_difference_do_not_count_towards_the_exact_limit():
    a, b = [1] * 5 + [0.1 + 0.2] * 100, [0] * 5 + [0.3] * 100
    assert paired_p_value(a, b) == 2 / 2**5


def test_no_difference_and_no_values():
    assert paired_p_value([1, 0], [1, 0]) == 1
    assert paired_p_value([1, 0], [0, 1], ["one", "one"]) == 1
    assert math.isnan(paired_p_value([], []))


def test_bad_input_is_refused():
    with raises("mismatch", "2 and 1 values"):
        paired_p_value([1, 2], [1])
    with raises("mismatch", "1 clusters"):
        paired_p_value([1, 2], [1, 2], ["a"])
    with raises("mismatch", "3 groups"):
        paired_p_value([1, 2], [1, 2], None, ["a", "b", "c"])
    with raises("not-finite", "1 of 2"):
        paired_p_value([1, math.nan], [1, 2])


@pytest.mark.parametrize("pairs", [11, 40])
def test_the_false_positive_rate_is_five_percent(pairs):
    """Each pair has a safe and an unsafe query with correlated changes."""
    rng = np.random.default_rng(5)
    clusters = [k // 2 for k in range(2 * pairs)]
    groups = ["safe", "unsafe"] * pairs
    false_positives = 0
    runs = 500
    for _ in range(runs):
        correlated = np.repeat(rng.normal(size=pairs), 2) + rng.normal(size=2 * pairs)
        p = paired_p_value(correlated, np.zeros(2 * pairs), clusters, groups, draws=400)
        false_positives += p <= 0.05
    # Four standard errors of a share of 0.05 among 500 are 0.039.
    assert 0.015 < false_positives / runs < 0.09


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1, 1]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []
    # The third would be 0.02, less than the one before it.
    assert holm([0.001, 0.011, 0.02]) == pytest.approx([0.003, 0.022, 0.022])


def test_nan_is_not_counted_as_a_test():
    first, second, third = holm([math.nan, 0.01, 0.04])
    assert math.isnan(first)
    assert (second, third) == (0.02, 0.04)


def test_holm_refuses_values_outside_zero_and_one():
    with raises("invalid-value", 1.5):
        holm([0.1, 1.5])
