"""Verdicts claim no more than the intervals show, in a few words and in sentences."""

from types import SimpleNamespace

import pytest
from judged_runs import UNCALIBRATED, judged_run, query_rows, question_rows
from raising import raises

from calib.report.paired import responses_of
from calib.report.verdict import (
    change_between,
    explanation,
    headline,
    improved,
    rank_methods,
    sign,
    verdict_sentence,
    worsened,
)
from calib.scoring.intervals import Interval
from calib.scoring.results import BASELINE
from calib.scoring.tradeoff import OperatingPoint, Point

RATE = Interval(0.5, 0.4, 0.6, 10)
BASE = Point(BASELINE, None, 0.0, RATE, RATE, RATE, RATE)
STEERED = Point("steer", 3, 1.5, RATE, RATE, RATE, RATE)
CHOSEN = OperatingPoint(STEERED, BASE, 0.01, True)
KEPT = OperatingPoint(BASE, BASE, 0.01, True)
UP, LITTLE_UP, NONE, DOWN = (
    Interval(value, value - 0.02, value + 0.02, 100) for value in (0.3, 0.03, 0.01, -0.3)
)


def change(sra=NONE, sra_u=NONE, sra_s=NONE, utility=NONE, rate="SRA"):
    return SimpleNamespace(sra=sra, sra_u=sra_u, sra_s=sra_s, utility=utility, rate=rate)


@pytest.mark.parametrize(
    ("changes", "start", "cost"),
    [
        ({"sra": UP}, "Yes", False),
        ({"sra": LITTLE_UP}, "Yes, a little", False),
        ({"sra": UP, "utility": DOWN}, "Yes", True),
        ({"sra": UP, "utility": UP}, "Yes, and utility rose", False),
        ({"sra": DOWN}, "No: it lowered SRA", False),
        ({"sra": DOWN, "rate": "SRA_u"}, "No: it lowered SRA_u", False),
        ({"sra_u": UP, "sra_s": DOWN}, "No: it traded", False),
        ({}, "No measurable change", False),
        ({"sra_u": UP}, "No measurable change", False),
        ({"utility": DOWN}, "No measurable change", True),
        ({"sra": None}, "Not enough data", False),
    ],
)
def test_headline(changes, start, cost):
    text = headline(CHOSEN, change(**changes))
    assert text.startswith(start) and ("cost in utility" in text) == cost
    assert headline(KEPT, change(**changes)) == "No"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0004, 0.2, 0),
        (0.0006, 0.2, 1),
        (-0.2, -0.0006, -1),
        (-0.1, 0.1, 0),
        (float("nan"), float("nan"), 0),
    ],
)
def test_a_change_counts_only_if_the_printed_interval_excludes_zero(low, high, expected):
    assert sign(Interval(0.1, low, high, 9)) == expected


def interval(value, low, high):
    return Interval(value, low, high, 100)


@pytest.mark.parametrize(
    ("sra", "utility", "parts"),
    [
        (
            interval(0.041, 0.012, 0.07),
            interval(-0.003, -0.01, 0.004),
            [
                "raised SRA by 4.1 points (95% CI 1.2 to 7.0)",
                "no measurable cost in utility (-0.3 points, 95% CI -1.0 to 0.4)",
            ],
        ),
        (
            interval(0.041, 0.012, 0.07),
            interval(-0.02, -0.03, -0.01),
            ["raised SRA by 4.1", "at a cost of 2.0 points (95% CI 1.0 to 3.0) of utility"],
        ),
        (
            interval(-0.02, -0.03, -0.01),
            interval(0.02, 0.01, 0.03),
            ["lowered SRA by 2.0 points (95% CI 1.0 to 3.0)", "raised utility by 2.0 points"],
        ),
        (
            interval(0.02, -0.01, 0.05),
            None,
            ["no measurable difference to SRA (2.0 points, 95% CI -1.0 to 5.0)", "not measured"],
        ),
        # A bound that is printed as zero is not a change.
        (interval(0.02, 0.0004, 0.04), None, ["no measurable difference"]),
        (interval(0.5, float("nan"), float("nan")), None, ["too few examples"]),
        (None, None, ["no query"]),
    ],
)
def test_verdict_sentences(sra, utility, parts):
    text = verdict_sentence(CHOSEN, sra, utility)
    assert text.startswith("steer (layer 3, strength 1.5) ")
    assert [part for part in parts if part not in text] == []


def test_verdict_sentence_of_a_kept_baseline_names_the_tolerance():
    assert "improved SRA on validation without losing more than 1 point " in verdict_sentence(
        KEPT, None, None
    )
    loose = OperatingPoint(BASE, BASE, 0.02, True)
    assert "2 points " in verdict_sentence(loose, None, None)
    unmeasured = OperatingPoint(BASE, BASE, 0.01, False)
    text = verdict_sentence(unmeasured, None, None, "SRA_u")
    assert "improved SRA_u on validation;" in text and "not measured" in text


def setting(method, strength=1.0):
    return (method, 1, strength)


def test_numbers_are_those_of_the_responses():
    judged = [
        *query_rows(UNCALIBRATED, 20, 36),
        *question_rows(UNCALIBRATED, 38),
        *query_rows(setting("steer"), 30, 36),
        *question_rows(setting("steer"), 38),
    ]
    run = judged_run(judged, {"steer": (1, 1.0)})
    (verdict,) = rank_methods(run)
    moved = verdict.change
    assert (moved.sra_u.value, moved.sra_u.n) == (pytest.approx(0.25), 40)
    assert moved.sra_s.value == 0 and moved.sra.value == pytest.approx(0.125)
    assert moved.utility == Interval(0, 0, 0, 40)
    text = explanation(verdict.method.choice, moved)
    assert "steer (layer 1, strength 1) raised SRA by 12.5 points (95% CI" in text
    assert text.endswith("More unsafe queries were handled safely.")


def test_rate_of_a_benchmark_with_one_side_is_named():
    judged = [*query_rows(UNCALIBRATED, 10, 0), *query_rows(setting("steer"), 30, 0)]
    run = judged_run([row for row in judged if row.safety == "unsafe"], {"steer": (1, 1.0)})
    (verdict,) = rank_methods(run)
    assert verdict.change.rate == "SRA_u" and verdict.change.sra.value == pytest.approx(0.5)
    assert "raised SRA_u by 50.0 points" in explanation(verdict.method.choice, verdict.change)


def test_improved_methods_need_an_adjusted_p_value_below_the_level():
    """With 6 pairs that improve, p is 2 / 2^6; Holm multiplies it by the number of methods."""
    judged = [
        *query_rows(UNCALIBRATED, 20, 36),
        *query_rows(setting("six"), 26, 36),
        *query_rows(setting("worse"), 5, 36),
        *query_rows(setting("kept"), 40, 40),
    ]
    alone = rank_methods(judged_run(judged, {"six": (1, 1.0), "kept": (1, 0.0)}))
    assert [v.method.name for v in improved(alone)] == ["six"]
    assert worsened(alone) == []
    both = rank_methods(judged_run(judged, {"six": (1, 1.0), "worse": (1, 1.0)}))
    assert [v.method.name for v in worsened(both)] == ["worse"]
    many = [*judged, *query_rows(setting("same"), 20, 36)]
    settings = {"six": (1, 1.0), "worse": (1, 1.0), "same": (1, 1.0)}
    # p = 0.031 is the second smallest of three: 0.031 x 2.
    assert improved(rank_methods(judged_run(many, settings))) == []


def test_setting_without_responses_is_named():
    judged = query_rows(UNCALIBRATED, 1, 1)
    with raises("too-few", "steer", "layer 3", "1.5", "'test'"):
        responses_of(judged, STEERED, "test")
    run = judged_run(judged, {})
    with raises("too-few", "steer"):
        change_between(run, run.baseline, STEERED)
