"""Power analysis against textbook values, the bootstrap and simulation."""

import math

import numpy as np
import pytest
from raising import raises

from calib.scoring.intervals import paired_difference
from calib.scoring.power import clusters_needed, detectable_difference, power_note, spread_of
from calib.scoring.significance import paired_p_value


def test_textbook_values():
    # With the quantiles of the normal distribution, (1.959964 + 0.841621)^2 = 7.848880; those of t
    # need two or three clusters more.
    assert clusters_needed(1, 1) == 10
    assert clusters_needed(1, 0.1) == 785 + 2
    assert clusters_needed(0.5, -0.05) == 785 + 2
    assert clusters_needed(1, 0.1, power=0.9) == 1051 + 2  # (1.959964 + 1.281552)^2 = 10.507424
    assert clusters_needed(1, 0.1, level=0.99) == 1168 + 3  # (2.575829 + 0.841621)^2 = 11.678965
    assert clusters_needed(0, 0.1) == 2
    assert detectable_difference(1, 787) == pytest.approx(0.1, abs=1e-4)
    # t tables, 99 degrees of freedom: 1.984217 and 0.845267; 4 degrees: 2.776445.
    assert detectable_difference(0.5, 100) == pytest.approx(2.829484 * 0.05, abs=1e-6)
    assert detectable_difference(1, 5, power=0.5) == pytest.approx(2.776445 / 5**0.5, abs=1e-6)


def test_bad_input_is_refused():
    with raises("invalid-value", 0):
        clusters_needed(1, 0)
    with raises("invalid-value", "nan"):
        clusters_needed(1, math.nan)
    with raises("invalid-value", "nan"):
        clusters_needed(math.nan, 0.1)
    with raises("invalid-value", -1):
        detectable_difference(-1, 10)
    with raises("too-few", 0):
        detectable_difference(1, 0)
    with raises("invalid-value", "power", 1):
        clusters_needed(1, 0.1, power=1)
    with raises("invalid-value", "level", 95):
        clusters_needed(1, 0.1, level=95)


def test_the_spread_of_single_values_is_their_standard_deviation():
    a = [3.0, 1.0, 4.0, 1.0, 5.0]
    b = [1.0, 1.0, 1.0, 2.0, 2.0]
    assert spread_of(a, b) == pytest.approx(np.std(np.subtract(a, b), ddof=1))
    # With pairs it is the standard deviation of their means.
    twice = [value for value in a for _ in range(2)]
    other = [value for value in b for _ in range(2)]
    pairs = [k // 2 for k in range(10)]
    assert spread_of(twice, other, pairs) == pytest.approx(np.std(np.subtract(a, b), ddof=1))
    assert math.isnan(spread_of([1, 2], [0, 0], ["one", "one"]))
    with raises("mismatch", "2 and 1"):
        spread_of([1, 2], [1])


def changes(rng, pairs, shift=0.0, twins=True):
    """Correctness after and before, clusters and groups of ``pairs`` safe and unsafe queries.

    With ``twins`` the two queries of a pair are one cluster; without, each is its own.
    """
    before = rng.random(2 * pairs) < 0.6
    unchanged = rng.random(2 * pairs) < 0.7
    after = np.where(unchanged, before, rng.random(2 * pairs) < 0.6 + shift / 0.3)
    if twins:
        after[1::2] = np.where(rng.random(pairs) < 0.5, after[::2], after[1::2])
    clusters = [k // 2 if twins else k for k in range(2 * pairs)]
    return after, before, clusters, ["safe", "unsafe"] * pairs


@pytest.mark.parametrize("twins", [True, False])
@pytest.mark.parametrize("dropped", [0, 150])
def test_the_standard_error_is_that_of_the_bootstrap(twins, dropped):
    """Also if the sides differ in size, so that the statistic is a mean of ratios."""
    after, before, clusters, groups = changes(np.random.default_rng(3), 200, 0.1, twins)
    chosen = [k for k in range(400) if not (groups[k] == "safe" and k < dropped)]
    rows = (
        after[chosen], before[chosen], [clusters[k] for k in chosen], [groups[k] for k in chosen],
    )  # fmt: skip
    interval = paired_difference(*rows, resamples=4000)
    error = (interval.high - interval.low) / (2 * 1.959964)
    count = len(set(rows[2]))
    assert spread_of(*rows) / math.sqrt(count) == pytest.approx(error, rel=0.08)


def test_a_change_of_the_planned_size_is_detected_with_the_stated_power():
    rng = np.random.default_rng(11)
    spread = spread_of(*changes(rng, 20_000, 0.1, False))
    difference = paired_difference(*changes(rng, 20_000, 0.1, False)[:2], resamples=2).value
    pairs = clusters_needed(spread, difference)
    runs = 250
    # Each query is its own cluster, so there are half as many of each kind.
    detected = sum(
        paired_p_value(*changes(rng, round(pairs / 2), 0.1, False), draws=400) <= 0.05
        for _ in range(runs)
    )
    # Four standard errors are 0.1; the smallest p-values of 400 draws cost a little.
    assert 0.7 < detected / runs < 0.9


def test_the_note():
    a = [1, 1, 0, 1] * 53
    b = [0, 1, 1, 1] * 53
    note = power_note(a, b)
    spread = spread_of(a, b)
    detectable = 100 * detectable_difference(spread, 212)
    values = ("212 independent clusters", f"{detectable:.1f} points", "80%", "5 points")
    assert all(value in note for value in (*values, f"{clusters_needed(spread, 0.05):,} clusters"))
    assert "13.7 points" in note and "1,580 clusters" in note  # spread 0.709
    pairs = [k // 2 for k in range(212)]
    assert power_note(a, b, pairs).startswith("With 106 independent clusters,")


def test_the_note_has_no_numbers_if_power_cannot_be_estimated():
    for note, count in (
        (power_note([1], [0]), "1 independent cluster:"),
        (power_note([1, 1], [0, 0]), "2 independent clusters:"),
    ):
        assert note.startswith(count) and "points" not in note and "%" not in note
