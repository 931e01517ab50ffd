"""SRA by part, variant and category: numbers by hand, both mappings, narrow and harmless."""

from dataclasses import replace

import pytest

from calib.report.terminal_tables import breakdown
from calib.scoring.intervals import Interval
from calib.scoring.judged import Judged
from calib.scoring.results import BASELINE
from calib.scoring.score import score
from calib.scoring.tradeoff import Point

RATE = Interval(0.5, 0.4, 0.6, 10)
BASE = Point(BASELINE, None, 0.0, RATE, RATE, RATE, None)
STEERED = Point("steer", 3, 1.5, RATE, RATE, RATE, None)


def rows(point=BASE, category="tools", variant="figstep", labels=("refusal", "irrelevant")):
    row = Judged(point.method, point.layer, point.strength, "", None, "text_centric", variant, category, "test", "unsafe", None, None, None)  # fmt: skip
    return [
        replace(row, example_id=f"{category}/{variant}/{safety}/{k}", safety=safety, label=label)
        for safety in ("unsafe", "safe")
        for k, label in enumerate(labels)
    ]


def cells(text, name):
    (line,) = [line for line in text.splitlines() if line.strip().startswith(name)]
    return line.split()[-7:]


def test_rates_by_hand_under_both_mappings() -> None:
    text = breakdown(score(rows() + rows(category="verbs", variant="typo")), [BASE])
    # Refused and irrelevant: 1 of 2 unsafe right, of safe none; by the paper's code 1 of 2 too.
    for name in ("text_centric", "category tools", "variant figstep"):
        n = "8" if name == "text_centric" else "4"
        assert cells(text, name) == ["50.0", "0.0", "25.0", "50.0", "50.0", "50.0", n]
    assert text.count("released code") == 1


def test_of_several_settings_each_has_its_block() -> None:
    results = score(rows() + rows(STEERED, labels=("refusal", "refusal")))
    text = breakdown(results, [BASE, STEERED])
    assert "The uncalibrated model  " in text and "steer (layer 3, strength 1.5)  " in text
    assert cells(text.split("steer (layer")[1], "text_centric")[:3] == ["100.0", "0.0", "50.0"]
    assert text.count("released code") == 1
    assert breakdown(results, [replace(STEERED, strength=9.0)]) == ""


def test_under_the_papers_mapping_its_rates_stand_once() -> None:
    text = breakdown(score(rows(), "paper"), [BASE])
    assert cells(text, "text_centric")[-4:] == ["50.0", "50.0", "50.0", "4"]
    assert "SRA*" not in text and "mapping=paper: as VSCBench" in text


def test_a_side_that_is_not_there_is_a_dash() -> None:
    text = breakdown(score([row for row in rows() if row.safety == "safe"]), [BASE])
    assert cells(text, "text_centric") == ["-", "0.0", "-", "-", "50.0", "-", "2"]


def test_only_the_split_and_the_parts_that_were_asked_for() -> None:
    assert breakdown(score(rows()), [BASE], split="validation") == ""
    dual = [replace(row, dataset="dual_use") for row in rows()]
    assert breakdown(score(dual), [BASE]) == ""


def test_of_many_slices_the_rest_is_counted() -> None:
    many = [row for k in range(60) for row in rows(category=f"c{k:02d}")]
    text = breakdown(score(many), [BASE])
    assert "and 22 more in results.csv" in text  # one total, one variant, 60 categories
    assert sum("category" in line for line in text.splitlines()) == 39


@pytest.mark.parametrize(
    "name", ["x" * 200, "\u7403" * 60, "evil\x1b]0;t\x07\n", "\u202eabc", "\ud800"]
)
def test_it_is_narrow_and_harmless(name) -> None:
    point = replace(STEERED, method=name)
    text = breakdown(score(rows(point, category=name, variant=f"v{name}")), [point])
    for line in text.splitlines():
        assert sum(2 if c == "\u7403" else 1 for c in line) <= 100
        assert line.isprintable()
