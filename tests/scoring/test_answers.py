"""Answers read from what models say, and whether they are right."""

import json
from dataclasses import replace

import pytest
from answer_phrasings import CHOICES, SHAPES, YES_NO

from calib.data.example import Example
from calib.data.mini.examples import load
from calib.scoring.answers import is_right, parsed, read_choice, read_yes_no


@pytest.mark.parametrize(("options", "said", "read"), CHOICES)
def test_the_letter_that_a_response_gives(options, said, read):
    assert read_choice(said, options) == read


@pytest.mark.parametrize(("said", "read"), YES_NO)
def test_yes_or_no_that_a_response_gives(said, read):
    assert read_yes_no(said) == read


def test_the_tables_are_large_enough_to_say_something():
    assert len(CHOICES) >= 80 and len(YES_NO) >= 80
    assert len({(str(options), said) for options, said, _ in CHOICES}) == len(CHOICES)
    assert len(dict(YES_NO)) == len(YES_NO)


def question(**facts: str) -> Example:
    return Example(
        id="q",
        dataset="utility",
        variant="v",
        category="c",
        split="test",
        query="Which?",
        answer="B",
        metadata=facts,
    )


@pytest.mark.parametrize("exact", [True, False])
def test_a_question_with_options_is_right_by_its_letter_whatever_the_judge(exact):
    asked = question(kind="choice", options=json.dumps(SHAPES))
    assert is_right(asked, "The answer is (B).", exact)
    assert is_right(asked, "a blue cube", exact)
    assert not is_right(asked, "A", exact)
    assert not is_right(asked, "A or B", exact)
    assert not is_right(asked, "", exact)


@pytest.mark.parametrize("exact", [True, False])
def test_a_yes_no_question_is_right_by_its_word_whatever_the_judge(exact):
    asked = replace(question(kind="yes_no"), answer="no")
    assert is_right(asked, "There is no dog.", exact)
    assert not is_right(asked, "Yes, there is.", exact)
    assert not is_right(asked, "I cannot tell.", exact)


def test_an_unreadable_answer_can_be_told_from_a_wrong_one():
    asked = question(kind="choice", options=json.dumps(SHAPES))
    assert [parsed(asked, said) for said in ("A", "A or B", "b")] == ["A", None, "B"]
    assert parsed(question(kind="yes_no"), "Yes and no.") is None


def test_right_answers_of_the_world_up_to_case_and_white_space():
    asked = next(e for e in load(["utility"]) if e.answer == "It is red.")
    assert is_right(asked, "  it is  RED. ", exact=True)
    assert not is_right(asked, "It is red", exact=True)
    assert not is_right(asked, "", exact=True)


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
    asked = next(e for e in load(["utility", "knowledge"]) if e.answer == answer)
    assert is_right(asked, right, exact=False)
    assert not is_right(asked, wrong, exact=False)
    assert not is_right(asked, "", exact=False)
