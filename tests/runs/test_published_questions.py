"""Questions of published sets are scored by the parsed answer, whatever the judge."""

import json
from dataclasses import replace

import pytest

from calib.data.example import Example
from calib.interventions.intervention import BASELINE
from calib.judges.rules import RULES
from calib.judges.string import STRING
from calib.runs.labels.judging import Judging, is_final, judge_rows
from calib.runs.planning import PlannedRow
from calib.runs.row_store import RowStore

CHOICE = Example(
    id="mmstar/0",
    dataset="utility",
    variant="math",
    category="geometry",
    split="test",
    query="Which?",
    answer="B",
    metadata={"kind": "choice", "options": json.dumps({"A": "one", "B": "two"})},
)
YES_NO = replace(CHOICE, id="pope/0", answer="no", metadata={"kind": "yes_no"})


@pytest.mark.parametrize("judge", [RULES, STRING], ids=["rules", "string"])
@pytest.mark.parametrize("example", [CHOICE, YES_NO], ids=["choice", "yes_no"])
def test_no_beginning_of_an_answer_is_final(judge, example):
    """A response that begins "The" or "A" may yet give the right answer."""
    decided = is_final(judge)
    assert not any(decided(example, said) for said in ("", "The", "A", "Yes", "Option"))


@pytest.mark.parametrize("judge", [RULES, STRING], ids=["rules", "string"])
def test_right_and_wrong_answers(judge, tmp_path):
    said = {"a": (CHOICE, "(b)"), "b": (CHOICE, "A or B"), "c": (YES_NO, "There is no cup.")}
    rows = [PlannedRow(id, example, BASELINE, example, (), "") for id, (example, _) in said.items()]
    with RowStore.open(tmp_path / "rows.jsonl") as record:
        record.append(
            [{"row": id, "response": response, "kl": 0.1} for id, (_, response) in said.items()]
        )
        judged = judge_rows(rows, record, Judging(judge, tmp_path))
    assert [one.correct for one in judged] == [True, False, True]
