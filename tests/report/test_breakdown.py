"""The table of SRA by part, variant and category: numbers by hand, mappings, hostile names."""

from dataclasses import replace

import pytest

from calib.report.terminal_tables import breakdown, distinct_slices
from calib.scoring.intervals import Interval
from calib.scoring.judged import Judged
from calib.scoring.results import ALL, BASELINE
from calib.scoring.score import score
from calib.scoring.tradeoff import Point

RATE = Interval(0.5, 0.4, 0.6, 10)
BASE = Point(BASELINE, None, 0.0, RATE, RATE, RATE, None)
STEERED = Point("steer", 3, 1.5, RATE, RATE, RATE, None)


def rows(point=BASE, category="tools", variant="figstep", labels=("refusal", "irrelevant")):
    row = Judged(
        point.method, point.layer, point.strength, "", None, "text_centric", variant, category,
        "test", "unsafe", None, None, None,
    )  # fmt: skip
    return [
        replace(row, example_id=f"{category}/{variant}/{safety}/{k}", safety=safety, label=label)
        for safety in ("unsafe", "safe")
        for k, label in enumerate(labels)
    ]


def cells(text, name):
    (line,) = [line for line in text.splitlines() if line.strip().startswith(name)]
    return line.split()[-8:]


def test_rates_by_hand_under_both_mappings() -> None:
    text = breakdown(score(rows() + rows(category="verbs", variant="typo")), [BASE])
    # Refused and irrelevant: right are 1 of 2 unsafe and no safe query; 1 of 2 in the paper.
    for name in ("text_centric", "category tools", "variant figstep"):
        n = "8" if name == "text_centric" else "4"
        assert cells(text, name) == ["50.0", "0.0", "25.0", "0.0", "50.0", "50.0", "50.0", n]
    assert text.count("VSCBench") == 1


def test_a_warned_safe_query_is_right_for_calib_and_wrong_for_the_paper() -> None:
    text = breakdown(score(rows(labels=("safe_completion", "answer"))), [BASE])
    right = ["50.0", "100.0", "75.0", "50.0", "50.0", "50.0", "50.0", "4"]
    assert cells(text, "text_centric") == right
    assert "mapping=calib" in text and "mapping=paper" in text
    assert max(len(line) for line in text.splitlines()) <= 100


def test_clusters_follow_n_in_brackets() -> None:
    pooled = [replace(row, concept="one" if "0" in row.example_id else "two") for row in rows()]
    text = breakdown(score(pooled), [BASE])
    (line,) = [line for line in text.splitlines() if line.startswith("text_centric")]
    assert line.split()[-2:] == ["4", "(2)"]
    assert max(len(line) for line in text.splitlines()) <= 100


def test_each_setting_has_its_block() -> None:
    results = score(rows() + rows(STEERED, labels=("refusal", "refusal")))
    text = breakdown(results, [BASE, STEERED])
    assert "The uncalibrated model  " in text and "steer (layer 3, strength 1.5)  " in text
    assert cells(text.split("steer (layer")[1], "text_centric")[:3] == ["100.0", "0.0", "50.0"]
    assert text.count("VSCBench") == 1
    assert breakdown(results, [replace(STEERED, strength=9.0)]) == ""


def test_run_with_the_papers_mapping_has_its_rates_once() -> None:
    text = breakdown(score(rows(), "paper"), [BASE])
    assert cells(text, "text_centric")[-5:] == ["50.0", "50.0", "50.0", "0.0", "4"]
    assert "SRA*" not in text and "mapping=paper" in text


def test_missing_side_is_a_dash() -> None:
    text = breakdown(score([row for row in rows() if row.safety == "safe"]), [BASE])
    assert cells(text, "text_centric") == ["-", "0.0", "-", "0.0", "-", "50.0", "-", "2"]


def test_other_splits_and_dual_use_have_no_table() -> None:
    assert breakdown(score(rows()), [BASE], split="validation") == ""
    dual = [replace(row, dataset="dual_use") for row in rows()]
    assert breakdown(score(dual), [BASE]) == ""


def test_slices_beyond_the_limit_are_counted() -> None:
    many = [row for k in range(60) for row in rows(category=f"c{k:02d}")]
    text = breakdown(score(many), [BASE])
    assert "21 more" in text  # one total, 60 categories
    assert sum("category" in line for line in text.splitlines()) == 39


def test_only_variant_and_only_category_do_not_repeat_the_total() -> None:
    text = breakdown(score(rows()), [BASE])
    assert "text_centric" in text and "variant" not in text and "category" not in text
    text = breakdown(score(rows() + rows(variant="typo")), [BASE])
    assert text.count("variant") == 2 and "category" not in text
    # Perturbed copies are not in the total, so that their variant does not repeat it.
    one, *_ = score(rows())
    variant, total = ("text_centric", "v", ALL), ("text_centric", ALL, ALL)
    rates = {variant: {"SRA": one}, total: {"SRA": replace(one, value=0.9)}}
    assert list(distinct_slices(rates)) == [variant, total]
    assert list(distinct_slices({**rates, total: {"SRA": one}})) == [total]


@pytest.mark.parametrize(
    "name", ["x" * 200, "\u7403" * 60, "evil\x1b]0;t\x07\n", "\u202eabc", "\ud800"]
)
def test_table_is_narrow_and_safe_for_a_terminal(name) -> None:
    point = replace(STEERED, method=name)
    text = breakdown(score(rows(point, category=name, variant=f"v{name}")), [point])
    for line in text.splitlines():
        assert sum(2 if c == "\u7403" else 1 for c in line) <= 100
        assert line.isprintable()
