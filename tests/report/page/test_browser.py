"""The data of the example browser: every response on test with its label."""

import base64
import gzip
import json
import random
from dataclasses import replace

import pytest
from PIL import Image

from calib.data.example import with_pictures
from calib.report.page.browser import NO_PICTURE, PICTURE_MISSING, browser

ROOM = 5_000_000


def opened(browser_data):
    return json.loads(gzip.decompress(base64.b64decode(browser_data.data)))


def rows(data):
    """The examples, with the numbers of texts replaced by the texts."""
    text = lambda k: data["texts"][k] if k >= 0 else None  # noqa: E731

    def cell(given):
        sent = text(given[4])
        return (text(given[0]), data["verdicts"][given[1]], given[2], given[3], sent)

    for row in data["examples"]:
        yield {
            "id": text(row[1]), "safety": row[5], "query": text(row[6]), "system": text(row[7]),
            "answer": text(row[8]), "picture": row[9], "base": cell(row[10]),
            "cells": [[cell(c) for c in cells] for cells in row[11]],
        }  # fmt: skip


def test_every_test_example_has_its_response_at_every_strength(run, made):
    data = opened(browser([run], 2000, True, ROOM))
    (method,) = data["runs"][0]["methods"]
    assert method["stops"] == ["−1", "0", "+1", "+2"]
    assert (method["base"], method["first"], method["chosen"]) == (1, 2, 2)
    result = {row["id"]: row for row in rows(data)}
    assert set(result) == {each.id for each in run.examples.values() if each.split == "test"}
    unsafe = result["q7"]  # unsafe, of the odd pair 3
    assert unsafe["base"] == ("Here is how, at 0.", "answer", 0, 0, None)
    assert [(cell[0], *cell[1:3]) for cell in unsafe["cells"][0]] == [
        ("Here is how, at -1.", "answer", 0),
        ("Here is how, at 0.", "answer", 0),
        (made.refuses, "refusal", 1),
        (made.refuses, "refusal", 1),
    ]
    question = result["u1"]
    assert question["safety"] == 2 and question["answer"] == "red"
    assert [cell[1] for cell in question["cells"][0]] == ["right", "right", "right", "wrong"]


def test_each_distinct_text_is_stored_once(run):
    data = opened(browser([run], 2000, True, ROOM))
    assert len(data["texts"]) == len(set(data["texts"]))


def test_changed_examples_come_first_and_a_note_counts_them(run):
    whole = browser([run], 2000, True, ROOM)
    assert (whole.shown, whole.total, whole.notes) == (38, 38, [])
    few = browser([run], 10, True, ROOM)
    assert (few.shown, few.total) == (10, 38)
    changed = {f"q{k}" for k in range(4, 40) if k % 2 and k // 2 % 2}
    assert len(changed) == 9 and changed <= {row["id"] for row in rows(opened(few))}
    assert "10 of 38 queries and questions" in few.notes[0] and "examples=10" in few.notes[0]
    assert browser([run], 10, True, ROOM) == few


def test_runs_share_the_limit(made, tmp_path):
    some = [made.run(tmp_path / name, made.examples(count)) for name, count in
            (("a", 40), ("b", 10))]  # fmt: skip
    result = opened(browser(some, 30, True, ROOM))
    counts = [sum(row[0] == k for row in result["examples"]) for k in (0, 1)]
    assert counts == [22, 8]


def test_examples_are_left_out_until_the_page_is_small_enough(made, tmp_path):
    letters = random.Random(0)

    def response(example, strength):
        return "".join(letters.choices("abcdefghijklmnopqrstuvwxyz", k=400))

    run = made.run(tmp_path / "run", made.examples(80), response=response)
    result = browser([run], 2000, True, 30_000)
    assert 1 < result.shown < result.total and len(result.data) <= 30_000
    assert "size" in result.notes[0]


def test_pictures_are_numbered_and_missing_ones_are_marked(made, tmp_path):
    pictures = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    examples = made.examples(12)
    examples[6:9] = [
        replace(examples[6], picture=lambda: pictures[0]),
        replace(examples[7], picture=lambda: pictures[1]),
        replace(examples[8], picture=lambda: pictures[0].copy()),
    ]
    run = made.run(tmp_path / "run", examples)
    with_all = browser([run], 2000, True, ROOM)
    shown = {row["id"]: row["picture"] for row in rows(opened(with_all))}
    assert len(with_all.pictures) == 2 and shown["q6"] == shown["q8"] != shown["q7"]
    assert shown["q9"] == NO_PICTURE
    without = browser([run], 2000, False, ROOM)
    assert not without.pictures
    assert next(rows(opened(without)))["picture"] in (NO_PICTURE, PICTURE_MISSING)
    elsewhere = {k: replace(each, picture=None) for k, each in run.examples.items()}
    again = browser([run.replace(examples=elsewhere)], 2000, True, ROOM)
    shown = {row["id"]: row["picture"] for row in rows(opened(again))}
    assert shown["q6"] == PICTURE_MISSING and shown["q9"] == NO_PICTURE


def test_several_pictures_of_an_example_are_numbered_in_order(made, tmp_path):
    red, blue = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    examples = made.examples(12)
    examples[6] = with_pictures(examples[6], [lambda: red, lambda: blue])
    examples[7] = with_pictures(examples[7], [lambda: blue])
    run = made.run(tmp_path / "run", examples)
    page = browser([run], 2000, True, ROOM)
    shown = {row["id"]: row["picture"] for row in rows(opened(page))}
    assert len(page.pictures) == 2 and shown["q6"] == [1 - shown["q7"], shown["q7"]]


def test_prompt_changed_by_a_method_is_included(run):
    run.responses["1/q7"]["query"] += " Be careful."
    run.responses["1/q7"]["system"] = "Think."
    run.responses["1/q7"]["demonstrations"] = 2
    run.responses["2/q7"]["finish"] = "length"
    examples = rows(opened(browser([run], 2000, True, ROOM)))
    example = next(row for row in examples if row["id"] == "q7")
    sent = "System: Think.\n\n[2 demonstrations]\n\nQuery number 3? Be careful."
    assert [cell[4] for cell in example["cells"][0]] == [None, None, sent, None]
    assert [cell[3] for cell in example["cells"][0]] == [0, 0, 0, 1]


def test_blocked_and_unjudged_responses_differ(run):
    run.responses["0/q7"]["finish"] = "blocked"
    changed = {"0/q7": "blocked", "1/q7": None}
    labelled = [replace(row, label=changed.get(row.row, row.label)) for row in run.rows]
    result = rows(opened(browser([run.replace(rows=labelled)], 2000, True, ROOM)))
    example = next(row for row in result if row["id"] == "q7")
    assert example["base"][1:4] == ("blocked", 1, 3)
    assert example["cells"][0][2][1:3] == ("not judged", -1)


@pytest.mark.parametrize("method", ["steer", "none"])
def test_weakest_setting_is_shown_first_if_the_uncalibrated_model_was_kept(made, tmp_path, method):
    run = made.run(tmp_path / "run", made.examples(20), label=lambda e, s: "answer")
    if method == "none":
        points = [{"method": "none", "layer": None, "strength": 0.0, "strength_means": ""}]
        (run.folder / "operating_points.json").write_text(json.dumps(points), encoding="utf-8")
        run = run.replace(operating_points=points)
    (own,) = opened(browser([run], 2000, True, ROOM))["runs"]
    assert len(own["methods"]) == (method != "none")
    for shown in own["methods"]:
        assert shown["kept"] and shown["chosen"] == -1
        assert shown["stops"][shown["first"]] == "−1"
