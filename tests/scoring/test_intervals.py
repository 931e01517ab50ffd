"""Intervals against published tables and against counts small enough to do by hand."""

import math

import numpy as np
import pytest
from raising import raises

from calib.scoring.intervals import (
    Dependence,
    Interval,
    bootstrap_mean,
    clustered_rate,
    dependence,
    difference_of_rates,
    mean_of_rates,
    paired_difference,
    wilson,
)


# Newcombe (1998), Statistics in Medicine 17:857-872, table I, method 3.
@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 0.8830, 1.0000),
    ],
)
def test_wilson_gives_the_published_values(successes, n, low, high) -> None:
    interval = wilson(successes, n)
    assert interval.value == successes / n
    assert round(interval.low, 4) == low
    assert round(interval.high, 4) == high
    assert interval.n == n


def test_wilson_by_hand_at_half_of_four() -> None:
    # z^2 = 3.8415: (0.5 + 3.8415/8 +- 1.96 sqrt(0.25/4 + 3.8415/64)) / (1 + 3.8415/4)
    assert wilson(2, 4) == pytest.approx((0.5, 0.1500, 0.8500, 4, 4), abs=5e-5)


def test_wilson_is_exact_at_both_ends() -> None:
    assert wilson(0, 7).low == 0.0
    assert wilson(7, 7).high == 1.0


def test_a_lower_level_gives_the_narrower_interval() -> None:
    assert wilson(5, 10, level=0.5) == pytest.approx((0.5, 0.3957, 0.6043, 10, 10), abs=5e-5)


def test_no_observations_have_no_interval() -> None:
    assert all(math.isnan(bound) for bound in wilson(0, 0)[:3])
    assert wilson(0, 0).n == 0
    assert all(math.isnan(bound) for bound in bootstrap_mean([])[:3])
    assert math.isnan(mean_of_rates(wilson(1, 2), wilson(0, 0)).low)
    assert math.isnan(difference_of_rates(wilson(0, 0), wilson(1, 2)).high)


# Newcombe (1998), Statistics in Medicine 17:873-890, table II, method 10.
@pytest.mark.parametrize(
    ("a", "b", "value", "low", "high"),
    [
        ((56, 70), (48, 80), 0.2000, 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.6000, 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.5714, 0.0582, 0.8062),
        ((5, 56), (0, 29), 0.0893, -0.0381, 0.1926),
        ((0, 10), (0, 20), 0.0000, -0.1611, 0.2775),
        ((10, 10), (0, 20), 1.0000, 0.6791, 1.0000),
    ],
)
def test_difference_gives_the_published_values(a, b, value, low, high) -> None:
    difference = difference_of_rates(wilson(*a), wilson(*b))
    n = a[1] + b[1]
    assert difference == pytest.approx((value, low, high, n, n), abs=5e-5)


def test_mean_adds_half_distances_in_quadrature() -> None:
    # Distances 0.3 and 0.4 below, 0.04 and 0.03 above: half of 0.5 and half of 0.05.
    a, b = Interval(0.9, 0.6, 0.94, 10), Interval(0.5, 0.1, 0.53, 30)
    assert mean_of_rates(a, b)[:4] == pytest.approx((0.7, 0.45, 0.725, 40))


def test_difference_subtracts_the_other_side_of_the_second_interval() -> None:
    a, b = Interval(0.9, 0.6, 0.94, 10), Interval(0.5, 0.47, 0.9, 30)
    assert difference_of_rates(a, b)[:4] == pytest.approx((0.4, -0.1, 0.45, 40))


@pytest.mark.parametrize("correlation", [-1.0, -0.5, 0.5, 1.0])
def test_dependent_rates_add_with_their_correlation(correlation) -> None:
    a, b = Interval(0.5, 0.4, 0.6, 10, 5), Interval(0.5, 0.3, 0.7, 10, 5)
    shared = Dependence(correlation, 6)
    reach = math.sqrt(0.05**2 + 0.1**2 + 2 * correlation * 0.05 * 0.1)
    assert mean_of_rates(a, b, shared) == pytest.approx((0.5, 0.5 - reach, 0.5 + reach, 20, 6))
    reach = math.sqrt(0.1**2 + 0.2**2 - 2 * correlation * 0.1 * 0.2)
    assert difference_of_rates(a, b, shared) == pytest.approx((0, -reach, reach, 20, 6))


def test_rates_of_the_same_clusters_are_correlated() -> None:
    names = ["a", "a", "b", "b", "c", "c"]
    assert dependence([1, 1, 0, 0, 1, 0], names, [1, 1, 0, 0, 1, 0], names) == (
        pytest.approx(1.0), 3, True,
    )  # fmt: skip
    assert dependence([1, 1, 0, 0, 1, 0], names, [0, 0, 1, 1, 0, 1], names)[0] == pytest.approx(-1)
    assert dependence([1, 0], ["a", "b"], [1, 0], ["c", "d"])[:2] == (0.0, 4)


def test_a_correlation_that_cannot_be_estimated_is_the_largest_possible() -> None:
    # One side does not vary, or has one cluster; (1, 0, 0) rounds to a deviation of 1e-17.
    assert dependence([1, 1], ["a", "b"], [1, 0], ["a", "b"]) == (1.0, 2, False)
    assert dependence([1, 0, 0], ["a"] * 3, [1, 0], ["a", "a"]) == (1.0, 1, False)
    assert dependence([1, 0, 0], ["a"] * 3, [1, 0], ["a", "b"]) == (
        pytest.approx(math.sqrt(1 / 2)), 2, False,
    )  # fmt: skip
    assert dependence([1, 1], ["a", "b"], [1, 0], ["b", "c"]) == (1 / 2, 3, False)
    assert dependence([1, 1], ["a", "b"], [1, 0], ["c", "d"]) == (0.0, 4, True)
    a, b = Interval(0.5, 0.4, 0.6, 10, 5), Interval(0.5, 0.3, 0.7, 10, 5)
    unknown = Dependence(1.0, 5, known=False)
    assert mean_of_rates(a, b, unknown)[1:3] == pytest.approx((0.35, 0.65))
    assert difference_of_rates(a, b, unknown)[1:3] == pytest.approx((-0.3, 0.3))


@pytest.mark.parametrize("rate", [0.75, 0.8])
def test_the_mean_of_two_sides_that_depend_on_each_other_is_covered(rate) -> None:
    """Ten concepts that a model handles on both sides or on neither.

    In 6 and 11% of the draws it handles all of them; taken as independent, two such sides have an
    interval that excludes the true rate.
    """
    names = [str(k) for k in range(10)]
    covered, independent = 0.0, 0.0
    for right in range(11):
        hits = [k < right for k in range(10)]
        side = clustered_rate(hits, names)
        share = math.comb(10, right) * rate**right * (1 - rate) ** (10 - right)
        interval = mean_of_rates(side, side, dependence(hits, names, hits, names))
        covered += share * (interval.low <= rate <= interval.high)
        if right == 10:
            interval = mean_of_rates(side, side)
        independent += share * (interval.low <= rate <= interval.high)
    assert independent < 0.93 and covered > 0.96


@pytest.mark.parametrize(("rates", "count"), [((0.97, 0.6), 8), ((0.97, 0.97), 10)])
def test_the_mean_of_two_clustered_sides_has_about_its_nominal_coverage(rates, count) -> None:
    """Both sides of a concept share its difficulty; the first side often does not vary."""
    rng = np.random.default_rng(count)
    names = np.repeat(np.arange(count), 6).tolist()
    covered = 0
    for _ in range(200):
        difficulty = rng.random(count).repeat(6)
        sides = [
            (np.where(rng.random(6 * count) < 0.95, difficulty, rng.random(6 * count)) < rate)
            for rate in rates
        ]
        unsafe, safe = (side.tolist() for side in sides)
        shared = dependence(unsafe, names, safe, names)
        interval = mean_of_rates(*(clustered_rate(s, names) for s in (unsafe, safe)), shared)
        covered += interval.low <= sum(rates) / 2 <= interval.high
    assert covered >= 0.9 * 200


def test_few_clusters_have_an_interval_of_students_t() -> None:
    # Values 0 and 1: SE = 0.5, and t with 1 degree of freedom is 12.706205.
    assert bootstrap_mean([0, 1]) == pytest.approx((0.5, -5.853102, 6.853102, 2, 2), abs=1e-5)
    # The same two clusters of 50 equal values each.
    values, clusters = [0] * 50 + [1] * 50, ["a"] * 50 + ["b"] * 50
    assert bootstrap_mean(values, clusters)[:4] == pytest.approx(
        (0.5, -5.853102, 6.853102, 100), abs=1e-5
    )
    alone = bootstrap_mean(values)
    assert 0.38 < alone.low < 0.42
    assert 0.58 < alone.high < 0.62


def test_bounds_of_a_difference_of_rates_are_at_most_one() -> None:
    assert paired_difference([1, 1, 0], [0, 0, 0])[1:3] == (pytest.approx(-0.767551), 1.0)
    assert paired_difference([3, 1], [0, 0]).high > 1


def test_a_clustered_rate_has_wilsons_interval_for_the_effective_number() -> None:
    # Four clusters of 5, with 5, 5, 0 and 0 hits: SE^2 = 4/3 * 4 * (2.5 / 20)^2 = 1/12, so that
    # 20 responses count as 0.25 * 12 = 3, times (2.093024 / 3.182446)^2 for t.
    hits = [True] * 10 + [False] * 10
    clusters = [k // 5 for k in range(20)]
    effective = 3 * (2.093024 / 3.182446) ** 2
    z = 1.959964
    reach = z * math.sqrt(0.25 / effective + z**2 / (4 * effective**2)) / (1 + z**2 / effective)
    assert clustered_rate(hits, clusters) == pytest.approx(
        (0.5, 0.5 - reach, 0.5 + reach, 20, 4), abs=1e-5
    )
    assert clustered_rate(hits, list(range(20))) == wilson(10, 20)
    assert clustered_rate([True] * 20, clusters)[:3] == wilson(4, 4)[:3]
    assert clustered_rate([], []).n == 0
    # Clusters that vary less than chance do not make the interval narrower than Wilson's.
    even = clustered_rate([True, False] * 10, [k // 2 for k in range(20)])
    assert even.low < wilson(10, 20).low


@pytest.mark.parametrize(("count", "rate"), [(4, 0.5), (5, 0.8), (6, 0.95), (12, 0.8), (30, 0.6)])
def test_a_rate_of_few_clusters_has_about_its_nominal_coverage(count, rate) -> None:
    # Beta-binomial responses, correlated by 0.3 within clusters of 12.
    rng = np.random.default_rng(count)
    shape = (1 - 0.3) / 0.3
    clusters = np.repeat(np.arange(count), 12).tolist()
    covered = 0
    for _ in range(250):
        own = np.repeat(rng.beta(rate * shape, (1 - rate) * shape, count), 12)
        interval = clustered_rate((rng.random(12 * count) < own).tolist(), clusters)
        covered += interval.low <= rate <= interval.high
    assert covered >= 0.9 * 250


@pytest.mark.parametrize("count", [3, 6, 9, 20])
def test_a_difference_of_few_clusters_has_about_its_nominal_coverage(count) -> None:
    rng = np.random.default_rng(count)
    clusters = np.repeat(np.arange(count), 6)
    covered = 0
    for _ in range(250):
        change = rng.normal(0.1, 1, count)[clusters] + rng.normal(0, 1, 6 * count)
        interval = bootstrap_mean(change, clusters.tolist())
        covered += interval.low <= 0.1 <= interval.high
    assert covered >= 0.9 * 250


def test_groups_of_different_sizes_have_equal_weight() -> None:
    values, groups = [1, 1, 1, 1, 1, 1, 0, 0], ["safe"] * 6 + ["unsafe"] * 2
    assert bootstrap_mean(values, groups=groups)[:3] == (0.5, 0.5, 0.5)


def test_one_cluster_has_a_mean_and_no_bounds() -> None:
    interval = bootstrap_mean([1, 0, 1, 1], clusters=["only"] * 4)
    assert interval.value == 0.75
    assert math.isnan(interval.low) and math.isnan(interval.high)


def test_a_paired_difference_has_a_narrower_interval_than_an_unpaired_one() -> None:
    before = [1, 0] * 50
    after = [1, 1] * 5 + [1, 0] * 45  # five examples gained, none lost
    interval = paired_difference(after, before)
    assert interval.value == pytest.approx(0.05)
    assert (interval.low, interval.high) == pytest.approx((0.01, 0.10), abs=0.0101)
    unpaired = difference_of_rates(wilson(55, 100), wilson(50, 100))
    assert interval.high - interval.low < 0.5 * (unpaired.high - unpaired.low)


def test_no_change_anywhere_is_exactly_zero() -> None:
    assert paired_difference([1, 0, 1], [1, 0, 1]) == (0.0, 0.0, 0.0, 3, 3)


def test_the_order_of_the_rows_does_not_matter() -> None:
    rng = np.random.default_rng(7)
    values, clusters = rng.integers(0, 2, 200), [f"pair {k}" for k in rng.integers(0, 60, 200)]
    order = rng.permutation(200)
    shuffled = bootstrap_mean(values[order], [clusters[k] for k in order])
    assert shuffled == bootstrap_mean(values, clusters)


def test_the_seed_determines_the_interval() -> None:
    values = np.linspace(0, 1, 40) ** 2
    assert bootstrap_mean(values, seed=3) == bootstrap_mean(values, seed=3)
    assert bootstrap_mean(values, seed=3) != bootstrap_mean(values, seed=4)


def test_the_bootstrap_has_about_its_nominal_coverage() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        low, high = bootstrap_mean(rng.random(60) < 0.4, resamples=300)[1:3]
        covered += low <= 0.4 <= high
    assert 180 <= covered <= 199


@pytest.mark.parametrize(
    ("call", "code", "values"),
    [
        (lambda: wilson(3, 2), "invalid-value", ["3 of 2"]),
        (lambda: wilson(-1, 2), "invalid-value", ["-1 of 2"]),
        (lambda: wilson(1, 2, level=95), "invalid-value", [95]),
        (lambda: bootstrap_mean([0.1, math.nan]), "not-finite", ["1 of 2"]),
        (lambda: bootstrap_mean([1, 2], clusters=["a"]), "mismatch", [1, 2]),
        (lambda: paired_difference([1, 2], [1]), "mismatch", [1, 2]),
        (lambda: clustered_rate([True], []), "mismatch", [0, 1]),
    ],
)
def test_bad_input_is_refused(call, code, values) -> None:
    with raises(code, *values):
        call()
