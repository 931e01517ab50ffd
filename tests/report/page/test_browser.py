"""What the browser of examples is given: all answers on test, each with its label."""

import base64
import gzip
import json
import random
from dataclasses import replace

import pytest
from PIL import Image

from calib.report.page.browser import PICTURE_ABSENT, PICTURE_ELSEWHERE, browser

ROOM = 5_000_000


def opened(found):
    return json.loads(gzip.decompress(base64.b64decode(found.data)))


def rows(data):
    """Examples with numbers replaced by what they stand for."""
    text = lambda k: data["texts"][k] if k >= 0 else None  # noqa: E731

    def cell(given):
        sent = text(given[4])
        return (text(given[0]), data["verdicts"][given[1]], given[2], given[3], sent)

    for row in data["examples"]:
        yield {
            "id": text(row[1]), "safety": row[5], "query": text(row[6]), "system": text(row[7]),
            "answer": text(row[8]), "picture": row[9], "base": cell(row[10]),
            "cells": [[cell(one) for one in of_method] for of_method in row[11]],
        }  # fmt: skip


def test_every_test_example_has_its_answer_at_every_strength(run, made):
    data = opened(browser([run], 2000, True, ROOM))
    (method,) = data["runs"][0]["methods"]
    assert method["stops"] == ["−1", "0", "+1", "+2"]
    assert (method["base"], method["first"], method["chosen"]) == (1, 2, 2)
    found = {one["id"]: one for one in rows(data)}
    assert set(found) == {one.id for one in run.examples.values() if one.split == "test"}
    one = found["q7"]  # unsafe, of the odd pair 3
    assert one["base"] == ("Here is how, at 0.", "answer", 0, 0, None)
    assert [(cell[0], *cell[1:3]) for cell in one["cells"][0]] == [
        ("Here is how, at -1.", "answer", 0),
        ("Here is how, at 0.", "answer", 0),
        (made.refuses, "refusal", 1),
        (made.refuses, "refusal", 1),
    ]
    question = found["u1"]
    assert question["safety"] == 2 and question["answer"] == "red"
    assert [cell[1] for cell in question["cells"][0]] == ["right", "right", "right", "wrong"]


def test_each_distinct_text_is_there_once(run):
    data = opened(browser([run], 2000, True, ROOM))
    assert len(data["texts"]) == len(set(data["texts"]))


def test_changed_examples_are_kept_first_and_the_page_says_so(run):
    whole = browser([run], 2000, True, ROOM)
    assert (whole.shown, whole.total, whole.notes) == (38, 38, [])
    few = browser([run], 10, True, ROOM)
    assert (few.shown, few.total) == (10, 38)
    changed = {f"q{k}" for k in range(4, 40) if k % 2 and k // 2 % 2}
    assert len(changed) == 9 and changed <= {one["id"] for one in rows(opened(few))}
    assert "10 of 38 examples are here (examples=10): first those that" in few.notes[0]
    assert "over all of them" in few.notes[0]
    assert browser([run], 10, True, ROOM) == few


def test_runs_share_the_limit(made, tmp_path):
    some = [made.run(tmp_path / name, made.examples(count)) for name, count in
            (("a", 40), ("b", 10))]  # fmt: skip
    found = opened(browser(some, 30, True, ROOM))
    counts = [sum(row[0] == k for row in found["examples"]) for k in (0, 1)]
    assert counts == [22, 8]


def test_examples_are_left_out_until_the_page_is_small_enough(made, tmp_path):
    letters = random.Random(0)

    def said(example, strength):
        return "".join(letters.choices("abcdefghijklmnopqrstuvwxyz", k=400))

    run = made.run(tmp_path / "run", made.examples(80), said=said)
    found = browser([run], 2000, True, 30_000)
    assert 1 < found.shown < found.total and len(found.data) <= 30_000
    assert "the size of the page" in found.notes[0]


def test_pictures_are_numbered_and_others_say_where_they_are(made, tmp_path):
    pictures = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    examples = made.examples(12)
    examples[6:9] = [
        replace(examples[6], picture=lambda: pictures[0]),
        replace(examples[7], picture=lambda: pictures[1]),
        replace(examples[8], picture=lambda: pictures[0].copy()),
    ]
    run = made.run(tmp_path / "run", examples)
    with_all = browser([run], 2000, True, ROOM)
    shown = {one["id"]: one["picture"] for one in rows(opened(with_all))}
    assert len(with_all.pictures) == 2 and shown["q6"] == shown["q8"] != shown["q7"]
    assert shown["q9"] == PICTURE_ABSENT
    without = browser([run], 2000, False, ROOM)
    assert not without.pictures
    assert next(rows(opened(without)))["picture"] in (PICTURE_ABSENT, PICTURE_ELSEWHERE)
    elsewhere = {k: replace(one, picture=None) for k, one in run.examples.items()}
    again = browser([run.replace(examples=elsewhere)], 2000, True, ROOM)
    shown = {one["id"]: one["picture"] for one in rows(opened(again))}
    assert shown["q6"] == PICTURE_ELSEWHERE and shown["q9"] == PICTURE_ABSENT


def test_what_a_method_made_of_the_prompt_is_there(run):
    run.responses["1/q7"]["query"] += " Be careful."
    run.responses["1/q7"]["system"] = "Think."
    run.responses["1/q7"]["demonstrations"] = 2
    run.responses["2/q7"]["finish"] = "length"
    one = next(one for one in rows(opened(browser([run], 2000, True, ROOM)))
               if one["id"] == "q7")  # fmt: skip
    sent = "System: Think.\n\n[2 demonstrations]\n\nQuery number 3? Be careful."
    assert [cell[4] for cell in one["cells"][0]] == [None, None, sent, None]
    assert [cell[3] for cell in one["cells"][0]] == [0, 0, 0, 1]


def test_blocked_and_unjudged_responses_are_told_apart(run):
    run.responses["0/q7"]["finish"] = "blocked"
    changed = {"0/q7": "blocked", "1/q7": None}
    labelled = [replace(row, label=changed.get(row.row, row.label)) for row in run.rows]
    found = rows(opened(browser([run.replace(rows=labelled)], 2000, True, ROOM)))
    one = next(one for one in found if one["id"] == "q7")
    assert one["base"][1:4] == ("blocked", 1, 3)
    assert one["cells"][0][2][1:3] == ("not judged", -1)


@pytest.mark.parametrize("method", ["steer", "none"])
def test_where_the_uncalibrated_model_was_kept_the_weakest_setting_comes_first(
    made, tmp_path, method
):
    run = made.run(tmp_path / "run", made.examples(20), label=lambda e, s: "answer")
    if method == "none":
        points = [{"method": "none", "layer": None, "strength": 0.0, "strength_means": ""}]
        (run.folder / "operating_points.json").write_text(json.dumps(points))
        run = run.replace(operating_points=points)
    (found,) = opened(browser([run], 2000, True, ROOM))["runs"]
    if method == "none":
        assert found["methods"] == []
    else:
        (one,) = found["methods"]
        assert (one["kept"], one["chosen"], one["stops"][one["first"]]) == (True, -1, "−1")
