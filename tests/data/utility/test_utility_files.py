"""Local tables of utility questions in other formats, and errors in their files."""

import csv
import json
from pathlib import Path

import pytest
from raising import raises
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
from calib.data.utility.mmstar import find_options
from calib.data.utility.question import letter_options, parse_options
from calib.util.errors import CalibError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    # The tables of the tests are small: no note says that rows are missing.
    monkeypatch.setattr("calib.data.utility.question.size_note", lambda *_: [])


def mme(root: Path | str, **settings) -> PublishedUtility:
    return PublishedUtility(name="mme", root=str(root), **settings)


def plain(rows: list[dict], folder: Path) -> list[dict]:
    """The rows with pictures written to ``folder`` and replaced by their paths."""
    rows_with_paths = []
    for k, row in enumerate(rows):
        cells = dict(row)
        for column, cell in row.items():
            if isinstance(cell, dict):
                (folder / "images").mkdir(parents=True, exist_ok=True)
                (folder / "images" / f"{k}_{column}.png").write_bytes(cell["bytes"])
                cells[column] = f"images/{k}_{column}.png"
        rows_with_paths.append(cells)
    return rows_with_paths


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_tsv(path: Path, rows: list[dict]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.parametrize("file", ["test.jsonl", "MME.jsonl", "data/test.jsonl"])
def test_a_table_is_found_by_the_name_of_the_split_or_the_set(tmp_path, file):
    path = tmp_path / file
    write_jsonl(path, plain(MME, path.parent))
    examples = load_utility(mme(tmp_path)).examples
    assert len(examples) == 6
    assert examples[0].picture().convert("RGB").getpixel((0, 0)) == (255, 0, 0)
    assert [e.id for e in load_utility(mme(path)).examples] == [e.id for e in examples]


def test_scienceqa_as_tsv_with_options_as_text(tmp_path):
    write_tsv(tmp_path / "scienceqa.tsv", plain(SCIENCEQA, tmp_path))
    config = PublishedUtility(name="scienceqa", root=str(tmp_path), subsets=["ScienceQA-IMG"])
    benchmark = load_utility(config)
    assert [(e.id, e.answer) for e in benchmark.examples] == [
        ("scienceqa/0", "B"),
        ("scienceqa/2", "A"),
    ]
    assert len(benchmark.notes) == 2


def test_a_single_table_of_mmmu_is_filtered_by_subject(tmp_path):
    rows = [row for subject in MMMU.values() for row in subject]
    write_parquet(tmp_path / "data" / "validation-00000-of-00001.parquet", "mmmu", rows)
    for subsets, wanted in (([], ["Art", "Math"]), (["Math"], ["Math"])):
        config = PublishedUtility(
            name="mmmu", root=str(tmp_path), split="validation", subsets=subsets
        )
        assert [e.variant for e in load_utility(config).examples] == wanted


def test_parquet_takes_precedence_over_other_formats(tmp_path):
    write_copy(tmp_path, "mmstar")
    (tmp_path / "MMStar.tsv").write_text("index\timage\n", encoding="utf-8")
    config = PublishedUtility(name="mmstar", root=str(tmp_path), split="val")
    assert len(load_utility(config).examples) == 2


def test_a_missing_column_is_reported_with_the_nearest_name(tmp_path):
    rows = [{**row, "questions": row["question"]} for row in plain(MME, tmp_path)]
    for row in rows:
        del row["question"]
    write_jsonl(tmp_path / "test.jsonl", rows)
    with raises("missing-column", "'question'", "'questions'"):
        load_utility(mme(tmp_path))


def test_a_table_without_rows_is_refused(tmp_path):
    write_jsonl(tmp_path / "test.jsonl", [])
    with raises("too-few", "test.jsonl"):
        load_utility(mme(tmp_path))


def test_a_missing_folder_or_table_is_refused(tmp_path):
    with raises("not-found", f"utility.root={tmp_path / 'nowhere'}"):
        load_utility(mme(tmp_path / "nowhere"))
    with raises("not-found", tmp_path, "'test'", "mme", "test-*"):
        load_utility(mme(tmp_path))
    write_copy(tmp_path, "mme")
    with raises("not-found", "'val'"):
        load_utility(mme(tmp_path, split="val"))


def test_a_subset_that_a_copy_lacks_is_refused(tmp_path):
    write_copy(tmp_path, "mmmu")
    config = PublishedUtility(
        name="mmmu", root=str(tmp_path), split="validation", subsets=["Art", "Music"]
    )
    with raises("not-found", tmp_path / "Music"):
        load_utility(config)


def test_an_unknown_subject_is_reported_with_the_nearest(tmp_path):
    config = PublishedUtility(name="mmmu", root=str(tmp_path), subsets=["Maths"])
    with raises("invalid-setting", "utility.subsets", "'Maths'", "'Math'?"):
        load_utility(config)


def test_an_unknown_subset_of_the_hub_is_refused(tmp_path):
    copy = write_copy(tmp_path / "copy", "scienceqa")
    config = PublishedUtility(name="scienceqa", hub=str(copy), subsets=["ScienceQA-TXT"])
    with raises("endpoint", "ScienceQA-TXT", "utility.root=FOLDER"):
        load_utility(config)


def test_hub_or_root_is_required():
    with raises("missing-setting", "utility=pope", "utility.hub", "utility.root"):
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
def test_missing_or_duplicate_shards_are_refused(tmp_path, shards):
    for shard in shards:
        write_parquet(tmp_path / "data" / shard, "mme", MME)
    with raises("invalid-content", tmp_path / "data", *shards):
        load_utility(mme(tmp_path))


def test_a_duplicate_question_is_refused(tmp_path):
    write_parquet(tmp_path / "data" / "test-00000-of-00001.parquet", "pope", [*POPE, POPE[0]])
    with raises("duplicate", "pope/random/1"):
        load_utility(PublishedUtility(name="pope", root=str(tmp_path)))


def test_unreadable_pictures_are_refused_or_skipped(tmp_path):
    rows = [dict(row) for row in MME]
    rows[2]["image"] = rows[3]["image"] = {"bytes": b"no picture", "path": None}
    write_parquet(tmp_path / "test-00000-of-00001.parquet", "mme", rows)
    with raises("unreadable", "1 of 3", "row 3", "utility.skip_broken=true"):
        load_utility(mme(tmp_path))
    benchmark = load_utility(mme(tmp_path, skip_broken=True))
    assert len(benchmark.examples) == 4
    assert "utility.skip_broken" in benchmark.notes[0] and "2 of 6" in benchmark.notes[0]


def test_pictures_of_different_subsets_are_distinguished(tmp_path):
    copy = write_copy(tmp_path / "copy", "mmmu")
    broken = [{**MMMU["Math"][0], "image_1": {"bytes": b"no", "path": None}}]
    write_parquet(copy / "Math" / "validation-00000-of-00001.parquet", "mmmu", broken)
    for source in ("hub", "root"):
        config = PublishedUtility(
            name="mmmu",
            split="validation",
            subsets=["Art", "Math"],
            skip_broken=True,
            **{source: str(copy)},
        )
        assert [e.variant for e in load_utility(config).examples] == ["Art"]


def test_pictures_beyond_the_limit_are_not_opened(tmp_path):
    rows = [dict(row) for row in MME]
    for row in rows[2:]:
        row["image"] = {"bytes": b"no picture", "path": None}
    write_parquet(tmp_path / "test-00000-of-00001.parquet", "mme", rows)
    with raises("unreadable", "2 of 3"):
        load_utility(mme(tmp_path, validation=0.0))
    messages = []
    for limit in (2, 4):
        try:
            load_utility(mme(tmp_path, validation=0.0, limit=limit))
        except CalibError as error:
            messages.append(str(error))
    assert messages and not any("2 of 3" in message for message in messages)


def test_a_set_without_readable_pictures_is_refused(tmp_path):
    rows = [{**row, "image": {"bytes": b"no", "path": None}} for row in MME]
    write_parquet(tmp_path / "test-00000-of-00001.parquet", "mme", rows)
    with raises("too-few", "utility=mme", "6 of 6"):
        load_utility(mme(tmp_path, skip_broken=True))


def test_answers_other_than_yes_and_no_are_skipped(tmp_path):
    rows = plain(MME, tmp_path)
    rows[1]["answer"], rows[2]["answer"] = "Maybe", "YES. "
    write_jsonl(tmp_path / "test.jsonl", rows)
    benchmark = load_utility(mme(tmp_path))
    (note,) = benchmark.notes
    assert note.startswith("mme: ") and "1 of 6" in note
    assert [e.answer for e in benchmark.examples] == ["yes", "yes", "no", "yes", "no"]
    for row in rows:
        row["answer"] = "perhaps"
    write_jsonl(tmp_path / "test.jsonl", rows)
    with raises("too-few", "utility=mme", "6 of 6"):
        load_utility(mme(tmp_path))


def test_pope_skips_questions_without_an_answer(tmp_path):
    rows = plain(POPE, tmp_path)
    rows[0]["answer"] = ""
    write_jsonl(tmp_path / "test.jsonl", rows)
    benchmark = load_utility(PublishedUtility(name="pope", root=str(tmp_path)))
    assert len(benchmark.examples) == 3 and "1 of 4 questions" in benchmark.notes[0]


def test_questions_without_a_photograph_name_are_independent(tmp_path):
    rows = [{**row, "image_source": ""} for row in plain(POPE, tmp_path)]
    write_jsonl(tmp_path / "test.jsonl", rows)
    examples = load_utility(PublishedUtility(name="pope", root=str(tmp_path))).examples
    assert len({e.pair for e in examples}) == len({str(e.picture) for e in examples}) == 4


def test_an_unknown_subtask_is_reported_with_the_nearest(tmp_path):
    rows = [{**row, "category": "colour"} for row in plain(MME, tmp_path)]
    write_jsonl(tmp_path / "test.jsonl", rows)
    with raises("invalid-value", "'colour'", "'color'?"):
        load_utility(mme(tmp_path))


def test_an_id_without_a_subject_is_refused(tmp_path):
    rows = [{**row, "id": "1"} for row in plain(MMMU["Art"], tmp_path)]
    write_jsonl(tmp_path / "validation.jsonl", rows)
    config = PublishedUtility(name="mmmu", root=str(tmp_path), split="validation")
    with raises("invalid-value", "row 1", "'1'"):
        load_utility(config)


def test_the_question_determines_the_picture_of_mmmu(tmp_path):
    row = {**MMMU["Art"][0], "question": "Who drew <image 2>?", "image_2": picture("white")}
    write_parquet(tmp_path / "validation-00000-of-00001.parquet", "mmmu", [row])
    config = PublishedUtility(name="mmmu", root=str(tmp_path), split="validation")
    (example,) = load_utility(config).examples
    assert example.picture().convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_the_pictures_of_mmmu_are_counted_as_they_are_shown(tmp_path):
    row = {**MMMU["Art"][0], "question": "<image 3> or <image 2>?", "image_2": picture("white"),
           "image_3": picture("blue")}  # fmt: skip
    path = tmp_path / "validation-00000-of-00001.parquet"
    write_parquet(path, "mmmu", [row])
    config = PublishedUtility(
        name="mmmu", root=str(tmp_path), split="validation", several_pictures=True
    )
    (example,) = load_utility(config).examples
    assert example.query.startswith("<image 2> or <image 1>?\n")
    colours = [shown().convert("RGB").getpixel((0, 0)) for shown in example.pictures]
    assert colours == [(255, 255, 255), (0, 0, 255)]
    write_parquet(path, "mmmu", [{**row, "image_3": None}])
    with raises("unreadable", "'image_3'"):
        load_utility(config)


def test_pictures_outside_the_folder_are_refused(tmp_path):
    (tmp_path / "secret.png").write_bytes(png("red"))
    rows = plain(MME, tmp_path / "copy")
    rows[0]["image"] = rows[1]["image"] = "../secret.png"
    write_jsonl(tmp_path / "copy" / "test.jsonl", rows)
    with raises("invalid-value", "row 1, column 'image'", "../secret.png"):
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
def test_options_that_are_not_a_list_are_refused(cell):
    with raises("invalid-value", "mmmu row 3"):
        parse_options(cell, "mmmu row 3")


@pytest.mark.parametrize(
    "cell", ["['red' 'green' 'blue']", "['red'\n 'green'\n 'blue']", "['red', 'green' 'blue']"]
)
def test_options_without_commas_are_refused(cell):
    with raises("invalid-value", "mmmu row 3"):
        parse_options(cell, "mmmu row 3")


@pytest.mark.parametrize("texts", [[], ["redgreenblue"]])
def test_fewer_than_two_options_are_refused(texts):
    with raises("too-few", "mmmu row 3", str(len(texts))):
        letter_options(texts, "mmmu row 3")


def test_options_are_parsed_from_text_or_list():
    assert parse_options("['a', \"b's\", 3]", "") == ["a", "b's", "3"]
    assert parse_options(["a ", "b"], "") == ["a", "b"]


def test_more_options_than_letters_are_refused(tmp_path):
    row = {**MMMU["Art"][0], "options": str(list(range(27)))}
    write_parquet(tmp_path / "validation-00000-of-00001.parquet", "mmmu", [row])
    config = PublishedUtility(name="mmmu", root=str(tmp_path), split="validation")
    with raises("too-large", "27"):
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
def test_options_are_found_in_the_question(question, options):
    assert find_options(question) == dict(zip("ABCD", options, strict=False))


def test_without_options_in_the_text_there_are_four_empty_ones():
    assert find_options("Which of A, B, C and D?") == dict.fromkeys("ABCD", "")


def test_mmstar_accepts_lower_case_answers(tmp_path):
    write_parquet(tmp_path / "mmstar.parquet", "mmstar", [{**MMSTAR[0], "answer": "b"}])
    config = PublishedUtility(name="mmstar", root=str(tmp_path), split="val")
    (example,) = load_utility(config).examples
    assert example.answer == "B"


def test_unknown_names_are_reported_with_the_nearest():
    with raises("unknown-name", "utility=mms", "'mm"):
        load(PublishedUtility(name="mms"))
    with raises("unknown-name", "utility=source"):
        load(PublishedUtility(name="source"))
    with raises("unknown-name", "utility=popes", "'pope'?"):
        load_utility(UtilityConfig(name="popes"))
    assert load_utility(UtilityConfig(name="none")).examples == []
    assert load_utility(UtilityConfig(name="mini", limit=8)).notes == []
