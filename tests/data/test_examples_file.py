"""examples.jsonl: every example is written and read back, without its picture."""

import json
from dataclasses import replace
from datetime import date

import pytest
from raising import raises

from calib.data.example import Example, Turn, with_pictures
from calib.data.examples_file import (
    check_distinct,
    read_examples,
    restore_pictures,
    write_examples,
)
from calib.data.mini.examples import load

EXAMPLE = Example("a", "text_centric", "none", "tools", "test", "How?", safety="safe", pair="p",
                  metadata={"request": "fold a map"}, system="Be kind.")  # fmt: skip


def test_examples_are_read_back_without_pictures(tmp_path):
    examples = [*load(["image_centric"], 3), *load(["utility"], 2)]
    write_examples(tmp_path / "e.jsonl", [*examples, *examples])
    found, pictured = read_examples(tmp_path / "e.jsonl")
    assert list(found.values()) == [replace(one, picture=None) for one in examples]
    assert pictured == {one.id for one in examples if one.picture}
    lines = [
        json.loads(line) for line in (tmp_path / "e.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert len(lines) == len(examples)
    assert all(line["picture"] for line in lines if line["dataset"] == "image_centric")


def test_earlier_turns_and_several_pictures_are_restored(tmp_path):
    shown = with_pictures(EXAMPLE, [lambda: "first", lambda: "second"])
    asked = replace(shown, demonstrations=(Turn("Where?", "Here."), Turn("Why?", "")))
    write_examples(tmp_path / "e.jsonl", [asked])
    found, pictured = read_examples(tmp_path / "e.jsonl")
    assert found == {"a": with_pictures(asked, [])} and pictured == {"a"}
    assert restore_pictures(found, [asked]) == {"a": asked}


@pytest.mark.parametrize("query", ["a\u2028b\u2029c\x85d\x0c", "\ud800", "\0\r\n", "{}", "é 球"])
def test_any_text_survives(tmp_path, query):
    write_examples(tmp_path / "e.jsonl", [replace(EXAMPLE, query=query)])
    assert read_examples(tmp_path / "e.jsonl")[0] == {"a": replace(EXAMPLE, query=query)}


def test_metadata_that_json_lacks_is_written_as_text(tmp_path):
    given = {"missing": float("nan"), "most": float("inf"), "day": date(2026, 11, 30), "count": 3}
    write_examples(tmp_path / "e.jsonl", [replace(EXAMPLE, metadata=given)])
    (found,) = read_examples(tmp_path / "e.jsonl")[0].values()
    assert found.metadata == {name: str(value) for name, value in given.items()}


def damaged(**changes):
    line = {name: getattr(EXAMPLE, name) for name in (
        "id", "dataset", "variant", "category", "split", "query", "system", "safety", "pair",
        "answer")}  # fmt: skip
    return json.dumps({**line, "facts": {}, "picture": False, **changes}).encode()


@pytest.mark.parametrize(
    ("content", "code", "value"),
    [
        (b"", "unreadable", "empty"),
        (b"\xff\xfe\n", "unreadable", "e.jsonl"),
        (b'{"id": "a"', "unreadable", "e.jsonl"),
        (b"[]\n", "unreadable", "line 1"),
        (b"[" * 100_000, "unreadable", "e.jsonl"),
        (damaged() + b'\n{"id": "b"}\n', "unreadable", "line 2"),
        (damaged(query=5), "unreadable", "query"),
        (damaged(facts=None), "unreadable", "facts"),
        (damaged(pair=True), "unreadable", "pair"),
        (damaged(history=[["a"]]), "invalid-content", "'a'"),
        (damaged(history="a"), "invalid-content", "'a'"),
        (damaged(safety="sure"), "invalid-content", "'sure'"),
        (damaged(split="exam"), "invalid-content", "'exam'"),
    ],
)
def test_a_damaged_file_is_explained(tmp_path, content, code, value):
    (tmp_path / "e.jsonl").write_bytes(content)
    with raises(code, "e.jsonl", value):
        read_examples(tmp_path / "e.jsonl")


def test_two_examples_with_one_id_are_refused():
    question = replace(EXAMPLE, dataset="utility", safety=None)
    check_distinct([EXAMPLE, EXAMPLE, replace(question, id="b")])
    with raises("duplicate", "'a'", "text_centric", "utility"):
        check_distinct([EXAMPLE, question])
