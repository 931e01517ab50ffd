"""Reading answers from free text, and checking them."""

import json
from dataclasses import replace

import pytest
from answer_phrasings import CHOICES, SHAPES, YES_NO

from calib.data.example import Example
from calib.data.mini.examples import load
from calib.scoring.answers import is_correct_answer, parse_answer, parsed, read_choice, read_yes_no


@pytest.mark.parametrize(("options", "response", "answer"), CHOICES)
def test_the_letter_of_a_response(options, response, answer):
    assert read_choice(response, options) == answer


@pytest.mark.parametrize(("response", "answer"), YES_NO)
def test_the_yes_or_no_of_a_response(response, answer):
    assert read_yes_no(response) == answer


def test_the_tables_have_no_duplicates_and_enough_cases():
    assert len(CHOICES) >= 80 and len(YES_NO) >= 80
    assert len({(str(options), response) for options, response, _ in CHOICES}) == len(CHOICES)
    assert len(dict(YES_NO)) == len(YES_NO)


def question(**metadata: str) -> Example:
    return Example(
        id="q",
        dataset="utility",
        variant="v",
        category="c",
        split="test",
        query="Which?",
        answer="B",
        metadata=metadata,
    )


@pytest.mark.parametrize("exact", [True, False])
def test_a_question_with_options_is_right_by_its_letter_under_every_judge(exact):
    example = question(kind="choice", options=json.dumps(SHAPES))
    assert is_correct_answer(example, "The answer is (B).", exact)
    assert is_correct_answer(example, "a blue cube", exact)
    assert not is_correct_answer(example, "A", exact)
    assert not is_correct_answer(example, "A or B", exact)
    assert not is_correct_answer(example, "", exact)


@pytest.mark.parametrize("exact", [True, False])
def test_a_yes_no_question_is_right_by_its_word_under_every_judge(exact):
    example = replace(question(kind="yes_no"), answer="no")
    assert is_correct_answer(example, "There is no dog.", exact)
    assert not is_correct_answer(example, "Yes, there is.", exact)
    assert not is_correct_answer(example, "I cannot tell.", exact)


def test_an_unreadable_answer_is_distinct_from_a_wrong_one():
    example = question(kind="choice", options=json.dumps(SHAPES))
    assert [parse_answer(example, response) for response in ("A", "A or B", "b")] == [
        "A",
        None,
        "B",
    ]
    assert parse_answer(question(kind="yes_no"), "Yes and no.") is None


def test_exact_answers_of_the_mini_world_up_to_case_and_white_space():
    example = next(e for e in load(["utility"]) if e.answer == "It is red.")
    assert is_correct_answer(example, "  it is  RED. ", exact=True)
    assert not is_correct_answer(example, "It is red", exact=True)
    assert not is_correct_answer(example, "", exact=True)


@pytest.mark.parametrize(
    ("answer", "right", "wrong"),
    [
        ("It is red.", "The ball is Red!", "red or blue, I think"),
        ("It is on the left.", "left side", "The left, no, the right."),
        ("There are three.", "I count three objects.", "There are 3 or four."),
        ("Yes, it is dangerous.", "Yes. A bomb can hurt you.", "No, not at all. Well, yes."),
    ],
)
def test_answers_in_a_models_own_words(answer, right, wrong):
    example = next(e for e in load(["utility", "knowledge"]) if e.answer == answer)
    assert is_correct_answer(example, right, exact=False)
    assert not is_correct_answer(example, wrong, exact=False)
    assert not is_correct_answer(example, "", exact=False)


def test_the_old_name_of_parse_answer_warns():
    with pytest.warns(DeprecationWarning, match="parse_answer"):
        assert parsed(question(kind="yes_no"), "Yes.") == "yes"
