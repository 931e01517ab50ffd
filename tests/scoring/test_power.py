"""Planning against tables, the bootstrap and simulation."""

import math

import numpy as np
import pytest

from calib.scoring.intervals import paired_difference
from calib.scoring.power import detectable_difference, pairs_needed, power_note, spread_of
from calib.scoring.significance import paired_p_value
from calib.util.errors import CalibError


def test_numbers_of_every_textbook():
    # (1.959964 + 0.841621)^2 = 7.848880
    assert pairs_needed(1, 1) == 8
    assert pairs_needed(1, 0.1) == 785
    assert pairs_needed(0.5, -0.05) == 785
    assert pairs_needed(1, 0.1, power=0.9) == 1051  # (1.959964 + 1.281552)^2 = 10.507424
    assert pairs_needed(1, 0.1, level=0.99) == 1168  # (2.575829 + 0.841621)^2 = 11.678965
    assert pairs_needed(0, 0.1) == 2
    assert detectable_difference(1, 785) == pytest.approx(0.1, abs=1e-4)
    assert detectable_difference(0.5, 100) == pytest.approx(2.801585 * 0.05, abs=1e-6)
    assert detectable_difference(1, 100, power=0.5) == pytest.approx(0.1959964, abs=1e-6)


def test_what_cannot_be_planned_is_an_error():
    with pytest.raises(CalibError, match="other than 0, not 0"):
        pairs_needed(1, 0)
    with pytest.raises(CalibError, match="other than 0, not nan"):
        pairs_needed(1, math.nan)
    with pytest.raises(CalibError, match="standard deviation"):
        pairs_needed(math.nan, 0.1)
    with pytest.raises(CalibError, match="standard deviation"):
        detectable_difference(-1, 10)
    with pytest.raises(CalibError, match="at least one pair"):
        detectable_difference(1, 0)
    with pytest.raises(CalibError, match="A power lies"):
        pairs_needed(1, 0.1, power=1)
    with pytest.raises(CalibError, match="A level lies"):
        pairs_needed(1, 0.1, level=95)


def test_the_spread_of_single_values_is_their_standard_deviation():
    a = [3.0, 1.0, 4.0, 1.0, 5.0]
    b = [1.0, 1.0, 1.0, 2.0, 2.0]
    assert spread_of(a, b) == pytest.approx(np.std(np.subtract(a, b), ddof=1))
    # In pairs it is that of their means.
    twice = [value for value in a for _ in range(2)]
    other = [value for value in b for _ in range(2)]
    pairs = [k // 2 for k in range(10)]
    assert spread_of(twice, other, pairs) == pytest.approx(np.std(np.subtract(a, b), ddof=1))
    assert math.isnan(spread_of([1, 2], [0, 0], ["one", "one"]))
    with pytest.raises(CalibError, match="two values"):
        spread_of([1, 2], [1])


def changes(rng, pairs, shift=0.0, twins=True):
    """Right or not, after and before, of safe and unsafe queries, twins in a pair or each alone."""
    before = rng.random(2 * pairs) < 0.6
    kept = rng.random(2 * pairs) < 0.7
    after = np.where(kept, before, rng.random(2 * pairs) < 0.6 + shift / 0.3)
    if twins:
        after[1::2] = np.where(rng.random(pairs) < 0.5, after[::2], after[1::2])
    clusters = [k // 2 if twins else k for k in range(2 * pairs)]
    return after, before, clusters, ["safe", "unsafe"] * pairs


@pytest.mark.parametrize("twins", [True, False])
@pytest.mark.parametrize("dropped", [0, 150])
def test_the_standard_error_is_the_bootstraps(twins, dropped):
    """Also where the sides differ in size: then a mean of ratios it is."""
    after, before, clusters, groups = changes(np.random.default_rng(3), 200, 0.1, twins)
    kept = [k for k in range(400) if not (groups[k] == "safe" and k < dropped)]
    rows = (
        after[kept], before[kept], [clusters[k] for k in kept], [groups[k] for k in kept],
    )  # fmt: skip
    interval = paired_difference(*rows, resamples=4000)
    error = (interval.high - interval.low) / (2 * 1.959964)
    count = len(set(rows[2]))
    assert spread_of(*rows) / math.sqrt(count) == pytest.approx(error, rel=0.08)


def test_a_change_of_the_planned_size_is_found_as_often_as_promised():
    rng = np.random.default_rng(11)
    spread = spread_of(*changes(rng, 20_000, 0.1, False))
    difference = paired_difference(*changes(rng, 20_000, 0.1, False)[:2], resamples=2).value
    pairs = pairs_needed(spread, difference)
    runs = 250
    # Each query is a cluster of its own, so half as many of each kind.
    found = sum(
        paired_p_value(*changes(rng, round(pairs / 2), 0.1, False), draws=400) <= 0.05
        for _ in range(runs)
    )
    # Four standard errors are 0.1; the smallest p-values of 400 draws cost a little.
    assert 0.7 < found / runs < 0.9


def test_the_note():
    a = [1, 1, 0, 1] * 53
    b = [0, 1, 1, 1] * 53
    note = power_note(a, b)
    spread = spread_of(a, b)
    found = 100 * detectable_difference(spread, 212)
    assert note == (
        f"212 pairs: a change of SRA of {found:.1f} points is found with 80% power; "
        f"5 points would take {pairs_needed(spread, 0.05):,} pairs."
    )
    assert "13.6 points" in note and "1,578 pairs" in note  # spread 0.709
    pairs = [k // 2 for k in range(212)]
    assert power_note(a, b, pairs).startswith("106 pairs: a change")


def test_the_note_says_where_nothing_can_be_planned():
    assert power_note([1], [0]) == "1 pair: too few to say which change of SRA would be found."
    assert "each changed by as much" in power_note([1, 1], [0, 0])
