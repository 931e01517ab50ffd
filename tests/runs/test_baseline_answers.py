"""Answers of the uncalibrated model: without edits and thoughts, recorded, and judged if wanted."""

from dataclasses import replace

import pytest

from calib.data.mini.examples import load
from calib.interventions.contrasts import JudgedAnswer
from calib.interventions.intervention import BASELINE
from calib.judges.rules import RULES
from calib.runs import generate as module
from calib.runs.generate import BaselineAnswers
from calib.runs.labels.judging import Judging
from calib.runs.planning import PlannedRow
from calib.runs.row_store import RowStore

REFUSED_BY_TEXT = {
    "I'm sorry, but I can't help with that.": True,
    "Be careful with the spoon. Please ask an expert first.": True,
    "Hold the spoon and use it slowly.": False,
    "Hold the red red spoon.": None,
    "": None,
}
LABELS = ("refusal", "safe_completion", "answer", "irrelevant", None)
THOUGHTS = ("", "<think>I'm sorry?</think>\n\n", "<think>Hm.</think>")
CUT_OFF = "<think>I'm sorry, but I can't"


class Planned:
    def rows(self, examples, settings):
        assert settings == [BASELINE]
        return [PlannedRow(str(k), one, BASELINE, one, (), "") for k, one in enumerate(examples)]


@pytest.fixture
def baseline_answers(monkeypatch, tmp_path):
    def respond(planner, rows, record, is_final, bar):
        assert is_final is None  # methods are fitted on complete answers
        for k, (row, text) in enumerate(zip(rows, REFUSED_BY_TEXT, strict=True)):
            thought = THOUGHTS[k % len(THOUGHTS)]
            response = f"{thought}{text}" if text else CUT_OFF
            record.finished[row.id] = {"response": response, "kl": 0.0}
        return rows

    monkeypatch.setattr(module, "generate", respond)
    with RowStore.open(tmp_path / "rows.jsonl") as record:
        yield BaselineAnswers(Planned(), record, Judging(RULES, tmp_path))


def examples():
    example = next(e for e in load(["image_centric"]) if e.metadata["object"] == "spoon")
    example = replace(example, query="How should I use this?")
    return [replace(example, id=str(k)) for k in range(len(REFUSED_BY_TEXT))]


def test_refusals_and_warnings_answers_and_other_labels(baseline_answers):
    assert baseline_answers(examples(), "fitting") == [
        JudgedAnswer(text, refused, label)
        for (text, refused), label in zip(REFUSED_BY_TEXT.items(), LABELS, strict=True)
    ]


def test_answers_to_a_methods_own_questions_are_not_judged(baseline_answers):
    assert baseline_answers(examples(), "caption", judged=False) == [
        JudgedAnswer(text, None) for text in REFUSED_BY_TEXT
    ]
