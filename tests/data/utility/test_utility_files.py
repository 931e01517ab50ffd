"""Tables in other forms, and every defect with what a user reads about it."""

import csv
import json
from pathlib import Path

import pytest
from utility_tables import (
    MME,
    MMMU,
    MMSTAR,
    POPE,
    SCIENCEQA,
    picture,
    png,
    write_copy,
    write_parquet,
)

from calib.config.data import PublishedUtility, UtilityConfig
from calib.data.benchmarks import load_utility
from calib.data.utility import load
from calib.data.utility.mmstar import options_in
from calib.data.utility.question import list_in
from calib.util.errors import CalibError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))


def mme(root: Path | str, **settings) -> PublishedUtility:
    return PublishedUtility(name="mme", root=str(root), **settings)


def plain(rows: list[dict], folder: Path) -> list[dict]:
    """The rows with their pictures as files in ``folder``, and the paths of these in the cells."""
    written = []
    for k, row in enumerate(rows):
        cells = dict(row)
        for column, cell in row.items():
            if isinstance(cell, dict):
                (folder / "images").mkdir(parents=True, exist_ok=True)
                (folder / "images" / f"{k}_{column}.png").write_bytes(cell["bytes"])
                cells[column] = f"images/{k}_{column}.png"
        written.append(cells)
    return written


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_tsv(path: Path, rows: list[dict]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.parametrize("file", ["test.jsonl", "MME.jsonl", "data/test.jsonl"])
def test_a_table_of_another_form_is_found_by_the_split_or_the_set(tmp_path, file):
    path = tmp_path / file
    write_jsonl(path, plain(MME, path.parent))
    found = load_utility(mme(tmp_path))
    assert len(found) == 6
    assert found[0].picture().convert("RGB").getpixel((0, 0)) == (255, 0, 0)
    assert [e.id for e in load_utility(mme(path))] == [e.id for e in found]


def test_scienceqa_as_tsv_with_its_options_written_as_text(tmp_path):
    write_tsv(tmp_path / "scienceqa.tsv", plain(SCIENCEQA, tmp_path))
    config = PublishedUtility(name="scienceqa", root=str(tmp_path), subsets=["ScienceQA-IMG"])
    found = load_utility(config)
    assert [(e.id, e.answer) for e in found.examples] == [
        ("scienceqa/0", "B"),
        ("scienceqa/2", "A"),
    ]
    assert len(found.notes) == 2


def test_mmmu_of_one_table_gives_the_subjects_asked_for(tmp_path):
    rows = [row for subject in MMMU.values() for row in subject]
    write_parquet(tmp_path / "data" / "validation-00000-of-00001.parquet", "mmmu", rows)
    for subsets, wanted in (([], ["Art", "Math"]), (["Math"], ["Math"])):
        config = PublishedUtility(
            name="mmmu", root=str(tmp_path), split="validation", subsets=subsets
        )
        assert [e.variant for e in load_utility(config)] == wanted


def test_parquet_comes_before_other_forms_in_one_folder(tmp_path):
    write_copy(tmp_path, "mmstar")
    (tmp_path / "MMStar.tsv").write_text("index\timage\n")
    config = PublishedUtility(name="mmstar", root=str(tmp_path), split="val")
    assert len(load_utility(config)) == 2


def test_a_missing_column_is_named_with_its_nearest(tmp_path):
    rows = [{**row, "questions": row["question"]} for row in plain(MME, tmp_path)]
    for row in rows:
        del row["question"]
    write_jsonl(tmp_path / "test.jsonl", rows)
    with pytest.raises(CalibError, match="no column 'question'. Did you mean 'questions'"):
        load_utility(mme(tmp_path))


def test_no_rows(tmp_path):
    write_jsonl(tmp_path / "test.jsonl", [])
    with pytest.raises(CalibError, match="has no rows"):
        load_utility(mme(tmp_path))


def test_no_folder_and_no_table(tmp_path):
    with pytest.raises(CalibError, match=r"utility\.root=.*nowhere does not exist"):
        load_utility(mme(tmp_path / "nowhere"))
    with pytest.raises(CalibError, match=r"holds no table of the split 'test' of mme.*test-\*"):
        load_utility(mme(tmp_path))
    write_copy(tmp_path, "mme")
    with pytest.raises(CalibError, match="no table of the split 'val'"):
        load_utility(mme(tmp_path, split="val"))


def test_a_subset_that_a_copy_lacks(tmp_path):
    write_copy(tmp_path, "mmmu")
    config = PublishedUtility(
        name="mmmu", root=str(tmp_path), split="validation", subsets=["Art", "Music"]
    )
    with pytest.raises(CalibError, match="Music holds no table"):
        load_utility(config)


def test_an_unknown_subject(tmp_path):
    config = PublishedUtility(name="mmmu", root=str(tmp_path), subsets=["Maths"])
    with pytest.raises(CalibError, match="MMMU has no subject 'Maths'. Did you mean 'Math'"):
        load_utility(config)


def test_an_unknown_subset_of_the_hub(tmp_path):
    copy = write_copy(tmp_path / "copy", "scienceqa")
    config = PublishedUtility(name="scienceqa", hub=str(copy), subsets=["ScienceQA-TXT"])
    with pytest.raises(CalibError, match=r"ScienceQA-TXT.*utility\.root=FOLDER"):
        load_utility(config)


def test_neither_hub_nor_copy():
    with pytest.raises(CalibError, match=r"neither utility\.hub nor utility\.root"):
        load_utility(PublishedUtility(name="pope"))


@pytest.mark.parametrize(
    "shards",
    [
        ["test-00000-of-00002-a.parquet"],
        ["test-00000-of-00002-a.parquet", "test-00000-of-00002-b.parquet"],
        ["test-00000-of-00001-a.parquet", "test-00000-of-00001-b.parquet"],
        ["test-00000-of-00001.parquet", "test-new.parquet"],
    ],
)
def test_a_table_that_is_missing_or_there_twice(tmp_path, shards):
    for shard in shards:
        write_parquet(tmp_path / "data" / shard, "mme", MME)
    with pytest.raises(CalibError, match="does not hold each of . tables once"):
        load_utility(mme(tmp_path))


def test_a_question_that_comes_twice(tmp_path):
    write_parquet(tmp_path / "data" / "test-00000-of-00001.parquet", "pope", [*POPE, POPE[0]])
    with pytest.raises(CalibError, match="two questions are called pope/random/1"):
        load_utility(PublishedUtility(name="pope", root=str(tmp_path)))


def test_pictures_that_cannot_be_read(tmp_path):
    rows = [dict(row) for row in MME]
    rows[2]["image"] = rows[3]["image"] = {"bytes": b"no picture", "path": None}
    write_parquet(tmp_path / "test-00000-of-00001.parquet", "mme", rows)
    with pytest.raises(CalibError, match=r"(?s)1 of 3 pictures.*row 2.*utility\.skip_broken=true"):
        load_utility(mme(tmp_path))
    found = load_utility(mme(tmp_path, skip_broken=True))
    assert len(found.examples) == 4
    assert found.notes[0].startswith("utility.skip_broken: 2 of 6 examples were left out")


def test_pictures_of_two_subsets_are_not_taken_for_each_other(tmp_path):
    copy = write_copy(tmp_path / "copy", "mmmu")
    broken = [{**MMMU["Math"][0], "image_1": {"bytes": b"no", "path": None}}]
    write_parquet(copy / "Math" / "validation-00000-of-00001.parquet", "mmmu", broken)
    for way in ("hub", "root"):
        config = PublishedUtility(
            name="mmmu",
            split="validation",
            subsets=["Art", "Math"],
            skip_broken=True,
            **{way: str(copy)},
        )
        assert [e.variant for e in load_utility(config)] == ["Art"]


def test_a_limit_leaves_other_pictures_unopened(tmp_path):
    rows = [dict(row) for row in MME]
    for row in rows[2:]:
        row["image"] = {"bytes": b"no picture", "path": None}
    write_parquet(tmp_path / "test-00000-of-00001.parquet", "mme", rows)
    with pytest.raises(CalibError, match="2 of 3 pictures"):
        load_utility(mme(tmp_path, validation=0.0))
    drawn = []
    for limit in (2, 4):
        try:
            load_utility(mme(tmp_path, validation=0.0, limit=limit))
        except CalibError as error:
            drawn.append(str(error).split(" pictures")[0])
    assert drawn and "2 of 3" not in drawn


def test_nothing_left_but_broken_pictures(tmp_path):
    rows = [{**row, "image": {"bytes": b"no", "path": None}} for row in MME]
    write_parquet(tmp_path / "test-00000-of-00001.parquet", "mme", rows)
    with pytest.raises(CalibError, match="has no questions"):
        load_utility(mme(tmp_path, skip_broken=True))


def test_answers_that_are_neither(tmp_path):
    rows = plain(MME, tmp_path)
    rows[1]["answer"], rows[2]["answer"] = "Maybe", "YES. "
    write_jsonl(tmp_path / "test.jsonl", rows)
    found = load_utility(mme(tmp_path))
    assert found.notes == [
        "mme: 1 of 6 questions were left out: their answer is neither yes nor no"
    ]
    assert [e.answer for e in found.examples] == ["yes", "yes", "no", "yes", "no"]
    for row in rows:
        row["answer"] = "perhaps"
    write_jsonl(tmp_path / "test.jsonl", rows)
    with pytest.raises(CalibError, match=r"no question is left \(mme: 6 of 6"):
        load_utility(mme(tmp_path))


def test_pope_leaves_out_what_has_no_answer(tmp_path):
    rows = plain(POPE, tmp_path)
    rows[0]["answer"] = ""
    write_jsonl(tmp_path / "test.jsonl", rows)
    found = load_utility(PublishedUtility(name="pope", root=str(tmp_path)))
    assert len(found.examples) == 3 and "1 of 4 questions" in found.notes[0]


def test_questions_that_name_no_photograph_share_none(tmp_path):
    rows = [{**row, "image_source": ""} for row in plain(POPE, tmp_path)]
    write_jsonl(tmp_path / "test.jsonl", rows)
    found = load_utility(PublishedUtility(name="pope", root=str(tmp_path)))
    assert len({e.pair for e in found}) == len({str(e.picture) for e in found}) == 4


def test_an_unknown_subtask(tmp_path):
    rows = [{**row, "category": "colour"} for row in plain(MME, tmp_path)]
    write_jsonl(tmp_path / "test.jsonl", rows)
    with pytest.raises(CalibError, match="no subtask 'colour'. Did you mean 'color'"):
        load_utility(mme(tmp_path))


def test_an_id_that_names_no_subject(tmp_path):
    rows = [{**row, "id": "1"} for row in plain(MMMU["Art"], tmp_path)]
    write_jsonl(tmp_path / "validation.jsonl", rows)
    config = PublishedUtility(name="mmmu", root=str(tmp_path), split="validation")
    with pytest.raises(CalibError, match="'1' is no id of MMMU"):
        load_utility(config)


def test_the_picture_of_mmmu_is_the_one_that_is_named(tmp_path):
    row = {**MMMU["Art"][0], "question": "Who drew <image 2>?", "image_2": picture("white")}
    write_parquet(tmp_path / "validation-00000-of-00001.parquet", "mmmu", [row])
    config = PublishedUtility(name="mmmu", root=str(tmp_path), split="validation")
    (found,) = load_utility(config)
    assert found.picture().convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_no_picture_outside_the_folder_is_read(tmp_path):
    (tmp_path / "secret.png").write_bytes(png("red"))
    rows = plain(MME, tmp_path / "copy")
    rows[0]["image"] = rows[1]["image"] = "../secret.png"
    write_jsonl(tmp_path / "copy" / "test.jsonl", rows)
    with pytest.raises(CalibError, match=r"row 0, column 'image'.*no path inside"):
        load_utility(mme(tmp_path / "copy"))


@pytest.mark.parametrize(
    "cell",
    [
        "__import__('os').getcwd()",
        "red, green",
        "['red', ['green']]",
        "{'red': 1}",
        "[" * 5000,
        "1+" * 9000 + "1",
        "['a'] * 9",
        "['" + "a" * 30_000 + "']",
        None,
        7,
    ],
)
def test_options_that_are_no_list(cell):
    with pytest.raises(CalibError, match="mmmu row 3 holds no list of options"):
        list_in(cell, "mmmu row 3")


def test_options_that_are_a_list():
    assert list_in("['a', \"b's\", 3]", "") == ["a", "b's", "3"]
    assert list_in(["a ", "b"], "") == ["a", "b"]


def test_more_options_than_letters(tmp_path):
    row = {**MMMU["Art"][0], "options": str(list(range(27)))}
    write_parquet(tmp_path / "validation-00000-of-00001.parquet", "mmmu", [row])
    config = PublishedUtility(name="mmmu", root=str(tmp_path), split="validation")
    with pytest.raises(CalibError, match="27 options"):
        load_utility(config)


@pytest.mark.parametrize(
    ("question", "options"),
    [
        ("Q\nOptions: A: x, B: y, C: z, D: w", "xyzw"),
        ("Q\nOptions:\nA. x\nB. y", "xy"),
        ("Q\nChoices:\n(A) x\n(B) y\n(C) z", "xyz"),
        ("Of two choices: A: or B:?\nOptions: A: x, B: y", "xy"),
    ],
)
def test_options_in_the_question(question, options):
    assert options_in(question) == dict(zip("ABCD", options, strict=False))


def test_options_in_the_picture_are_four_letters_without_text():
    assert options_in("Which of A, B, C and D?") == dict.fromkeys("ABCD", "")


def test_mmstar_answers_in_small_letters(tmp_path):
    write_parquet(tmp_path / "mmstar.parquet", "mmstar", [{**MMSTAR[0], "answer": "b"}])
    (found,) = load_utility(PublishedUtility(name="mmstar", root=str(tmp_path), split="val"))
    assert found.answer == "B"


def test_names_that_are_no_set():
    with pytest.raises(CalibError, match="utility=mms is not known. Did you mean 'mm"):
        load(PublishedUtility(name="mms"))
    with pytest.raises(CalibError, match="utility=source is not known"):
        load(PublishedUtility(name="source"))
    with pytest.raises(CalibError, match="utility=popes is not known. Did you mean 'pope'"):
        load_utility(UtilityConfig(name="popes"))
    assert load_utility(UtilityConfig(name="none")) == []
    assert load_utility(UtilityConfig(name="mini", limit=8)).notes == []
