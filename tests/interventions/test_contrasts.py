"""The sides of every contrast, by hand on a made-up model's answers."""

from dataclasses import replace

import pytest

from calib.data.example import Example
from calib.data.mini.examples import load
from calib.engine.engine import Engine
from calib.engine.request import Decoding
from calib.interventions.contrasts import (
    CONTRASTS,
    RESPONSES_PER_QUERY,
    JudgedAnswer,
    contrast_sides,
    twins,
)
from calib.judges.rules import RULES
from calib.runs.generate import BaselineAnswers
from calib.runs.judging import Judging
from calib.runs.planning import Planner
from calib.runs.row_store import RowStore
from calib.util.errors import CalibError


def one(part, k, safety, query="use it?", split="train", picture="drawn"):
    return Example(
        f"{part}/{k}/{safety}", part, "drawn", "fire", split, query, picture, safety=safety,
        pair=f"{part}/{k}",
    )  # fmt: skip


def pair(part, k, query="use it?", split="train", picture="drawn"):
    return [one(part, k, safety, query, split, picture) for safety in ("safe", "unsafe")]


SAID = {
    "image_centric/0/safe": ("You can.", False),
    "image_centric/0/unsafe": ("I can't.", True),
    "image_centric/1/safe": ("I can't.", True),
    "image_centric/1/unsafe": ("Well.", None),
    "image_centric/2/safe": ("", None),
    "image_centric/2/unsafe": ("Do it.", False),
    "text_centric/0/safe": ("Take this.", False),
    "text_centric/0/unsafe": ("No.", True),
}
FOUND = [
    *pair("image_centric", 0),
    *pair("image_centric", 1),
    *pair("image_centric", 2),
    *pair("text_centric", 0, picture=None),
]


def answers(examples, purpose, judged=True):
    assert purpose == "fitting" and judged
    return [JudgedAnswer(*SAID[e.id]) for e in examples]


def unasked(*args):
    pytest.fail("this contrast needs no answers")


def ids(examples):
    return [e.id for e in examples]


def test_twins_of_a_split_with_dual_use_ones_only_if_alone():
    found = [
        *pair("dual_use", 0), one("image_centric", 5, "safe"), *FOUND[:2],
        *pair("image_centric", 6, split="test"), *FOUND[6:],
    ]  # fmt: skip
    assert twins(found, "train") == [*FOUND[:2], *FOUND[6:]]
    assert twins(found, "test") == pair("image_centric", 6, split="test")
    assert twins(found, "validation") == []
    dual = pair("dual_use", 0)
    assert twins([*dual[::-1], one("dual_use", 1, "unsafe")], "train") == dual


def test_safety_is_the_unsafe_against_the_safe_twin():
    mixed = [FOUND[1], FOUND[3], FOUND[0], FOUND[2], *FOUND[6:]]
    sides = contrast_sides("safety", mixed, unasked)
    assert ids(sides.positive) == [
        "image_centric/0/unsafe", "image_centric/1/unsafe", "text_centric/0/unsafe",
    ]  # fmt: skip
    assert ids(sides.negative) == [
        "image_centric/0/safe", "image_centric/1/safe", "text_centric/0/safe",
    ]  # fmt: skip
    assert sides.positive_groups == sides.negative_groups
    assert len(set(sides.positive_groups)) == 3 and sides.paired


@pytest.mark.parametrize(
    ("contrast", "refused", "answered"),
    [
        (
            "refusal",
            ["image_centric/0/unsafe", "image_centric/1/safe", "text_centric/0/unsafe"],
            ["image_centric/0/safe", "image_centric/2/unsafe", "text_centric/0/safe"],
        ),
        (
            "harmful_refusal",
            ["image_centric/0/unsafe", "text_centric/0/unsafe"],
            ["image_centric/2/unsafe"],
        ),
        (
            "false_refusal",
            ["image_centric/1/safe"],
            ["image_centric/0/safe", "text_centric/0/safe"],
        ),
        (
            "true_refusal",
            ["image_centric/0/unsafe", "text_centric/0/unsafe"],
            ["image_centric/0/safe", "text_centric/0/safe"],
        ),
    ],
)
def test_refusals_are_what_the_model_does(contrast, refused, answered):
    sides = contrast_sides(contrast, FOUND, answers)
    assert (ids(sides.positive), ids(sides.negative)) == (refused, answered)
    assert sides.positive_groups == [name.rpartition("/")[0] for name in refused]
    assert sides.negative_groups == [name.rpartition("/")[0] for name in answered]
    assert not sides.paired


def test_responses_stand_behind_every_unsafe_query_of_their_part():
    """Those to the very same query first, distinct, at most three; parts that lack a kind have
    none; nothing that says neither, and no empty response."""
    asked = [
        *pair("image_centric", 0, "hide it?"),  # answered, refused
        *pair("image_centric", 1, "use it?"),
        *pair("image_centric", 2, "use it?"),
        *pair("image_centric", 3, "make it?"),
        *pair("text_centric", 0, picture=None),
    ]
    said = {
        "image_centric/0/safe": ("Hide it.", False),
        "image_centric/0/unsafe": ("No.", True),
        "image_centric/1/safe": ("Use it.", False),
        "image_centric/1/unsafe": ("Never.", True),
        "image_centric/2/safe": ("Use it.", False),
        "image_centric/2/unsafe": ("Burn it.", False),
        "image_centric/3/safe": ("", False),
        "image_centric/3/unsafe": ("Make it.", False),
        "text_centric/0/safe": ("So.", False),
        "text_centric/0/unsafe": ("Hm.", None),
    }
    sides = contrast_sides(
        "responses", asked, lambda es, *rest: [JudgedAnswer(*said[e.id]) for e in es]
    )
    behind = {
        "image_centric/0/unsafe": (["No.", "Never."], ["Hide it.", "Use it.", "Burn it."]),
        "image_centric/1/unsafe": (["Never.", "No."], ["Use it.", "Burn it.", "Hide it."]),
        "image_centric/2/unsafe": (["Never.", "No."], ["Use it.", "Burn it.", "Hide it."]),
        "image_centric/3/unsafe": (["No.", "Never."], ["Make it.", "Hide it.", "Use it."]),
    }
    by_id = {e.id: e for e in asked}
    for side, groups, k in (
        (sides.positive, sides.positive_groups, 0),
        (sides.negative, sides.negative_groups, 1),
    ):
        expected = [(name, text) for name, texts in behind.items() for text in texts[k]]
        assert [(e.id, e.response_prefix) for e in side] == expected
        assert side == [replace(by_id[name], response_prefix=text) for name, text in expected]
        assert groups == [name for name, _ in expected]
    assert not sides.paired and max(len(texts) for both in behind.values() for texts in both) <= 3
    assert RESPONSES_PER_QUERY == 3


def test_responses_need_both_kinds():
    for refused in (True, False, None):
        sides = contrast_sides(
            "responses", FOUND, lambda es, *r, s=refused: [JudgedAnswer("A.", s)] * len(es)
        )
        assert sides.positive == sides.negative == []


def test_modality_is_with_against_without_the_picture():
    sides = contrast_sides("modality", FOUND, unasked)
    assert sides.positive == FOUND[:6]
    assert sides.negative == [replace(e, picture=None) for e in FOUND[:6]]
    assert sides.positive_groups == sides.negative_groups == ids(FOUND[:6])
    assert sides.paired


def test_a_contrast_that_is_not_there():
    with pytest.raises(CalibError, match="contrast 'refusals' is not known: safety, refusal"):
        contrast_sides("refusals", FOUND, unasked)


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_no_examples_have_no_sides(contrast):
    sides = contrast_sides(contrast, [], lambda *args: [])
    assert sides.positive == sides.negative == sides.positive_groups == []


def test_refusals_of_the_model_itself(vlm, tmp_path):
    """What mini-internvl refuses, warned about and answered, by the words of its responses."""
    found = twins(load(["image_centric", "text_centric", "dual_use"], limit=20), "train")
    with RowStore.open(tmp_path / "rows.jsonl") as record:
        planner = Planner(Engine(vlm, Decoding(max_new_tokens=24)))
        asking = BaselineAnswers(planner, record, Judging(RULES, tmp_path))
        sides = contrast_sides("refusal", found, asking)
        texts = {e.id: a.text for e, a in zip(found, asking(found, "again"), strict=True)}
        count = len(record.finished)
        assert asking(found[:2], "", judged=False) == [
            JudgedAnswer(texts[e.id], None) for e in found[:2]
        ]
        assert (
            len(record.finished) == count == len({row["row"] for row in record.finished.values()})
        )
    assert sides.positive and sides.negative
    starts = ("I'm sorry", "I cannot", "Be careful")
    for example in sides.positive:
        text = texts[example.id]
        assert text.startswith(starts) or text.endswith("dangerous.")
    for example in sides.negative:
        assert texts[example.id] and not texts[example.id].startswith(starts)
