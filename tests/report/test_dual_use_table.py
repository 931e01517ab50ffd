"""The table of dual-use rates: rates and changes by hand, width, hostile category names."""

from dataclasses import replace

import pytest

from calib.report.terminal_tables import DUAL_USE_METRICS, dual_use_table
from calib.scoring.intervals import Interval
from calib.scoring.judged import Judged
from calib.scoring.results import BASELINE
from calib.scoring.score import score
from calib.scoring.tradeoff import Point

RATE = Interval(0.5, 0.4, 0.6, 10)
BASE = Point(BASELINE, None, 0.0, RATE, RATE, RATE, None)
STEERED = Point("steer", 3, 1.5, RATE, RATE, RATE, None)
NAMES = {"r": "refusal", "s": "safe_completion", "a": "answer", "i": "irrelevant"}


def rows(harmful, benign, variant="original", category="fire", point=BASE):
    row = Judged(
        point.method, point.layer, point.strength, "", None, "dual_use", variant, category,
        "test", "unsafe", None, None, None,
    )  # fmt: skip
    return [
        replace(row, example_id=f"{category}/{variant}/{safety}/{k}", safety=safety,
                pair=f"{category}/{k}", label=NAMES[letter])
        for safety, letters in (("unsafe", harmful), ("safe", benign))
        for k, letter in enumerate(letters)
    ]  # fmt: skip


def cells(text, name):
    (line,) = [line for line in text.splitlines() if line.strip().startswith(name)]
    return dict(zip(DUAL_USE_METRICS, line.split()[-len(DUAL_USE_METRICS) :], strict=True))


def test_rates_of_originals_and_changes_by_hand() -> None:
    found = rows("rrsa" * 5, "aaar" * 5) + rows("aaaa" * 5, "aaar" * 5, "noise")
    text = dual_use_table(score(found), [BASE])
    assert cells(text, "original pictures (n = 40 / 20)") == {
        "DAR_b": "75.0", "RR_b": "25.0", "DAR_h": "25.0", "RR_h": "75.0", "SCR": "25.0",
        "ORR": "50.0", "delta_IR": "50.0",
    }  # fmt: skip
    assert cells(text, "under noise (n = 40 / 20)") == {
        "DAR_b": "+0.0", "RR_b": "+0.0", "DAR_h": "+75.0*", "RR_h": "-75.0*", "SCR": "-25.0*",
        "ORR": "-50.0*", "delta_IR": "-75.0*",
    }  # fmt: skip
    assert "rotation" not in text.replace("Perturbations", "")


def test_change_is_over_pictures_with_an_original() -> None:
    found = rows("rra", "aaa") + rows("rrrrr", "aaaaa", "rotation")
    text = dual_use_table(score(found), [BASE])
    assert "original pictures (n = 6 / 3)" in text and "under rotation (n = 6 / 3)" in text


def test_several_categories_are_listed() -> None:
    one = dual_use_table(score(rows("rr", "aa")), [BASE])
    assert "fire" not in one
    two = dual_use_table(score(rows("rr", "aa") + rows("ra", "aa", category="drugs")), [BASE])
    assert cells(two, "drugs (n = 4 / 2)")["RR_h"] == "50.0"
    assert cells(two, "fire (n = 4 / 2)")["RR_h"] == "100.0"


def test_each_setting_has_its_block_and_the_legend_appears_once() -> None:
    found = score(rows("aa", "aa") + rows("rr", "aa", point=STEERED))
    text = dual_use_table(found, [BASE, STEERED])
    assert "The uncalibrated model" in text and "steer (layer 3, strength 1.5)" in text
    assert cells(text.split("steer (layer")[1], "original pictures")["RR_h"] == "100.0"
    assert text.count("delta_IR =") == 1


def test_results_without_dual_use_have_no_table() -> None:
    queries = [replace(row, dataset="image_centric") for row in rows("rr", "aa")]
    assert dual_use_table(score(queries), [BASE]) == ""
    assert dual_use_table(score(rows("rr", "aa")), [BASE], split="validation") == ""
    assert dual_use_table(score(rows("rr", "aa")), [STEERED]) == ""


def test_missing_side_is_a_dash() -> None:
    text = dual_use_table(score(rows("rs", "") + rows("rr", "", "noise")), [BASE])
    assert cells(text, "original pictures (n = 2)") == {
        "DAR_b": "-", "RR_b": "-", "DAR_h": "0.0", "RR_h": "100.0", "SCR": "50.0", "ORR": "50.0",
        "delta_IR": "-",
    }  # fmt: skip
    assert cells(text, "under noise (n = 2)")["delta_IR"] == "-"


@pytest.mark.parametrize(
    "name", ["x" * 200, "\u7403" * 60, "evil\x1b]0;t\x07\n", "\u202eabc", "\ud800", "= 1"]
)
def test_hostile_categories_are_safe_for_a_terminal(name) -> None:
    point = replace(STEERED, method=name)
    found = rows("ra" * 600, "aa" * 600, category=name, point=point)
    found += rows("r", "a", category="other", point=point)
    text = dual_use_table(score(found), [point])
    for line in text.splitlines():
        assert sum(2 if c == "\u7403" else 1 for c in line) <= 100
        assert line.isprintable()
    assert "(n = 2400 / 1200)" in text
