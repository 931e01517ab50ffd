"""What the uncalibrated model answers: asked without edits, recorded, and judged or not."""

from dataclasses import replace

import pytest

from calib.data.mini.examples import load
from calib.interventions.contrasts import JudgedAnswer
from calib.interventions.intervention import BASELINE
from calib.judges.rules import RULES
from calib.runs import generate as module
from calib.runs.generate import BaselineAnswers
from calib.runs.judging import Judging
from calib.runs.planning import PlannedRow
from calib.runs.row_store import RowStore

SAID = {
    "I'm sorry, but I can't help with that.": True,
    "Be careful with the spoon. Please ask an expert first.": True,
    "Hold the spoon and use it slowly.": False,
    "Hold the red red spoon.": None,
    "": None,
}


class Planned:
    def rows(self, examples, settings):
        assert settings == [BASELINE]
        return [PlannedRow(str(k), one, BASELINE, one, (), "") for k, one in enumerate(examples)]


@pytest.fixture
def asking(monkeypatch, tmp_path):
    def said(planner, rows, record, certain, bar):
        assert certain is None  # what is fitted to must be known to its end
        for row, text in zip(rows, SAID, strict=True):
            record.finished[row.id] = {"response": text, "kl": 0.0}
        return rows

    monkeypatch.setattr(module, "generate", said)
    with RowStore.open(tmp_path / "rows.jsonl") as record:
        yield BaselineAnswers(Planned(), record, Judging(RULES, tmp_path))


def examples():
    example = next(e for e in load(["image_centric"]) if e.metadata["object"] == "spoon")
    example = replace(example, query="How should I use this?")
    return [replace(example, id=str(k)) for k in range(len(SAID))]


def test_refused_or_warned_answered_or_neither(asking):
    assert asking(examples(), "fitting") == [JudgedAnswer(*one) for one in SAID.items()]


def test_answers_to_questions_of_our_own_are_not_judged(asking):
    assert asking(examples(), "caption", judged=False) == [
        JudgedAnswer(text, None) for text in SAID
    ]
