"""Judging: costly verdicts are requested once, and labels are written for each row."""

import json
from dataclasses import replace

import pytest
from made_up_run import Costly, with_ids
from raising import raises

from calib.data.mini.examples import load
from calib.data.mini.first.world import FIRST
from calib.interventions.intervention import BASELINE
from calib.judges.judge import JudgeInput, PartialVerdicts, Verdict
from calib.judges.rules import RULES
from calib.judges.string import STRING
from calib.runs.labels.judging import (
    SEGMENT,
    VERDICTS_FILE,
    Judging,
    _verdict,
    is_final,
    judge_rows,
)
from calib.runs.planning import PlannedRow
from calib.runs.row_store import RowStore
from calib.runs.run_files import write_labels
from calib.scoring.answers import is_correct_answer
from calib.util.errors import CalibError


@pytest.fixture(scope="module")
def example():
    return load(["image_centric"], 2)[0]


def test_responses_that_are_all_thoughts_are_refused(example, tmp_path):
    rows = [PlannedRow(id, example, BASELINE, example, (), "") for id in "ab"]
    cut = {"response": "<think>It is", "kl": 0.0, "tokens": 32}
    with RowStore.open(tmp_path / "rows.jsonl") as record:
        record.append([{"row": "a", **cut}, {"row": "b", **cut}])
        with raises("too-few", "2 responses", "32", "max_new_tokens", "chat_template_kwargs"):
            judge_rows(rows, record, Judging(STRING, tmp_path))
    with RowStore.open(tmp_path / "others.jsonl") as record:
        record.append([{"row": "a", **cut}, {"row": "b", **cut, "response": "It is red."}])
        judged = judge_rows(rows, record, Judging(STRING, tmp_path))
    assert [(one.label, one.empty) for one in judged] == [(None, False), ("answer", False)]


@pytest.mark.parametrize(
    ("record", "label"),
    [
        ({"model": "m", "finish": "length"}, None),  # hidden reasoning reached the limit
        ({"model": "m", "finish": "stop"}, "irrelevant"),
        ({"finish": "length"}, "irrelevant"),  # a local model has no hidden reasoning
        ({"finish": "stop"}, "irrelevant"),
    ],
)
def test_an_empty_response_after_hidden_reasoning_has_no_label(example, tmp_path, record, label):
    rows = [PlannedRow(id, example, BASELINE, example, (), "") for id in "ab"]
    with RowStore.open(tmp_path / "rows.jsonl") as store:
        store.append([
            {"row": "a", "response": "", "kl": None, "tokens": 9, **record},
            {"row": "b", "response": "It is red.", "kl": None, "tokens": 9},
        ])  # fmt: skip
        judged = judge_rows(rows, store, Judging(STRING, tmp_path))
    assert [one.label for one in judged] == [label, "answer"]
    assert judged[0].empty == (label is not None)


def said(example, count, start=0):
    return [JudgeInput(example, f"response {k}") for k in range(start, start + count)]


def lines(folder):
    return [
        json.loads(one) for one in (folder / VERDICTS_FILE).read_text(encoding="utf-8").splitlines()
    ]


def test_labels_and_right_answers(tmp_path):
    by_part = {}
    for one in load(["image_centric", "utility"]):
        by_part.setdefault((one.dataset, one.safety), one)
    unsafe, question = by_part["image_centric", "unsafe"], by_part["utility", None]
    rows = [
        PlannedRow(id, one, BASELINE, one, (), "")
        for id, one in (("a", unsafe), ("b", question), ("c", unsafe))
    ]
    with RowStore.open(tmp_path / "rows.jsonl") as record:
        record.append(
            [
                {"row": "a", "response": "I'm sorry, but I can't help with that.", "kl": 0.5},
                {"row": "b", "response": question.answer, "kl": 0.25},
                {"row": "c", "response": " \n", "kl": 0.5},
            ]
        )
        judged = judge_rows(rows, record, Judging(RULES, tmp_path))
    assert [(j.label, j.correct, j.kl, j.empty) for j in judged] == [
        ("refusal", None, None, False),
        (None, True, 0.25, False),
        ("irrelevant", None, None, True),
    ]
    assert not (tmp_path / VERDICTS_FILE).exists()  # verdicts of a cheap judge are not recorded
    write_labels(tmp_path / "labels.jsonl", [row.id for row in rows], judged, "rules")
    found = [
        json.loads(line)
        for line in (tmp_path / "labels.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert [(line["row"], line["label"], line["judge"]) for line in found] == [
        ("a", "refusal", "rules"),
        ("b", None, "rules"),
        ("c", "irrelevant", "rules"),
    ]


def test_a_verdict_is_requested_once(example, tmp_path):
    judge = Costly()
    judging = Judging(judge, tmp_path)
    twice = [*said(example, 3), *said(example, 3)]
    assert [v.label for v in judging(twice)] == ["answer"] * 6
    assert judging(said(example, 4))[3].replies == {"m": "response 3"}
    assert judge.asked == [f"response {k}" for k in range(4)]
    again = Costly()
    assert Judging(again, tmp_path)(said(example, 4)) == judging(said(example, 4))
    assert again.asked == []
    assert [line["response"] for line in lines(tmp_path)] == judge.asked


def test_another_judge_response_or_query_needs_a_new_verdict(example, tmp_path):
    Judging(Costly(), tmp_path)(said(example, 1))
    for judge, one in (
        (Costly("other"), example),
        (Costly(), replace(example, query="Another?")),
        (Costly(), replace(example, safety="safe" if example.safety == "unsafe" else "unsafe")),
        (Costly(), replace(example, metadata={**example.metadata, "text": "more"})),
    ):
        Judging(judge, tmp_path)(said(one, 1))
        assert len(judge.asked) == 1


def test_a_text_judge_reuses_verdicts_without_the_picture(example, tmp_path):
    Judging(Costly(), tmp_path)(said(example, 2))
    again = Costly()
    Judging(again, tmp_path)(said(replace(example, picture=None), 2))
    assert again.asked == []
    sees = Costly()
    Judging(sees, tmp_path, pictures=True)(said(example, 2))
    Judging(sees, tmp_path, pictures=True)(said(replace(example, picture=None), 2))
    assert len(sees.asked) == 4


@pytest.mark.parametrize(
    "error", [CalibError("endpoint", "no money"), KeyboardInterrupt(), RuntimeError("x")]
)
def test_recorded_segments_are_kept_after_any_error(example, tmp_path, error):
    whole = said(example, 3 * SEGMENT)
    judge = Costly(breaks_at=2 * SEGMENT, breaks_with=error)
    with pytest.raises(type(error)):
        Judging(judge, tmp_path)(whole)
    assert len(lines(tmp_path)) == len(judge.asked) == 2 * SEGMENT
    again = Costly()
    assert len(Judging(again, tmp_path)(whole)) == 3 * SEGMENT
    assert again.asked == [one.response for one in whole[2 * SEGMENT :]]


def test_partial_verdicts_of_a_batch_are_recorded(example, tmp_path):
    found = {2: Verdict("refusal"), 0: Verdict("answer")}
    stops = Costly(
        breaks_at=0, breaks_with=PartialVerdicts("too-large", "the budget is used up", found)
    )
    with raises("too-large", "the budget is used up"):
        Judging(stops, tmp_path)(said(example, 4))
    again = Costly(label="irrelevant")
    labels = [v.label for v in Judging(again, tmp_path)(said(example, 4))]
    assert labels == ["answer", "irrelevant", "refusal", "irrelevant"]
    assert again.asked == ["response 1", "response 3"]


def test_unreadable_replies_are_counted_and_requested_again_by_another_process(example, tmp_path):
    judge = Costly(label=None)
    judging = Judging(judge, tmp_path)
    for _ in range(2):
        assert [v.label for v in judging(said(example, 2))] == [None, None]
    assert len(judge.asked) == 2
    Judging(Costly(), tmp_path)(said(example, 1, start=5))
    later = Judging(Costly(), tmp_path)
    assert [v.label for v in later(said(example, 2))] == ["answer"] * 2
    assert "2 of 2 verdicts (100.0%) could not be read and are left out" in judging.notes()[0]
    assert "0 of 2 verdicts (0.0%)" in later.notes()[0]


class Voting(Costly):
    def __call__(self, said, tell=lambda n: None):
        return [Verdict("answer", {}, votes) for votes in self.label[: len(said)]]


@pytest.mark.parametrize(
    ("votes", "words"),
    [
        # P = (1 + 0) / 2 of two items, by chance (3/4)^2 + (1/4)^2 = 0.625
        ([("answer", "answer"), ("answer", "refusal")], "-0.333 between 2 models (n = 2 resp"),
        ([("answer", "answer"), ("answer", None)], "undefined (one label only) between 2"),
    ],
)  # fmt: skip
def test_the_agreement_of_several_models_is_noted(example, tmp_path, votes, words):
    judge = Voting(label=[dict(zip("ab", both, strict=True)) for both in votes])
    judging = Judging(judge, tmp_path)
    judging(said(example, 2))
    assert f"Fleiss' kappa {words}" in judging.notes()[1]


def test_hostile_responses_are_recorded_and_reused(example, tmp_path):
    hostile = [
        JudgeInput(example, text) for text in ("\ud800", "\0", "a\u2028b", "\\ud800", '"\n\r')
    ]
    judge = Costly()
    Judging(judge, tmp_path)(hostile)
    again = Costly()
    found = Judging(again, tmp_path)(hostile)
    assert again.asked == []
    assert [v.replies["m"] for v in found] == [one.response for one in hostile]


@pytest.mark.parametrize(
    ("change", "code", "value"),
    [
        (lambda line: line.pop("label"), "invalid-content", "row 0000"),
        (lambda line: line.update(replies=3), "invalid-content", "row 0000"),
        (lambda line: line.update(label="refuse"), "unknown-name", "'refuse'"),
    ],
)
def test_a_changed_line_of_verdicts_is_explained(example, tmp_path, change, code, value):
    Judging(Costly(label=None), tmp_path)(said(example, 1))
    (line,) = lines(tmp_path)
    del line["crc32"]  # with it, the changed line would be removed and judged again
    change(line)
    (tmp_path / VERDICTS_FILE).write_text(json.dumps(line) + "\n", encoding="utf-8")
    judging = Judging(Costly(), tmp_path)
    if "label" in line and line["label"]:
        with raises(code, value):
            judging(said(example, 1))
    else:  # without a label the response is judged again
        assert judging(said(example, 1))[0].label == "answer"
    with raises(code, value):
        _verdict({**line, "row": "0" * 24}, tmp_path)


def test_a_verdict_does_not_depend_on_the_example_id(example, tmp_path):
    judge = Costly()
    Judging(judge, tmp_path)([JudgeInput(one, "the same") for one in with_ids(example, 5)])
    assert judge.asked == ["the same"]


@pytest.mark.parametrize("judge", [RULES, STRING], ids=["rules", "string"])
def test_a_final_label_of_a_beginning_holds_for_the_complete_response(judge):
    """Any sentence of the mini world has the same label when it is cut where the label is final."""
    found = load(["image_centric", "utility"], limit=6)
    wholes = {*FIRST.responses.all_refusals, *(e.answer for e in found if e.answer)}
    wholes |= {
        FIRST.responses.image_warnings[0].format("spoon") + " You know why. So be it. Good bye."
    }
    thoughts = "<think>I'm sorry, but I can't help with that.</think>"
    wholes |= {thoughts + whole for whole in sorted(wholes)[:3]}
    decided = is_final(judge)
    cut = 0
    for one in found:
        for whole in wholes:
            for end in range(len(whole)):
                if decided(one, whole[:end]):
                    cut += 1
                    if one.safety:
                        assert judge.label_of(one, whole[:end]) == judge.label_of(one, whole)
                    else:
                        assert not is_correct_answer(one, whole, judge is RULES)
    assert cut > 0 if judge is RULES else True


def test_a_judge_of_complete_responses_never_ends_one():
    assert is_final(Costly()) is None


def test_a_response_whose_numbers_overflowed_is_irrelevant_without_a_judge(example, tmp_path):
    question = load(["utility"], limit=2)[0]
    rows = [
        PlannedRow(name, one, BASELINE, one, (), "")
        for name, one in zip("ab", (example, question), strict=True)
    ]
    overflowed = {"kl": None, "tokens": 0, "finish": "not_finite"}
    judge = Costly()
    with RowStore.open(tmp_path / "rows.jsonl") as store:
        store.append([{"row": name, "response": question.answer, **overflowed} for name in "ab"])
        query, marked = judge_rows(rows, store, Judging(judge, tmp_path))
    assert judge.asked == [] and query.label == "irrelevant"
    assert marked.correct is False and marked.kl is None
