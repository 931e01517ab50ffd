"""The user's own pairs: every accepted layout, and errors in their files."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from raising import raises

from calib.config.data import PairsData
from calib.data.benchmarks import load_benchmark
from calib.data.example import Turn, pairs

ROWS = [
    {"pair": "a", "safety": "safe", "query": "How do I use this?", "image": "p/spoon.png"},
    {"pair": "a", "safety": "unsafe", "query": "How do I use this?", "image": "p/knife.png"},
    {"pair": "b", "safety": "safe", "query": "How do I paint a wall?", "image": ""},
    {"pair": "b", "safety": "unsafe", "query": "How do I paint a stranger's wall?", "image": ""},
    {"pair": "", "safety": "unsafe", "query": "How do I open a locked door?", "image": ""},
]


def picture(path: Path, grey: int = 128) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), (grey, grey, grey)).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    picture(tmp_path / "p/spoon.png", 10)
    picture(tmp_path / "p/knife.png", 20)
    return tmp_path


def written(folder: Path, rows, name: str = "pairs.csv") -> Path:
    path = folder / name
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
    return path


def load(path: Path, **settings):
    return load_benchmark(PairsData(file=str(path), **settings))


def refused(path: Path, code: str, *values: object, **settings) -> None:
    with raises(code, *values):
        load(path, **settings)


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.jsonl", "pairs.parquet"])
def test_a_table_of_queries(folder, name):
    benchmark = load(written(folder, ROWS, name))
    first, second, third, fourth, last = benchmark.examples
    assert (first.safety, second.safety) == ("safe", "unsafe")
    assert first.query == second.query == "How do I use this?"
    assert first.pair == second.pair == "pairs/a"
    assert first.split == second.split
    assert first.dataset == "image_centric"
    assert first.picture().getpixel((0, 0)) == (10, 10, 10)
    assert (third.dataset, third.variant, third.picture) == ("text_centric", "text_only", None)
    assert fourth.query == "How do I paint a stranger's wall?"
    assert last.pair is None
    assert len({example.id for example in benchmark.examples}) == 5
    assert len(pairs(benchmark.examples)) == 2
    (note,) = benchmark.notes
    assert all(value in note for value in (name, "5 queries", "1 of them", "(row 5)"))


def test_both_twins_in_a_row(folder):
    rows = [{"query": "And this?", "safe_image": "p/spoon.png", "unsafe_image": "p/knife.png"}]
    safe, unsafe = load(written(folder, rows)).examples
    assert safe.query == unsafe.query == "And this?"
    assert (safe.safety, unsafe.safety) == ("safe", "unsafe")
    assert unsafe.picture().getpixel((0, 0)) == (20, 20, 20)
    assert safe.dataset == unsafe.dataset == "image_centric"
    assert safe.pair == unsafe.pair
    assert safe.id != unsafe.id


def test_both_texts_in_a_row_share_the_picture(folder):
    rows = [{"safe_query": "Peel it?", "unsafe_query": "Throw it?", "image": "p/knife.png"}]
    safe, unsafe = load(written(folder, rows)).examples
    assert (safe.query, unsafe.query) == ("Peel it?", "Throw it?")
    assert safe.dataset == "text_centric"
    assert safe.picture == unsafe.picture


def test_one_query_for_all_rows(folder):
    rows = [{"safety": "safe", "image": "p/spoon.png", "pair": "a"}]
    (example,) = load(written(folder, rows), query="What now?").examples
    assert example.query == "What now?"


def test_two_folders_of_pictures(tmp_path):
    for name in ("safe/b.png", "safe/a.png", "unsafe/a.jpg", "unsafe/b.png", "unsafe/c.png"):
        picture(tmp_path / name)
    benchmark = load(tmp_path, query="How do I use this?")
    assert [(e.pair, e.safety) for e in benchmark.examples] == [
        ("pairs/a", "safe"), ("pairs/a", "unsafe"), ("pairs/b", "safe"), ("pairs/b", "unsafe"),
        ("pairs/c", "unsafe"),
    ]  # fmt: skip
    assert "5 queries" in benchmark.notes[0] and "(unsafe/c.png, pair 'c')" in benchmark.notes[0]


def test_a_damaged_picture_of_a_folder_is_named_once(tmp_path):
    picture(tmp_path / "unsafe/a.png")
    (tmp_path / "safe").mkdir()
    (tmp_path / "safe/a.png").write_bytes(b"no picture")
    with raises("unreadable", "safe/a.png") as caught:
        load(tmp_path, query="How do I use this?")
    assert str(caught.value).count("a.png") == 1


def test_optional_columns_replace_the_defaults(folder):
    columns = {"part": "dual_use", "split": "train", "category": "tools", "variant": "drawn",
            "request": "use a spoon", "id": "first"}  # fmt: skip
    (example,) = load(written(folder, [ROWS[0] | columns])).examples
    assert (example.dataset, example.split, example.category) == ("dual_use", "train", "tools")
    assert (example.variant, example.metadata, example.id) == (
        "drawn", {"request": "use a spoon"}, "pairs/first",
    )  # fmt: skip


def test_the_column_cluster_declares_concepts_that_splits_keep_together(folder):
    rows = [
        {"safety": safety, "query": f"{safety} {k}", "pair": str(k), "cluster": str(k % 6)}
        for k in range(60)
        for safety in ("safe", "unsafe")
    ]
    examples = load(written(folder, rows)).examples
    assert {e.cluster for e in examples} == {f"concept/{k}" for k in range(6)}
    splits = {(e.concept, e.split) for e in examples}
    assert len(splits) == 6 and {split for _, split in splits} == {"train", "validation", "test"}
    by_pair = load(written(folder, rows), split_by="pair").examples
    assert len({(e.concept, e.split) for e in by_pair}) > 6


def test_a_misspelt_pair_is_named(folder):
    rows = [*ROWS[:3], ROWS[3] | {"pair": "bb"}]
    (note,) = load(written(folder, rows)).notes
    assert "row 3, pair 'b'; row 4, pair 'bb'" in note


def test_twins_in_two_clusters_are_refused(folder):
    rows = [row | {"cluster": str(k)} for k, row in enumerate(ROWS[:2])]
    with raises("mismatch", "'a'", "'0'", "'1'", "'cluster'"):
        load(written(folder, rows))


def test_a_split_in_the_table_decides_for_its_cluster(folder):
    rows = [row | {"cluster": "x"} for row in ROWS[:4]]
    rows = [row | {"split": "validation" if row["pair"] == "a" else ""} for row in rows]
    assert {e.split for e in load(written(folder, rows)).examples} == {"validation"}


def test_splits_follow_the_shares(folder):
    rows = [{"safety": "safe", "query": f"What is {k}?", "pair": str(k)} for k in range(200)]
    path = written(folder, rows)
    splits = [example.split for example in load(path, train=0.5, validation=0.1).examples]
    assert 80 <= splits.count("train") <= 120
    assert 8 <= splits.count("validation") <= 35
    assert {e.split for e in load(path, train=0, validation=0).examples} == {"test"}


def test_the_root_of_the_pictures(folder, tmp_path):
    elsewhere = tmp_path / "tables"
    elsewhere.mkdir()
    path = written(elsewhere, ROWS)
    assert load(path, root=str(folder)).examples[0].picture() is not None
    refused(path, "unreadable", "2 of 2")


def test_a_missing_column_is_reported_with_the_nearest_name(folder):
    rows = [{"safty": "safe", "query": "What?"}]
    refused(written(folder, rows), "missing-column", "'safety'", "'safty'", "'query'")
    refused(written(folder, [{"safe_image": "p/spoon.png"}]), "missing-column", "'unsafe_image'")


@pytest.mark.parametrize(
    ("query", "safety"),
    [("question", "label"), ("Prompt", "safe"), ("text", "is_safe"), ("instruction", "SAFETY")],
)
def test_missing_columns_are_reported_with_their_synonyms(folder, query, safety):
    path = written(folder, [{query: "What?", safety: "safe"}])
    refused(path, "missing-column", f"'{query}'", f"'{safety}'", "'query'.", "'safety'.")


def test_both_twins_in_a_row_may_have_a_column_label(folder):
    row = {"safe_query": "Peel it?", "unsafe_query": "Throw it?", "label": "x", "instruction": "y"}
    benchmark = load(written(folder, [row]))
    assert "'label', 'instruction'" in benchmark.notes[-1]


def test_a_table_without_twins_says_what_works(folder):
    rows = [{"safety": "safe", "query": "What?"}, {"safety": "unsafe", "query": "Who?"}]
    notes = load(written(folder, rows)).notes
    assert sum("method.direction=FILE" in note for note in notes) == 1
    assert not any("method.direction" in note for note in load(written(folder, ROWS)).notes)


def test_a_row_that_is_neither_safe_nor_unsafe_is_refused(folder):
    path = written(folder, [ROWS[0] | {"safety": "maybe"}])
    refused(path, "invalid-value", "row 1", "'maybe'", "safe or unsafe")


def test_an_empty_query_is_refused(folder):
    path = written(folder, [ROWS[0] | {"query": " "}])
    refused(path, "missing-value", "row 1", "'query'", "data.query")


@pytest.mark.parametrize(
    ("column", "value", "nearest"),
    [("part", "image_centrik", "image_centric"), ("split", "tests", "test")],
)
def test_unknown_parts_and_splits_are_refused(folder, column, value, nearest):
    path = written(folder, [ROWS[0] | {column: value}])
    refused(path, "invalid-value", "row 1", f"'{value}'", f"'{nearest}'")


def test_ids_are_unique(folder):
    rows = [ROWS[0] | {"id": "x"}, ROWS[1] | {"id": "x"}]
    refused(written(folder, rows), "duplicate", "row 2", "'x'", "row 1")


@pytest.mark.parametrize("name", ["../out.png", "/etc/hostname", "C:\\x.png", "p/../../x.png"])
def test_a_picture_outside_the_root_is_refused(folder, name):
    path = written(folder, [ROWS[0] | {"image": name}])
    refused(path, "invalid-value", "row 1", repr(name))


def test_links_in_the_root_are_followed(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    picture(elsewhere / "x.png")
    (folder / "p/link.png").symlink_to(elsewhere / "x.png")
    (folder / "linked").symlink_to(elsewhere)
    cells = ["p/link.png", "linked/x.png", str(folder / "p/link.png")]
    rows = [ROWS[0] | {"image": cell, "pair": str(k)} for k, cell in enumerate(cells)]
    assert len(load(written(folder, rows)).examples) == 3


def test_broken_pictures_are_listed_before_anything_runs(folder):
    rows = [ROWS[0] | {"image": f"p/{k}.png", "pair": str(k)} for k in range(12)]
    (folder / "p/0.png").write_bytes(b"no picture")
    path = written(folder, [*rows, *ROWS[:2]])
    with raises("unreadable", "12 of 14", "2 more", "data.skip_broken=true") as caught:
        load(path)
    assert str(caught.value).count("\n  Picture") == 10
    assert "row 2, column 'image'" in str(caught.value)

    benchmark = load(path, skip_broken=True)
    assert [example.pair for example in benchmark.examples] == ["pairs/a", "pairs/a"]
    assert "12 of 14 examples" in benchmark.notes[-1]


def test_an_image_bomb_is_refused(folder):
    Image.fromarray(np.zeros((9000, 9000), dtype=bool)).save(folder / "p/bomb.png")
    path = written(folder, [ROWS[0] | {"image": "p/bomb.png"}])
    refused(path, "unreadable", "p/bomb.png", "9000 x 9000")


def test_an_empty_selection_is_refused(folder):
    path = written(folder, [ROWS[0] | {"image": "p/none.png"}])
    refused(path, "too-few", "data=pairs", "1 of 1 examples", skip_broken=True)


def test_missing_files_and_settings_are_refused(tmp_path):
    with raises("missing-setting", "data.file"):
        load_benchmark(PairsData())
    refused(tmp_path / "none.csv", "not-found", "none.csv")
    refused(tmp_path, "missing-setting", "data.query", query=None)
    refused(tmp_path, "not-found", "'safe'", query="What?")
    (tmp_path / "safe").mkdir()
    refused(tmp_path, "too-few", tmp_path / "safe", query="What?")
    missing = str(tmp_path / "nowhere")
    refused(written(tmp_path, ROWS), "not-found", f"data.root={missing}", root=missing)


@pytest.mark.parametrize(
    ("column", "meant"),
    [
        ("Image", "image"), ("image_path", "image"), ("img", "image"), ("imge", "image"),
        ("Pair", "pair"), ("pair_id", "pair"), ("Split", "split"), ("Part", "part"),
        ("clusters", "cluster"),
    ],
)  # fmt: skip
def test_a_misnamed_optional_column_is_refused_with_the_name(tmp_path, column, meant):
    rows = [{"safety": "safe", "query": "How do I paint a wall?", column: "x"}]
    refused(written(tmp_path, rows), "unknown-name", f"'{column}'", f"'{meant}'")


def test_pictures_that_no_column_shows_are_refused(folder):
    rows = [{"safety": "safe", "query": "Use this?", "thing": "p/spoon.png"}]
    refused(written(folder, rows), "unknown-name", "'thing'", "'image'")
    rows[0]["image"] = "p/knife.png"
    assert "'thing'" in load(written(folder, rows)).notes[-1]


def test_a_misnamed_picture_of_one_twin_is_refused(folder):
    rows = [{"query": "Use this?", "safe_img": "p/spoon.png", "unsafe_image": "p/knife.png"}]
    refused(written(folder, rows), "missing-column", "'safe_img'", "'safe_image'")
    del rows[0]["safe_img"]
    refused(written(folder, rows), "missing-column", "'safe_image'")


def test_other_columns_are_noted_once(folder):
    path = written(folder, [{**row, "Notes": "", "annotator": "7"} for row in ROWS])
    notes = [note for note in load(path).notes if "'Notes', 'annotator'" in note]
    assert len(notes) == 1


def greys(example):
    return [picture().getpixel((0, 0))[0] for picture in example.pictures]


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.jsonl", "pairs.parquet"])
def test_several_pictures_of_a_query(folder, name):
    picture(folder / "p/fork.png", 30)
    more = {0: ("p/fork.png", ""), 1: ("p/spoon.png", "p/fork.png")}
    rows = [
        {**row, "image2": more.get(k, ("", ""))[0], "image3": more.get(k, ("", ""))[1]}
        for k, row in enumerate(ROWS)
    ]
    examples = load(written(folder, rows, name)).examples
    assert [greys(example) for example in examples] == [[10, 30], [20, 10, 30], [], [], []]
    assert examples[0].dataset == "image_centric" and examples[0].variant == "photo"


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.jsonl", "pairs.parquet"])
def test_a_list_of_pictures(folder, name):
    lists = [["p/spoon.png"], ["p/knife.png", "p/spoon.png"]]
    if name == "pairs.csv":
        lists = ["p/spoon.png", json.dumps(lists[1])]
    rows = [
        {key: value for key, value in row.items() if key != "image"} | {"images": listed}
        for row, listed in zip(ROWS, lists, strict=False)
    ]
    examples = load(written(folder, rows, name)).examples
    assert [greys(example) for example in examples] == [[10], [20, 10]]


def test_twins_with_several_pictures_in_a_row(folder):
    picture(folder / "p/fork.png", 30)
    row = {"query": "Use this?", "safe_image": "p/spoon.png", "unsafe_image": "p/knife.png",
           "image2": "p/fork.png", "safe_image3": "p/knife.png", "unsafe_image3": ""}  # fmt: skip
    safe, unsafe = load(written(folder, [row])).examples
    assert (greys(safe), greys(unsafe)) == ([10, 30, 20], [20, 30])
    del row["unsafe_image3"]
    refused(written(folder, [row]), "missing-column", "'unsafe_image3'")


def test_every_picture_is_checked(folder):
    rows = [{**row, "image2": "p/gone.png" if k == 1 else ""} for k, row in enumerate(ROWS)]
    path = written(folder, rows)
    refused(path, "unreadable", "gone.png")
    left = load(path, skip_broken=True).examples
    assert [example.id for example in left] == ["pairs/0", "pairs/2", "pairs/3", "pairs/4"]
    rows[1]["image2"] = "../gone.png"
    refused(written(folder, rows), "invalid-value", "row 2", "'image2'")


@pytest.mark.parametrize("column", ["image_2", "Image 2", "picture3", "safe_image_2", "image17"])
def test_a_misnamed_further_picture_is_refused(folder, column):
    path = written(folder, [{**row, column: "p/spoon.png"} for row in ROWS])
    refused(path, "unknown-name", f"'{column}'", "image2")


def test_a_list_of_pictures_beside_single_ones_is_refused(folder):
    path = written(folder, [{**row, "images": '["p/spoon.png"]'} for row in ROWS])
    refused(path, "conflicting-settings", "images")


HISTORY = (Turn("I have a shed.", "Nice."), Turn("It is locked.", "Oh."))
TEXTS = [text for turn in HISTORY for text in (turn.query, turn.response)]
ROLES = ("user", "assistant") * 2
HISTORIES = [
    [{"role": role, "content": text} for role, text in zip(ROLES, TEXTS, strict=True)],
    [{"from": {"user": "human", "assistant": "gpt"}[role], "value": text}
     for role, text in zip(ROLES, TEXTS, strict=True)],
    [[turn.query, turn.response] for turn in HISTORY],
]  # fmt: skip


@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("name", ["pairs.csv", "pairs.jsonl", "pairs.parquet"])
def test_the_earlier_turns_of_a_query(folder, name, history):
    cells = [history, None, [], history, None] if name != "pairs.csv" else [
        json.dumps(history), "", "[]", json.dumps(history), "",
    ]  # fmt: skip
    rows = [{**row, "history": cell} for row, cell in zip(ROWS, cells, strict=True)]
    examples = load(written(folder, rows, name)).examples
    turns = [example.demonstrations for example in examples]
    assert turns == [HISTORY, (), (), HISTORY, ()]
    # The twins of the first pair differ in more than the picture.
    assert {example.dataset for example in examples} == {"text_centric"}


MESSAGE = HISTORIES[0]


@pytest.mark.parametrize(
    ("history", "code"),
    [
        ("And then?", "invalid-value"),
        ("7", "invalid-value"),
        (json.dumps({"role": "user", "content": "a"}), "invalid-value"),
        (json.dumps(MESSAGE[:1]), "missing-value"),
        (json.dumps(MESSAGE[:3]), "missing-value"),
        (json.dumps(MESSAGE[1:]), "invalid-value"),
        (json.dumps([{"role": "system", "content": "a"}, *MESSAGE]), "invalid-value"),
        (json.dumps(["a", "b"]), "invalid-value"),
        (json.dumps([["a", "b"], ["c"]]), "missing-value"),
        (json.dumps([["a", None]]), "unsupported"),
        (json.dumps([{**MESSAGE[0], "content": [{"type": "image"}]}, MESSAGE[1]]), "unsupported"),
        (json.dumps([{**MESSAGE[0], "images": ["p/knife.png"]}, MESSAGE[1]]), "unsupported"),
        (json.dumps([MESSAGE[0], {**MESSAGE[1], "tool_calls": [{"id": "1"}]}]), "unsupported"),
        ("[" * 100_000, "invalid-value"),
    ],
)
def test_earlier_turns_that_cannot_be_read_are_refused(folder, history, code):
    rows = [{**row, "history": history} for row in ROWS]
    refused(written(folder, rows), code, "row 1", "'history'")


def test_a_column_of_whole_conversations_is_refused(folder):
    path = written(folder, [{**row, "messages": "[]"} for row in ROWS])
    refused(path, "unsupported", "'messages'", "history")


def test_the_column_system_is_the_system_prompt_of_its_row(folder):
    path = written(folder, [{**row, "system": f"Be {k}." * (k > 0)} for k, row in enumerate(ROWS)])
    systems = [example.system for example in load(path, system="Be kind.").examples]
    assert systems == ["Be kind.", "Be 1.", "Be 2.", "Be 3.", "Be 4."]


def test_white_space_inside_a_query_is_kept(tmp_path):
    query = "Explain:\n\ndef f():\n    return  1"
    path = written(tmp_path, [{"safety": "safe", "query": f" {query}\n"}], "pairs.jsonl")
    assert load(path).examples[0].query == query


def test_twins_in_different_splits_are_refused(tmp_path):
    rows = [
        {"pair": "a", "safety": side, "query": side, "split": split}
        for side, split in (("safe", "train"), ("unsafe", "test"))
    ]
    refused(written(tmp_path, rows), "mismatch", "'a'", "train", "test")


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_twin_without_a_split_joins_the_split_of_the_other(tmp_path, split):
    rows = [
        {"pair": "a", "safety": "safe", "query": "safe", "split": split},
        {"pair": "a", "safety": "unsafe", "query": "unsafe", "split": ""},
    ]
    assert {example.split for example in load(written(tmp_path, rows)).examples} == {split}


def test_columns_that_twins_in_a_row_replace_are_noted(folder):
    row = {"query": "Q?", "image": "p/knife.png", "safety": "safe", "safe_image": "p/spoon.png"}
    benchmark = load(written(folder, [row | {"unsafe_image": "p/knife.png"}]))
    assert any("not read: 'safety', 'image'" in note for note in benchmark.notes)
    assert [e.query for e in benchmark.examples] == ["Q?", "Q?"]


@pytest.mark.parametrize("pictures", [("p/knife.png", ""), ("", "p/knife.png")])
def test_a_query_with_and_without_a_picture_are_twins(folder, pictures):
    rows = [
        {"pair": "a", "safety": safety, "query": "Q?", "image": picture}
        for safety, picture in zip(("safe", "unsafe"), pictures, strict=True)
    ]
    benchmark = load(written(folder, rows))
    (pair,) = pairs(benchmark.examples)
    assert pair.safe.dataset == pair.unsafe.dataset == "image_centric"


def test_pictures_and_texts_of_one_pair_are_paired_among_themselves(folder):
    rows = [
        {"pair": "a", "safety": safety, "query": f"{safety}?", "image": picture}
        for safety in ("safe", "unsafe")
        for picture in ("", "p/knife.png")
    ]
    found = pairs(load(written(folder, rows)).examples)
    assert [(p.safe.variant, p.unsafe.variant) for p in found] == [
        ("text_only", "text_only"),
        ("photo", "photo"),
    ]


def test_a_query_with_both_labels_is_noted(folder):
    rows = [{"safety": s, "query": "Q?", "image": "p/knife.png"} for s in ("safe", "unsafe")]
    path = written(folder, rows)
    assert any("n=1" in note and "row 1" in note for note in load(path).notes)
    written(folder, [*ROWS, {**ROWS[0], "query": "Another?", "pair": "c"}])
    assert len(load(path).notes) == 1


def test_a_row_whose_number_is_the_pair_of_another_is_refused(tmp_path):
    rows = [{"safe_query": "S", "unsafe_query": "U", "pair": pair} for pair in ("1", "")]
    refused(written(tmp_path, rows), "missing-value", "row 2", "'1'")
