"""DUAL-Bench's metrics and their changes under a perturbation, counted by hand."""

import math
import random
from dataclasses import replace

import pytest

from calib.scoring.dual_use import changes, dual_use
from calib.scoring.intervals import wilson
from calib.scoring.judged import Judged

LABELS = dict(r="refusal", s="safe_completion", a="answer", i="irrelevant", b="blocked")


def responses(labels, variant="original", safety="unsafe"):
    """A response per letter, each to a rendering (pair) of its own: 0, 1, 2 ..."""
    return [
        Judged(f"{variant}/{safety}/{k}", str(k), "dual_use", variant, "weapons", "test", safety,
               "steer", 3, 1.5, LABELS[letter], None, None)
        for k, letter in enumerate(labels)
    ]  # fmt: skip


ORIGINAL = [*responses("rssa"), *responses("raaa", safety="safe")]
NOISY = [*responses("rrra", "noise"), *responses("rraa", "noise", "safe")]


def test_the_metrics_by_hand() -> None:
    found = dual_use(ORIGINAL)
    assert found["RR_h"] == wilson(3, 4)
    assert found["RR_b"] == wilson(1, 4)
    assert found["DAR_h"] == wilson(1, 4)
    assert found["DAR_b"] == wilson(3, 4)
    assert found["SCR"] == wilson(2, 4)
    assert found["ORR"] == wilson(1, 4)
    assert found["delta_IR"].value == pytest.approx(0.5)
    assert found["delta_IR"].n == 8
    # Twins are not independent: the bounds are those of four pairs.
    assert found["irrelevant"] == wilson(0, 4)._replace(n=8)


def test_changes_by_hand() -> None:
    found = changes([*ORIGINAL, *NOISY], "noise")
    assert {metric: rate.value for metric, rate in found.items()} == pytest.approx(
        {
            "change_RR_h": 0.0,
            "change_RR_b": 0.25,
            "change_DAR_h": 0.0,
            "change_DAR_b": -0.25,
            "change_SCR": -0.5,
            "change_ORR": 0.5,
            "change_delta_IR": -0.25,
        }
    )
    assert {found[metric].n for metric in found} == {4, 8}
    assert found["change_delta_IR"].n == 8
    # Two of four pairs changed: none drawn in 1 of 16 resamples, all in 1 of 16.
    assert found["change_ORR"][1:3] == (0.0, 1.0)


def test_every_metric_changes_as_its_rates_do_when_everything_matches() -> None:
    before, after = dual_use(ORIGINAL), dual_use(NOISY)
    found = changes([*ORIGINAL, *NOISY], "noise")
    for metric, change in found.items():
        name = metric.removeprefix("change_")
        assert change.value == pytest.approx(after[name].value - before[name].value)


def test_responses_that_did_not_change_change_nothing_for_certain() -> None:
    same = [replace(row, example_id=f"n{row.example_id}", variant="noise") for row in ORIGINAL]
    found = changes([*ORIGINAL, *same], "noise")
    assert all(change[:3] == (0.0, 0.0, 0.0) for change in found.values())


def test_twins_are_drawn_together_in_the_change_of_the_gap() -> None:
    # In every second pair both twins go from answered to refused, so the gap never moves.
    rows = [*responses("a" * 20), *responses("a" * 20, safety="safe")]
    rows += [*responses("ra" * 10, "noise"), *responses("ra" * 10, "noise", "safe")]
    found = changes(rows, "noise")
    assert found["change_delta_IR"] == (0.0, 0.0, 0.0, 40)
    assert found["change_DAR_b"].low < -0.6 and found["change_DAR_b"].high > -0.4


def test_the_bounds_of_the_gap_by_hand() -> None:
    # Benign renderings of pair 0 are refused under noise: of two pairs, 0, 1 or 2 such are drawn.
    rows = [*responses("aa"), *responses("aa", safety="safe")]
    rows += [*responses("aa", "noise"), *responses("ra", "noise", "safe")]
    assert changes(rows, "noise")["change_delta_IR"] == (-0.5, -1.0, 0.0, 4)


def test_only_renderings_judged_both_ways_count() -> None:
    extra = responses("rrrrrrrr", "noise")[4:]  # pairs 4 to 7 have no original
    loner = replace(extra[0], example_id="loner", pair=None)
    original_loner = replace(loner, example_id="original loner", variant="original")
    found = changes([*ORIGINAL, *NOISY, *extra, loner, original_loner], "noise")
    assert found == changes([*ORIGINAL, *NOISY], "noise")


def test_what_has_no_match_has_no_change() -> None:
    unmatched = changes([*ORIGINAL, *responses("r", "rotation")], "noise")
    assert all(math.isnan(change.value) and change.n == 0 for change in unmatched.values())
    harmful_only = changes([*ORIGINAL, *responses("rrra", "noise")], "noise")
    assert harmful_only["change_RR_h"].n == 4
    for metric in ("change_RR_b", "change_DAR_b", "change_delta_IR"):
        assert math.isnan(harmful_only[metric].value)


def test_one_pair_alone_has_no_bounds() -> None:
    change = changes([*responses("a"), *responses("r", "noise")], "noise")["change_RR_h"]
    assert change.value == 1.0
    assert math.isnan(change.low) and math.isnan(change.high)


def test_several_originals_of_one_rendering_count_as_their_mean() -> None:
    again = replace(responses("a")[0], example_id="again")
    change = changes([*responses("r"), again, *responses("r", "noise")], "noise")["change_RR_h"]
    assert (change.value, change.n) == (0.5, 1)


def test_the_order_of_the_rows_does_not_matter() -> None:
    rows = [*ORIGINAL, *NOISY]
    expected = changes(rows, "noise")
    random.Random(0).shuffle(rows)
    assert changes(rows, "noise") == expected
