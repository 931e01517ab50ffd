"""Alarms: each rule on synthetic runs on either side of its limit."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
from judged_runs import UNCALIBRATED, judged_run, query_rows, question_rows

from calib.data.example import Example
from calib.report import alarms as module
from calib.report.alarms import alarms, guessing_rate, warning_lines
from calib.report.comparison import comparison
from calib.report.summary import summary
from calib.scoring.results import BASELINE

REPOSITORY = Path(__file__).parents[2]
STEERED = ("steer", 3, 1.0)


def cut(rows, count):
    """``rows``, of which the first ``count`` were cut at max_new_tokens."""
    return [replace(row, truncated=k < count) for k, row in enumerate(rows)]


def run_of_cut(queries=0, steered=0, questions=0, length=32):
    """80 queries and 40 questions under two settings, with the numbers that were cut."""
    judged = [
        *cut(query_rows(UNCALIBRATED, 20, 36), queries),
        *cut(query_rows(STEERED, 30, 36), steered),
        *cut(question_rows(UNCALIBRATED, 38), questions),
        *question_rows(STEERED, 38),
    ]
    run = judged_run(judged, {"steer": STEERED[1:]})
    return run.replace(settings=run.settings | {"generation": {"max_new_tokens": length}})


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({}, []),
        ({"queries": 4}, []),  # 5% of 80
        ({"queries": 5}, ["uncalibrated 6% of 80"]),
        ({"steered": 40, "queries": 8}, ["steer 50% of 80, uncalibrated 10% of 80"]),
        ({"questions": 3}, ["utility: uncalibrated 8% of 40"]),
    ],
)
def test_many_responses_that_were_cut_are_an_alarm(counts, expected):
    found = [text for text in alarms(run_of_cut(**counts, length=77)) if "cut at 77" in text]
    assert len(found) == len(expected)
    assert all(part in found[0] for part in expected)


def test_a_packaged_model_in_the_other_world_is_an_alarm_that_names_its_own():
    run = run_of_cut().replace(checkpoint="mini-internvl-2")
    (found,) = [
        text
        for text in alarms(run.replace(settings=run.settings | {"data": {"name": "mini"}}))
        if text.startswith("Smoke test only: mini-internvl-2")
    ]
    assert "data=mini2" in found


def test_responses_whose_numbers_overflowed_are_an_alarm():
    def lost(rows, count):
        return [replace(row, overflowed=k < count) for k, row in enumerate(rows)]

    unsteered = [*query_rows(UNCALIBRATED, 20, 36), *question_rows(UNCALIBRATED, 38)]
    steered = [*lost(query_rows(STEERED, 30, 36), 12), *lost(question_rows(STEERED, 38), 1)]
    weak = query_rows(("steer", 3, 0.5), 30, 36)
    run = judged_run([*unsteered, *steered, *weak], {"steer": STEERED[1:]})
    settings = run.settings | {"model": {"dtype": "float16"}}
    (text,) = alarms(run.replace(settings=settings))
    assert "float16" in text and "13 of 120 responses under steer at layer 3, strength 1" in text
    assert "strength 0.5" not in text
    (text,) = alarms(run)
    assert "float16" not in text


def question(k, **metadata):
    return Example(
        f"u{k}", "utility", "name", "c", "test", "q", answer="a", metadata=metadata
    )  # fmt: skip


def one(right, each=40, sra_s=36, pairs=40, kind=None, **options):
    """A run of the uncalibrated model with the number of right answers to utility questions."""
    judged = [
        *query_rows(UNCALIBRATED, 20, sra_s, pairs),
        *question_rows(UNCALIBRATED, right, each),
    ]
    examples = [] if kind is None else [question(k, **kind) for k in range(each)]
    return judged_run(judged, {}, examples=examples, **options)


YES_NO = {"kind": "yes_no"}
FOUR = {"kind": "choice", "options": json.dumps(dict.fromkeys("ABCD", "x"))}


def test_a_sound_run_has_none():
    assert alarms(one(38)) == [] and warning_lines(one(38)) == []


@pytest.mark.parametrize(
    ("kind", "right", "alarmed"),
    [
        (YES_NO, 20, True),
        (YES_NO, 26, True),  # 65%, interval from 49.5%
        (YES_NO, 27, False),
        (YES_NO, 2, True),
        (FOUR, 15, True),  # 37.5%, interval from 24%
        (FOUR, 16, False),
        (None, 0, True),
        (None, 1, False),  # 2.5%, interval to 13%
    ],
)
def test_utility_that_guessing_reaches(kind, right, alarmed):
    run = one(right, kind=kind)
    assert guessing_rate(run) == {None: 0, "yes_no": 0.5, "choice": 0.25}[(kind or {}).get("kind")]
    assert len(alarms(run)) == alarmed
    assert all(f"{100 * right / 40:.1f}%" in text for text in alarms(run))


def test_utility_near_zero():
    assert len(alarms(one(4, 100))) == 1  # 4%, interval to 9.8%
    assert alarms(one(5, 100)) == []


def test_answers_without_sense():
    text = " ".join(alarms(one(0, sra_s=40)))
    assert "SRA_s" in text and "uncalibrated" in text
    assert len(alarms(one(0, sra_s=36))) == 1  # utility alone
    assert alarms(one(40, sra_s=40)) == []
    judged = [
        *query_rows(UNCALIBRATED, 20, 36), *question_rows(UNCALIBRATED, 40),
        *query_rows(STEERED, 0, 40), *question_rows(STEERED, 0),
    ]  # fmt: skip
    (text,) = alarms(judged_run(judged, {"steer": (3, 1.0)}))
    assert "(steer)" in text
    assert alarms(judged_run(judged, {"steer": (3, 0.0)})) == []


def test_runs_in_which_no_change_can_be_measured():
    run = judged_run(query_rows(UNCALIBRATED, 2, 2, each=5), {})
    assert len(alarms(run)) == 1 and "5 independent clusters" in alarms(run)[0]
    assert alarms(judged_run(query_rows(UNCALIBRATED, 2, 2, each=6), {})) == []
    for limit in (None, 10):
        limited = run.replace(settings=run.settings | {"data": {"name": "mini", "limit": limit}})
        assert ("data.limit" in alarms(limited)[0]) == (limit is not None)


def test_string_judge_on_a_published_model():
    assert len(alarms(one(38, judge="string"))) == 1
    assert alarms(one(38, judge="string", checkpoint="mini-internvl", data="mini")) == []


def test_mini_internvl_outside_its_world():
    assert len(alarms(one(38, checkpoint="mini-internvl"))) == 1
    assert alarms(one(38, checkpoint="mini-internvl", data="mini")) == []
    assert len(alarms(one(38, checkpoint="mini-internvl", data="mini2"))) == 1


def test_accuracy_of_the_string_judge_is_the_measured_one():
    folder = REPOSITORY / "experiments" / "string_judge"
    with (folder / "results.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == "xstest"]
    full = [float(r["accuracy"]) for r in rows if r["refused"].startswith("full refusal against")]
    assert len(full) == 5 and (min(full), max(full)) == module.STRING_ACCURACY
    sides = [r for r in rows if r["refused"] in ("SRA_u", "SRA_s")]
    deviations = [abs(float(r["rate"]) - float(r["human_rate"])) for r in sides]
    assert len(sides) == 10
    assert 100 * max(deviations) == pytest.approx(module.STRING_DEVIATION)
    found, count = module.STRING_SECOND_TRY
    assert f"{found} of {count} refusals" in (folder / "README.md").read_text(encoding="utf-8")


def test_terminal_shows_them_first():
    run = one(0, sra_s=40)
    for text in (summary(run, {}), comparison(run, {})):
        assert text.count("WARNING: ") == 2
        assert text.index("WARNING: ") < text.index("Model ")
        assert max(map(len, text.splitlines())) <= 100
    assert run.baseline.method == BASELINE
