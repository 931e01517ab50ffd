"""Intervals and tests of any data: they contain the estimate, and keep known relations."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from property_profiles import share

from calib.directions.separation import auroc_interval, clustered_auroc
from calib.scoring.agreement import fleiss_kappa
from calib.scoring.cluster_variance import correlation, deviations, standard_error
from calib.scoring.conditions import paired_difference_of_rates
from calib.scoring.intervals import (
    bootstrap_mean,
    clustered_rate,
    dependence,
    difference_of_rates,
    mean_of_rates,
    paired_difference,
    wilson,
)
from calib.scoring.power import clusters_needed, detectable_difference
from calib.scoring.ranks import rank_by_change
from calib.scoring.significance import changed_clusters, holm, paired_p_value

SLACK = 1e-9
values = st.floats(-1e6, 1e6) | st.sampled_from([0.0, 1.0, -1.0])
observations = st.lists(
    st.tuples(st.booleans(), st.booleans(), st.integers(0, 12)), min_size=1, max_size=40
)


def contains(interval, low=-math.inf, high=math.inf, slack=SLACK):
    if math.isnan(interval.low) or math.isnan(interval.high):
        return math.isnan(interval.low) and math.isnan(interval.high)
    inside = interval.low - slack <= interval.value <= interval.high + slack
    return inside and low - slack <= interval.low and interval.high <= high + slack


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.floats(0.01, 0.999))
@share(5)
def test_wilsons_interval_contains_the_rate(a, b, level):
    successes, n = sorted((a, b))
    interval = wilson(successes, n, level)
    assert contains(interval, 0, 1)
    if n:
        assert wilson(n - successes, n, level).low <= 1 - interval.value + SLACK


@given(observations)
@share(3)
def test_intervals_of_clustered_rates_contain_them(rows):
    hits, others, clusters = (list(column) for column in zip(*rows, strict=True))
    rate, other = clustered_rate(hits, clusters), clustered_rate(others, clusters)
    assert contains(rate, 0, 1) and contains(other, 0, 1)
    shared = dependence(hits, clusters, others, clusters)
    assert contains(mean_of_rates(rate, other, shared), 0, 1)
    assert contains(difference_of_rates(rate, other, shared), -1, 1)
    assert contains(paired_difference(hits, others, clusters), -1, 1)
    assert contains(paired_difference_of_rates(hits, others, clusters), -1, 1, slack=1e-6)
    singles = list(range(len(hits)))
    assert clustered_rate(hits, singles) == wilson(sum(hits), len(hits))


numbered = st.lists(st.tuples(values, values, st.integers(0, 9)), min_size=1, max_size=30)


@given(numbered, st.randoms(use_true_random=False))
@share(2)
def test_intervals_of_means_contain_them_whatever_the_order(rows, random):
    def measured():
        a, b, clusters = zip(*rows, strict=True)
        return bootstrap_mean(a, clusters), paired_difference(a, b, clusters)

    largest = max(abs(value) for row in rows for value in row[:2]) + 1
    first = measured()
    assert all(contains(interval, slack=1e-9 * largest) for interval in first)
    random.shuffle(rows)
    for one, other in zip(first, measured(), strict=True):
        assert np.allclose(one[:3], other[:3], atol=1e-6 * largest, equal_nan=True)


@given(numbered)
@share(2)
def test_the_clustered_variance_is_never_negative_and_with_single_clusters_the_simple_one(rows):
    a, b, clusters = zip(*rows, strict=True)
    error = standard_error(deviations(a, clusters))
    assert error >= 0 or (math.isnan(error) and len(set(clusters)) < 2)
    simple = standard_error(deviations(a, range(len(a))))
    if len(a) > 1:
        expected = np.std(a, ddof=1) / math.sqrt(len(a))
        assert math.isclose(simple, expected, rel_tol=1e-6, abs_tol=1e-6)
    rho = correlation(deviations(a, clusters), deviations(b, clusters))
    assert -1 <= rho <= 1


@given(st.lists(st.floats(0, 1) | st.just(math.nan), max_size=12))
@share(5)
def test_adjusted_p_values_keep_their_order_and_are_no_smaller(p_values):
    adjusted = holm(p_values)
    pairs = [(p, q) for p, q in zip(p_values, adjusted, strict=True) if not math.isnan(p)]
    assert all(p <= q <= 1 for p, q in pairs)
    assert [q for _, q in sorted(pairs)] == sorted(q for _, q in pairs)
    assert all(math.isnan(q) for p, q in zip(p_values, adjusted, strict=True) if math.isnan(p))


@given(numbered)
def test_p_values_are_symmetric_and_one_without_a_change(rows):
    a, b, clusters = zip(*rows, strict=True)
    p = paired_p_value(a, b, clusters, draws=200)
    assert 0 < p <= 1
    if changed_clusters(a, b, clusters) <= 12:
        assert math.isclose(paired_p_value(b, a, clusters, draws=200), p)
    assert paired_p_value(a, a, clusters) == 1


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.integers(0, 15)), min_size=1,
                max_size=40))  # fmt: skip
def test_ranks_are_in_their_intervals(rows):
    a, b, clusters = zip(*rows, strict=True)
    ranks = rank_by_change({"a": a, "b": b, "c": [0.0] * len(a)}, clusters)
    assert all(1 <= rank.low <= rank.value <= rank.high <= 3 for rank in ranks.values())


scores = st.lists(st.tuples(st.floats(-5, 5), st.integers(0, 6)), min_size=1, max_size=15)


@given(scores, scores)
def test_the_interval_of_an_auroc_contains_it(positive, negative):
    (p, pc), (n, nc) = (
        (np.array([s for s, _ in side]), [str(c) for _, c in side]) for side in (positive, negative)
    )
    area, low, high = clustered_auroc(p, n, pc, nc)
    assert 0 <= low <= area + SLACK and area - SLACK <= high <= 1
    mirrored, *_ = clustered_auroc(n, p, nc, pc)
    assert math.isclose(area, 1 - mirrored, abs_tol=1e-9)
    low, high = auroc_interval(area, len(p), len(n))
    assert 0 <= low <= area + SLACK and area - SLACK <= high <= 1


@given(st.floats(0, 2), st.floats(0.01, 1), st.floats(0.05, 0.95), st.floats(0.5, 0.99))
def test_the_clusters_that_are_needed_detect_the_difference(spread, difference, power, level):
    count = clusters_needed(spread, difference, power, level)
    assert count >= 2
    assert detectable_difference(spread, count, power, level) <= difference


@given(st.lists(st.lists(st.sampled_from("ab"), min_size=3, max_size=3), min_size=1, max_size=9))
def test_kappa_is_at_most_one(ratings):
    kappa = fleiss_kappa(ratings)
    assert math.isnan(kappa) or -1 <= kappa <= 1 + SLACK
