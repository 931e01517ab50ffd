"""What was asked, written and read back: every example but for its pixels."""

import json
from dataclasses import replace

import pytest

from calib.data.example import Example
from calib.data.mini.examples import load
from calib.runs.run_files import check_distinct, read_examples, write_examples
from calib.util.errors import CalibError

EXAMPLE = Example("a", "text_centric", "none", "tools", "test", "How?", safety="safe", pair="p",
                  metadata={"request": "fold a map"}, system="Be kind.")  # fmt: skip


def test_what_was_written_is_read_back_without_pictures(tmp_path):
    examples = [*load(["image_centric"], 3), *load(["utility"], 2)]
    write_examples(tmp_path / "e.jsonl", [*examples, *examples])
    found = read_examples(tmp_path / "e.jsonl")
    assert list(found.values()) == [replace(one, picture=None) for one in examples]
    lines = [json.loads(line) for line in (tmp_path / "e.jsonl").read_text().splitlines()]
    assert len(lines) == len(examples)
    assert all(line["picture"] for line in lines if line["dataset"] == "image_centric")


@pytest.mark.parametrize("query", ["a\u2028b\u2029c\x85d\x0c", "\ud800", "\0\r\n", "{}", "é 球"])
def test_any_text_survives(tmp_path, query):
    write_examples(tmp_path / "e.jsonl", [replace(EXAMPLE, query=query)])
    assert read_examples(tmp_path / "e.jsonl") == {"a": replace(EXAMPLE, query=query)}


def damaged(**changes):
    line = {name: getattr(EXAMPLE, name) for name in (
        "id", "dataset", "variant", "category", "split", "query", "system", "safety", "pair",
        "answer")}  # fmt: skip
    return json.dumps({**line, "facts": {}, **changes}).encode()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\xff\xfe\n", "cannot be read"),
        (b'{"id": "a"', "cannot be read"),
        (b"[]\n", "line 1 is no JSON object"),
        (b"[" * 100_000, "cannot be read"),
        (damaged() + b'\n{"id": "b"}\n', "line 2 has no dataset"),
        (damaged(query=5), "line 1 has 5 for query"),
        (damaged(metadata=None), "line 1 has None for facts"),
        (damaged(pair=True), "line 1 has True for pair"),
        (damaged(safety="sure"), "example 'a' is of split 'test' and safety 'sure'"),
        (damaged(split="exam"), "split 'exam'"),
    ],
)
def test_a_damaged_file_is_explained(tmp_path, content, words):
    (tmp_path / "e.jsonl").write_bytes(content)
    with pytest.raises(CalibError, match=f"{words}.*Give the sweep's command again|{words}"):
        read_examples(tmp_path / "e.jsonl")


def test_a_run_of_an_older_calib_says_what_to_do(tmp_path):
    with pytest.raises(CalibError, match="There is no .*examples.jsonl.*older calib.*again"):
        read_examples(tmp_path / "examples.jsonl")


def test_two_examples_of_one_id_could_not_be_told_apart():
    question = replace(EXAMPLE, dataset="utility", safety=None)
    check_distinct([EXAMPLE, EXAMPLE, replace(question, id="b")])
    with pytest.raises(CalibError, match="the id 'a': one of text_centric, one of utility"):
        check_distinct([EXAMPLE, question])
