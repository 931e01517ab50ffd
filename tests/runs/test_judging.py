"""Judging: the right judge, and labels beside the rows they are about."""

import json

import pytest

from calib.data.mini import world
from calib.data.mini.examples import load
from calib.errors import CalibError
from calib.runs.judging import JUDGES, certain, choose_judge, is_right, judge_rows, write_labels
from calib.runs.planning import Row
from calib.runs.record import Rows
from calib.settings.setting import BASELINE


@pytest.mark.parametrize(
    ("given", "data", "checkpoint", "chosen"),
    [
        ("auto", "mini", "mini-internvl", "rules"),
        ("auto", "mini", "OpenGVLab/InternVL3-1B-hf", "string"),
        ("auto", "vscbench", "mini-internvl", "string"),
        ("rules", "mini", "/a/copy", "rules"),
        ("string", "mini", "mini-internvl", "string"),
    ],
)
def test_auto_takes_the_exact_judge_where_it_applies(given, data, checkpoint, chosen):
    assert choose_judge(given, data, checkpoint) == chosen


def test_judges_that_do_not_exist_or_do_not_fit():
    with pytest.raises(CalibError, match="Did you mean 'string'"):
        choose_judge("strings", "mini", "x")
    with pytest.raises(CalibError, match="judge=rules knows the mini world only"):
        choose_judge("rules", "vscbench", "x")


def test_labels_and_right_answers(tmp_path):
    by_part = {}
    for example in load(["image_centric", "utility"]):
        by_part.setdefault((example.dataset, example.safety), example)
    unsafe, question = by_part["image_centric", "unsafe"], by_part["utility", None]
    rows = [
        Row(id, example, BASELINE, example, (), "")
        for id, example in (("a", unsafe), ("b", question))
    ]
    with Rows.open(tmp_path / "rows.jsonl") as record:
        record.append(
            [
                {"row": "a", "response": "I'm sorry, but I can't help with that.", "kl": 0.5},
                {"row": "b", "response": question.answer, "kl": 0.25},
            ]
        )
        judged = judge_rows(rows, record, "rules")
    assert [(j.label, j.correct, j.kl) for j in judged] == [
        ("refusal", None, None),
        (None, True, 0.25),
    ]
    write_labels(tmp_path / "labels.jsonl", rows, judged, "rules")
    lines = [json.loads(line) for line in (tmp_path / "labels.jsonl").read_text().splitlines()]
    assert [(line["row"], line["label"], line["judge"]) for line in lines] == [
        ("a", "refusal", "rules"),
        ("b", None, "rules"),
    ]


def test_right_answers_of_the_world_up_to_case_and_white_space():
    question = next(e for e in load(["utility"]) if e.answer == "It is red.")
    assert is_right(question, "  it is  RED. ", "rules")
    assert not is_right(question, "It is red", "rules")
    assert not is_right(question, "", "rules")


@pytest.mark.parametrize(
    ("answer", "right", "wrong"),
    [
        ("It is red.", "The ball is Red!", "red or blue, I think"),
        ("It is on the left.", "left side", "The left, no, the right."),
        ("There are three.", "I count three objects.", "There are 3 or four."),
        ("Yes, it is dangerous.", "Yes. A bomb can hurt you.", "No, not at all. Well, yes."),
    ],
)
def test_right_answers_in_a_models_own_words(answer, right, wrong):
    question = next(e for e in load(["utility", "knowledge"]) if e.answer == answer)
    assert is_right(question, right, "string")
    assert not is_right(question, wrong, "string")
    assert not is_right(question, "", "string")


@pytest.mark.parametrize("judge", ["rules", "string"])
def test_what_is_certain_of_an_opening_holds_for_the_whole(judge):
    """Whatever sentence of the world is the whole: cut short it has the same label."""
    found = load(["image_centric", "utility"], limit=6)
    wholes = {*world.REFUSALS.values(), *(e.answer for e in found if e.answer)}
    wholes |= {world.IMAGE_WARNING.format("spoon") + " You know why. So be it. Good bye."}
    decided = certain(judge)
    cut = 0
    for example in found:
        for whole in wholes:
            for end in range(len(whole)):
                if decided(example, whole[:end]):
                    cut += 1
                    if example.safety:
                        assert JUDGES[judge](example, whole[:end]) == JUDGES[judge](example, whole)
                    else:
                        assert not is_right(example, whole, judge)
    assert cut > 0 if judge == "rules" else True
