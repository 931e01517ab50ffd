"""POPE's and ScienceQA's own files, incomplete rows, and the number of questions."""

import json
from pathlib import Path

import pytest
from raising import raises
from utility_tables import png

from calib.config.data import PublishedUtility
from calib.data.benchmarks import load_utility

ANSWERS = ("yes", "no", "yes")


def pope(root: Path, **settings) -> PublishedUtility:
    return PublishedUtility(name="pope", root=str(root), **settings)


def pope_rows(category: str) -> list[dict]:
    return [
        {"question_id": k, "image": f"COCO_val2014_{k // 2}.jpg"}
        | {"text": f"Is there a {category} cup {k} in the image?", "label": answer}
        for k, answer in enumerate(ANSWERS, 1)
    ]


def write_lines(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_json(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def write_picture(path: Path, colour: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(colour))


def write_pope(root: Path, folder: str = "coco", pictures: str = "val2014") -> Path:
    for category in ("random", "popular", "adversarial"):
        write_lines(root / folder / f"coco_pope_{category}.json", pope_rows(category))
    for k, colour in enumerate(("red", "lime")):
        write_picture(root / pictures / f"COCO_val2014_{k}.jpg", colour)
    return root


@pytest.mark.parametrize(
    ("folder", "pictures"), [("coco", "val2014"), ("", ""), ("output/coco", "images")]
)
def test_popes_own_files_are_read(tmp_path, folder, pictures):
    examples = load_utility(pope(write_pope(tmp_path, folder, pictures))).examples
    assert len(examples) == 9
    assert [(e.id, e.answer, e.variant) for e in examples[:3]] == [
        ("pope/random/1", "yes", "random"),
        ("pope/random/2", "no", "random"),
        ("pope/random/3", "yes", "random"),
    ]
    assert {e.pair for e in examples} == {"pope/COCO_val2014_0", "pope/COCO_val2014_1"}
    assert examples[0].query == "Is there a random cup 1 in the image?"
    assert [e.picture().getpixel((0, 0)) for e in examples[:2]] == [(255, 0, 0), (0, 255, 0)]


def test_a_category_of_pope_is_a_split_or_a_file(tmp_path):
    write_pope(tmp_path)
    by_split = load_utility(pope(tmp_path, split="popular")).examples
    file = tmp_path / "coco" / "coco_pope_popular.json"
    assert [e.id for e in by_split] == [f"pope/popular/{k}" for k in (1, 2, 3)]
    assert load_utility(pope(file)).examples == by_split
    with raises("conflicting-settings", "utility.split=random", file):
        load_utility(pope(file, split="random"))


def test_a_missing_or_double_category_of_pope_is_refused(tmp_path):
    write_pope(tmp_path)
    (tmp_path / "coco" / "coco_pope_random.json").rename(tmp_path / "other.json")
    with raises("not-found", tmp_path, "'random'", "utility.split"):
        load_utility(pope(tmp_path))
    write_json(tmp_path / "coco" / "gqa_pope_seem_popular.json", pope_rows("popular"))
    with raises("duplicate", "'popular'", "gqa_pope_seem_popular.json"):
        load_utility(pope(tmp_path, split="popular"))
    with raises("not-found", "'val'"):
        load_utility(pope(tmp_path, split="val"))


def test_popes_files_without_photographs_are_refused(tmp_path):
    write_pope(tmp_path, pictures="elsewhere")
    with raises("not-found", "COCO_val2014_0.jpg", tmp_path / "val2014"):
        load_utility(pope(tmp_path))


@pytest.mark.parametrize("cell", ["image", "text"])
@pytest.mark.parametrize("value", ["", None])
def test_a_row_without_picture_or_question_is_refused_or_skipped(tmp_path, cell, value):
    write_pope(tmp_path)
    rows = pope_rows("random")
    rows[2][cell] = value
    path = write_lines(tmp_path / "coco" / "coco_pope_random.json", rows)
    with raises("missing-value", f"{path}, row 3", "utility.skip_broken=true"):
        load_utility(pope(tmp_path))
    benchmark = load_utility(pope(tmp_path, skip_broken=True))
    assert len(benchmark.examples) == 8
    assert any("1 of 9 questions" in note for note in benchmark.notes)


@pytest.mark.parametrize("name", ["mme", "mmstar", "pope"])
def test_every_set_refuses_a_row_without_picture(tmp_path, name):
    row = {"question_id": "1", "index": 1, "image": "", "image_source": "p", "answer": "A"}
    row |= {"question": "Which?\nOptions: A: x, B: y", "category": "color", "l2_category": "c"}
    if name != "mmstar":
        row["answer"] = "Yes"
    write_lines(tmp_path / "test.jsonl", [row])
    with raises("missing-value", "row 1", "picture", "utility.skip_broken=true"):
        load_utility(PublishedUtility(name=name, root=str(tmp_path)))


def problem(split: str, image: str | None = "image.png", **changes) -> dict:
    return {
        **{"question": "Which colour?", "choices": ["red", "lime"], "answer": 1, "hint": ""},
        **{"image": image, "task": "closed choice", "grade": "grade2"},
        **{"subject": "natural science", "topic": "physics", "category": "c", "skill": "s"},
        **{"lecture": "", "solution": "", "split": split, **changes},
    }


PROBLEMS = {
    "1": problem("train"),
    "4": problem("test"),
    "5": problem("test", None),
    "11": problem("val"),
    "17": problem("test", choices=["a", "b", "c"], answer=0),
}
SPLITS = {"train": ["1"], "val": ["11"], "test": ["4", "5", "17"], "minitest": ["17"]}


def scienceqa(root: Path, **settings) -> PublishedUtility:
    subsets = ["ScienceQA-IMG"]
    return PublishedUtility(name="scienceqa", root=str(root), subsets=subsets, **settings)


def write_scienceqa(root: Path, folder: str = "data/scienceqa", images: str = "images") -> Path:
    base = root / folder
    write_json(base / "problems.json", PROBLEMS)
    write_json(base / "pid_splits.json", SPLITS)
    for split, id_, colour in (("test", 4, "red"), ("test", 17, "lime"), ("val", 11, "blue")):
        write_picture(base / images / split / str(id_) / "image.png", colour)
    return base


@pytest.mark.parametrize(
    ("folder", "images"), [("data/scienceqa", "images"), ("", "images"), ("", "")]
)
def test_scienceqas_own_files_are_read_in_their_split(tmp_path, folder, images):
    write_scienceqa(tmp_path, folder, images)
    benchmark = load_utility(scienceqa(tmp_path))
    assert [(e.id, e.answer) for e in benchmark.examples] == [
        ("scienceqa/problem/4", "B"),
        ("scienceqa/problem/17", "A"),
    ]
    colours = [e.picture().getpixel((0, 0)) for e in benchmark.examples]
    assert colours == [(255, 0, 0), (0, 255, 0)]
    assert any("1 of 3 questions" in note for note in benchmark.notes)


@pytest.mark.parametrize(
    ("split", "ids"), [("val", ["11"]), ("validation", ["11"]), ("minitest", ["17"])]
)
def test_other_splits_of_scienceqa(tmp_path, split, ids):
    write_scienceqa(tmp_path)
    examples = load_utility(scienceqa(tmp_path, split=split)).examples
    assert [e.id for e in examples] == [f"scienceqa/problem/{id_}" for id_ in ids]


def test_without_pid_splits_the_problems_state_their_split(tmp_path):
    base = write_scienceqa(tmp_path)
    (base / "pid_splits.json").unlink()
    examples = load_utility(scienceqa(base / "problems.json")).examples
    assert [e.id for e in examples] == ["scienceqa/problem/4", "scienceqa/problem/17"]
    with raises("too-few", "utility.split=dev", "test, train, val"):
        load_utility(scienceqa(tmp_path, split="dev"))


@pytest.mark.parametrize("content", ["{", '["1"]', '{"test": "1"}'])
def test_damaged_lists_of_splits_are_refused(tmp_path, content):
    base = write_scienceqa(tmp_path)
    (base / "pid_splits.json").write_text(content, encoding="utf-8")
    with raises("unreadable" if content == "{" else "invalid-content", base / "pid_splits.json"):
        load_utility(scienceqa(tmp_path))


def test_a_problem_that_is_missing_or_lacks_a_key_is_refused(tmp_path):
    base = write_scienceqa(tmp_path)
    write_json(base / "pid_splits.json", {**SPLITS, "test": ["4", "99"]})
    with raises("missing-value", "problem 99"):
        load_utility(scienceqa(tmp_path))
    lacking = {key: value for key, value in problem("test").items() if key != "hint"}
    write_json(base / "problems.json", {**PROBLEMS, "17": lacking})
    with raises("missing-value", base / "problems.json", "row 5", "'hint'"):
        load_utility(scienceqa(tmp_path))


def test_another_number_of_questions_than_published_is_noted(tmp_path):
    def size_notes(number: str, config: PublishedUtility) -> int:
        return sum(number in note for note in load_utility(config).notes)

    write_pope(tmp_path / "pope")
    assert size_notes("9,000", pope(tmp_path / "pope")) == 1
    assert size_notes("3,000", pope(tmp_path / "pope", split="random")) == 1
    write_scienceqa(tmp_path / "scienceqa")
    assert size_notes("2,017", scienceqa(tmp_path / "scienceqa")) == 1
    assert size_notes("published", scienceqa(tmp_path / "scienceqa", split="val")) == 0


def test_repeated_questions_are_noted_by_their_pictures(tmp_path):
    base = write_scienceqa(tmp_path)
    same = {"4": problem("test"), "17": problem("test")}
    write_json(base / "problems.json", {**PROBLEMS, **same})
    assert not any("n=1" in note for note in load_utility(scienceqa(tmp_path)).notes)
    write_picture(base / "images/test/17/image.png", "red")
    notes = load_utility(scienceqa(tmp_path)).notes
    assert sum("n=1" in note and "problem/17" in note for note in notes) == 1
