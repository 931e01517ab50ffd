"""Questions of your own: kinds, clusters, pictures, and what is refused."""

import csv
from pathlib import Path

import pytest
from raising import raises
from utility_tables import png

from calib.config.data import PublishedUtility
from calib.data.benchmarks import load_utility
from calib.scoring.answers import is_correct_answer, parse_answer

COLUMNS = ("id", "question", "answer", "options", "other_answers", "image", "category", "cluster")


def load(folder: Path, *rows: dict[str, str], **settings):
    path = folder / "questions.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return load_utility(PublishedUtility(name="own", root=str(path), **settings))


def row(question: str = "What is this?", answer: str = "dog", **cells: str) -> dict[str, str]:
    return {"question": question, "answer": answer, **cells}


def test_each_row_says_what_kind_of_question_it_is(tmp_path):
    examples = load(
        tmp_path,
        row("Is it red?", "No"),
        row("Which?", "a cube", options="['a cube', 'a ball']"),
        row("Which?", "B", options="['a cube', 'a ball']"),
        row(answer="['hound', 'dog']", other_answers="hot dog"),
    ).examples
    assert [e.metadata["kind"] for e in examples] == ["yes_no", "choice", "choice", "open"]
    assert [e.answer for e in examples] == ["no", "A", "B", "hound"]
    assert examples[1].query == "Which?\nA. a cube\nB. a ball"
    assert [e.id for e in examples] == ["own/1", "own/2", "own/3", "own/4"]


@pytest.mark.parametrize(
    ("response", "answer", "correct"),
    [
        ("This is a **dog**.", "hound", True),
        ("Hounds, and a ball", "hound", True),
        ("A hot dog", "hot dog", False),
        ("A cat", None, False),
        ("There is no dog", None, False),
        ("A dog or a hot dog", None, False),
        ("<think>a hot dog?</think>It is not a hot dog, but a hound", "hound", True),
        ("A hotdogger", None, False),
        ("I'm sorry, but I can't identify the dog in this picture.", None, False),
        ("I do not know whether it is a cat, a dog or a fox", None, False),
        ("No, it is a dog.", "hound", True),
        ("It isn't a cat or a dog.", None, False),
        ("A dog? I'm not sure.", None, False),
        ("I refuse to discuss the dog.", None, False),
        ("a dog or a hound", "hound", True),
        ("hot\n dog", "hot dog", False),
        ("It has no tail, but it is a dog", "hound", True),
        ("", None, False),
    ],
)
def test_an_open_question_is_right_if_the_first_answer_named_is_accepted(
    tmp_path, response, answer, correct
):
    given = row(answer="['hound', 'dog']", other_answers="['hot dog']")
    example = load(tmp_path, given).examples[0]
    assert parse_answer(example, response) == answer
    assert is_correct_answer(example, response, exact=True) is correct


@pytest.mark.parametrize(
    ("answer", "response", "correct"),
    [
        ("42", "It costs 42.", True),
        ("42", "It costs 42.5 pounds", False),
        ("42", "It costs 142", False),
        ("狗", "这是一只狗。", True),
        ("개", "이것은 개입니다", True),
        ("1", "1,000 people", False),
        ("1000", "1,000 people", True),
        ("10", "It is 10:30", False),
        ("-5", "It is \u22125.", True),
        ("US", "Please tell us about this", True),
        ("True", "true or false? It is false", False),
        ("ice  cream", "Ice\ncream", True),
        ("The Hague", "It is in Hague", True),
        ("C++", "That is c++ code", True),
    ],
)
def test_answers_are_read_between_the_boundaries_of_words(tmp_path, answer, response, correct):
    example = load(tmp_path, row(answer=answer)).examples[0]
    assert is_correct_answer(example, response, exact=False) is correct


def test_questions_about_a_thing_share_split_and_cluster(tmp_path):
    examples = load(
        tmp_path, *(row(cluster=str(k % 5), category="animals") for k in range(20))
    ).examples
    splits = {e.concept: {f.split for f in examples if f.concept == e.concept} for e in examples}
    assert {len(each) for each in splits.values()} == {1}
    assert len(splits) == 5
    assert {(e.variant, e.category) for e in examples} == {("animals", "animals")}


def test_pictures_are_optional(tmp_path):
    (tmp_path / "red.png").write_bytes(png("red"))
    examples = load(tmp_path, row(image="red.png"), row()).examples
    assert examples[0].picture().getpixel((0, 0)) == (255, 0, 0)
    assert examples[1].picture is None


@pytest.mark.parametrize(
    ("cells", "code", "value"),
    [
        ({"answer": ""}, "missing-value", "row 1"),
        ({"question": ""}, "missing-value", "row 1"),
        ({"options": "['a cube', 'a ball']"}, "invalid-value", "'dog'"),
        ({"options": "['dog', 'dog']"}, "invalid-value", "'dog'"),
        ({"options": "['dog']"}, "too-few", "options"),
        ({"answer": "['cat' 'dog']"}, "invalid-value", "column 'answer'"),
        ({"answer": "B"}, "unsupported", "'B'"),
        ({"answer": "***"}, "unsupported", "'***'"),
        ({"answer": "dog|hound"}, "invalid-value", "'dog|hound'"),
        ({"other_answers": "a dog"}, "invalid-value", "'dog'"),
        ({"options": "['', 'dog']"}, "invalid-value", "options"),
    ],
)
def test_damaged_rows_are_refused(tmp_path, cells, code, value):
    with raises(code, value):
        load(tmp_path, row() | cells)


@pytest.mark.parametrize(
    ("given", "column"), [("Options", "options"), ("optionen", "options"), ("choices", "options")]
)
def test_a_column_that_resembles_a_missing_one_is_refused(tmp_path, given, column):
    path = tmp_path / "questions.csv"
    path.write_text(f"question,answer,{given}\nWhich?,A,\"['x', 'y']\"\n", encoding="utf-8")
    with raises("unknown-name", given, column):
        load_utility(PublishedUtility(name="own", root=str(path)))


def test_other_columns_are_named(tmp_path):
    path = tmp_path / "questions.csv"
    path.write_text("question,answer,source\nIs it?,yes,me\n", encoding="utf-8")
    notes = load_utility(PublishedUtility(name="own", root=str(path))).notes
    assert len(notes) == 1 and "source" in notes[0]


def test_a_table_is_required():
    with raises("missing-setting", "utility.root"):
        load_utility(PublishedUtility(name="own"))
