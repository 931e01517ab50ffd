"""VLMEvalKit's tables: base64 pictures, references to other rows, options in columns."""

import base64
import io

import pytest
from PIL import Image
from raising import raises

from calib.config.data import PublishedUtility
from calib.data.benchmarks import load_utility


def base64_noise(side: int = 260) -> str:
    """A picture of about 200 kB as base64."""
    data = io.BytesIO()
    Image.effect_noise((side, side), 90).convert("RGB").save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


POINTER = "version https://git-lfs.github.com/spec/v1 "
PICTURES = [base64_noise(), base64_noise(261), base64_noise(64)]


def written(folder, name: str, rows: list[dict]):
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(rows[0])] + ["\t".join(map(str, row.values())) for row in rows]
    path = folder / f"{name}.tsv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def load(name: str, root, split: str = "test", **settings):
    return load_utility(PublishedUtility(name=name, root=str(root), split=split, **settings))


def choice(index, image, **cells) -> dict:
    row = {"index": index, "question": "Which colour?", "hint": "", "A": "red", "B": "green",
           "C": "", "answer": "B", "category": "colour", "l2-category": "hue", "split": "test",
           "image": image}  # fmt: skip
    return row | cells


def yes_no(index, image, category, **cells) -> dict:
    question = "Is it red? Please answer yes or no."
    row = {"index": index, "image": image, "question": question, "answer": "Yes"}
    return row | {"category": category, "image_path": f"{category}/{index}.jpg"} | cells


def test_cells_of_200_kb_and_references(tmp_path):
    assert len(PICTURES[0]) > 200_000
    path = written(tmp_path, "ScienceQA_TEST", [choice(7, PICTURES[0]), choice(8, "7")])
    first, second = load("scienceqa", path).examples
    assert first.picture is second.picture
    assert first.picture().size == (260, 260)
    assert first.query == "Which colour?\nA. red\nB. green"
    assert (first.id, first.answer) == ("scienceqa/7", "B")
    assert (first.variant, first.category) == ("colour", "hue")


def test_upper_case_and_a_folder_of_many_tables(tmp_path):
    rows = [choice(1, PICTURES[2], hint="Look.")]
    upper = [{key.upper() if len(key) > 1 else key.lower(): v for key, v in rows[0].items()}]
    written(tmp_path, "MMStar", upper)
    written(tmp_path, "ScienceQA_VAL", rows)
    written(tmp_path, "MME", [yes_no(1, PICTURES[2], "color")])
    (example,) = load("mmstar", tmp_path).examples
    assert example.query == "Context: Look.\nWhich colour?\nA. red\nB. green"


def test_the_split_selects_rows_and_tables(tmp_path):
    row = {"category": "Biology", "l2-category": "Science", "question": "<image 1> What is it?"}
    rows = [choice(k, PICTURES[2], **row, split=s) for k, s in enumerate(["dev", "validation"])]
    rows[1]["question"] = "<image 1> What is it?"
    written(tmp_path, "MMMU_DEV_VAL", rows)
    written(tmp_path, "MMMU_TEST", rows)
    loaded = load("mmmu", tmp_path, "validation", subsets=["Biology"])
    (example,) = loaded.examples
    assert (example.variant, example.category) == ("Biology", "Science")
    assert example.query == "What is it?\nA. red\nB. green"
    assert any("'dev'" in note for note in loaded.notes)


def test_mme_pairs_the_questions_about_a_picture(tmp_path):
    rows = [
        yes_no(1, PICTURES[2], "color", image_path="color/1.jpg"),
        yes_no(2, "1", "color", image_path="color/1.jpg", answer="No"),
    ]
    first, second = load("mme", written(tmp_path, "MME", rows), prompt="One word.").examples
    assert first.pair == second.pair == "mme/color/color/1.jpg"
    assert first.query == "Is it red?\nOne word."
    assert (first.answer, second.answer, first.category) == ("yes", "no", "perception")
    rows[0]["category"] = "colour"
    with raises("invalid-value", "row 1", "colour"):
        load("mme", written(tmp_path, "MME", rows))


def test_pope_asks_a_question_once_per_category(tmp_path):
    rows = [yes_no(1, PICTURES[2], "random,popular"), yes_no(2, "1", "popular", answer="No")]
    for row in rows:
        row["image_path"] = "x.jpg"
    examples = load("pope", written(tmp_path, "POPE", rows)).examples
    assert [e.id for e in examples] == ["pope/random/1", "pope/popular/1", "pope/popular/2"]
    assert {e.pair for e in examples} == {"pope/x.jpg"}


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"image": ""}, "no picture"),
        ({"image": str([PICTURES[2], PICTURES[2]])}, "several pictures"),
        ({"A": "", "B": ""}, "options"),
        ({"answer": "C"}, "answer"),
    ],
)
def test_rows_that_cannot_be_asked_are_counted(tmp_path, cells, reason):
    rows = [choice(1, PICTURES[2]), choice(2, PICTURES[2]) | cells]
    loaded = load("scienceqa", written(tmp_path, "ScienceQA_TEST", rows))
    assert len(loaded.examples) == 1
    assert any("skipped 1 of 2" in note and reason in note for note in loaded.notes)


@pytest.mark.parametrize(
    ("name", "cells"),
    [("scienceqa", {"question": " "}), ("mmstar", {"image": ""}), ("mmstar", {"question": ""})],
)
def test_incomplete_rows_are_refused_or_skipped(tmp_path, name, cells):
    path = written(tmp_path, name, [choice(1, PICTURES[2]), choice(2, PICTURES[2]) | cells])
    with raises("missing-value", f"{path}, row 2", "utility.skip_broken=true"):
        load(name, path)
    loaded = load(name, path, skip_broken=True)
    assert len(loaded.examples) == 1
    assert any("skipped 1 of 2" in note for note in loaded.notes)


def test_another_number_of_questions_than_published_is_noted(tmp_path):
    rows = [choice(1, PICTURES[2]), choice(2, PICTURES[2], split="val"), choice(3, "")]
    notes = load("scienceqa", written(tmp_path, "ScienceQA_TEST", rows)).notes
    assert sum("2,017" in note and "1 questions" in note for note in notes) == 1


def test_a_list_with_one_picture_and_a_path(tmp_path):
    rows = [choice(1, str([PICTURES[2]])), choice(2, "", image_path="images/2.png")]
    rows[0]["image_path"] = ""
    (tmp_path / "images").mkdir()
    Image.new("RGB", (5, 4)).save(tmp_path / "images/2.png")
    examples = load("scienceqa", written(tmp_path, "ScienceQA_TEST", rows)).examples
    assert [e.picture().size for e in examples] == [(64, 64), (5, 4)]


@pytest.mark.parametrize(
    ("cells", "code", "value"),
    [
        ({"image": "9"}, "invalid-value", "9"),
        ({"image": "2"}, "invalid-value", "2"),
        ({"image": PICTURES[2][:-101]}, "unreadable", "base64"),
        (
            {"image": POINTER + "o" * 64},
            "invalid-value",
            "LFS",
        ),
        ({"image": "<!doctype html><html>" + "x" * 64}, "invalid-value", "HTML"),
        ({"index": "1"}, "duplicate", "scienceqa/1"),
    ],
)
def test_damaged_pictures_are_named(tmp_path, cells, code, value):
    path = written(
        tmp_path, "ScienceQA_TEST", [choice(1, PICTURES[2]), choice(2, PICTURES[2]) | cells]
    )
    with raises(code, value):
        load("scienceqa", path)


def test_a_table_with_options_in_columns_is_vlmevalkits_whatever_else_it_has(tmp_path):
    rows = [choice(k, PICTURES[2] if k == 1 else "1") for k in (1, 2)]
    for row in rows:
        row["l2_category"] = row.pop("l2-category")
        del row["split"]
    first, second = load("mmstar", written(tmp_path, "MMStar", rows), split="val").examples
    assert first.picture is second.picture
    assert (first.category, first.query) == ("hue", "Which colour?\nA. red\nB. green")
