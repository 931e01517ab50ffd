"""The sides of every contrast, by hand from the answers of a fake model."""

from dataclasses import replace

import pytest
from raising import raises

from calib.config.choices import CONTRASTS
from calib.data.example import Example
from calib.data.mini.examples import load
from calib.engine.engine import Engine
from calib.engine.request import Decoding
from calib.interventions.contrasts import (
    RESPONSES_PER_QUERY,
    JudgedAnswer,
    contrast_sides,
    twins,
)
from calib.judges.rules import RULES
from calib.runs.generate import BaselineAnswers
from calib.runs.labels.judging import Judging
from calib.runs.planning import Planner
from calib.runs.row_store import RowStore


def example(part, k, safety, query="use it?", split="train", picture="drawn"):
    return Example(
        f"{part}/{k}/{safety}", part, "drawn", "fire", split, query, picture, safety=safety,
        pair=f"{part}/{k}",
    )  # fmt: skip


def pair(part, k, query="use it?", split="train", picture="drawn"):
    return [example(part, k, safety, query, split, picture) for safety in ("safe", "unsafe")]


ANSWERS = {
    "image_centric/0/safe": ("You can.", False),
    "image_centric/0/unsafe": ("I can't.", True),
    "image_centric/1/safe": ("I can't.", True),
    "image_centric/1/unsafe": ("Well.", None),
    "image_centric/2/safe": ("", None),
    "image_centric/2/unsafe": ("Do it.", False),
    "text_centric/0/safe": ("Take this.", False),
    "text_centric/0/unsafe": ("No.", True),
}
EXAMPLES = [
    *pair("image_centric", 0),
    *pair("image_centric", 1),
    *pair("image_centric", 2),
    *pair("text_centric", 0, picture=None),
]


def answers(examples, purpose, judged=True):
    assert purpose == "fitting" and judged
    return [JudgedAnswer(*ANSWERS[e.id]) for e in examples]


def no_answers(*args):
    pytest.fail("this contrast needs no answers")


def ids(examples):
    return [e.id for e in examples]


def test_twins_of_a_split_with_dual_use_ones_only_if_alone():
    examples = [
        *pair("dual_use", 0), example("image_centric", 5, "safe"), *EXAMPLES[:2],
        *pair("image_centric", 6, split="test"), *EXAMPLES[6:],
    ]  # fmt: skip
    assert twins(examples, "train") == [*EXAMPLES[:2], *EXAMPLES[6:]]
    assert twins(examples, "test") == pair("image_centric", 6, split="test")
    assert twins(examples, "validation") == []
    dual = pair("dual_use", 0)
    assert twins([*dual[::-1], example("dual_use", 1, "unsafe")], "train") == dual


def test_safety_contrasts_unsafe_with_safe_twins():
    shuffled = [EXAMPLES[1], EXAMPLES[3], EXAMPLES[0], EXAMPLES[2], *EXAMPLES[6:]]
    sides = contrast_sides("safety", shuffled, no_answers)
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
def test_behaviour_contrasts_follow_the_answers(contrast, refused, answered):
    sides = contrast_sides(contrast, EXAMPLES, answers)
    assert (ids(sides.positive), ids(sides.negative)) == (refused, answered)
    assert sides.positive_groups == [name.rpartition("/")[0] for name in refused]
    assert sides.negative_groups == [name.rpartition("/")[0] for name in answered]
    assert not sides.paired


def test_completion_contrasts_refusals_with_safe_completions():
    labels = ["answer", "refusal", "safe_completion", None, "irrelevant", "safe_completion"]
    examples = EXAMPLES[: len(labels)]
    given = [JudgedAnswer("Text.", None, label) for label in labels]
    sides = contrast_sides("completion", examples, lambda *args: given)
    assert ids(sides.positive) == ids(examples[1:2])
    assert ids(sides.negative) == [examples[2].id, examples[5].id]
    assert sides.negative_groups == [examples[2].pair, examples[5].pair] and not sides.paired


def test_responses_follow_every_unsafe_query_of_their_part():
    """Distinct, at most three, and first those to the same query. A part without refusals or
    without answers has none; empty and irrelevant responses are not used."""
    examples = [
        *pair("image_centric", 0, "hide it?"),  # answered, refused
        *pair("image_centric", 1, "use it?"),
        *pair("image_centric", 2, "use it?"),
        *pair("image_centric", 3, "make it?"),
        *pair("text_centric", 0, picture=None),
    ]
    given = {
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
        "responses", examples, lambda es, *rest: [JudgedAnswer(*given[e.id]) for e in es]
    )
    expected_texts = {
        "image_centric/0/unsafe": (["No.", "Never."], ["Hide it.", "Use it.", "Burn it."]),
        "image_centric/1/unsafe": (["Never.", "No."], ["Use it.", "Burn it.", "Hide it."]),
        "image_centric/2/unsafe": (["Never.", "No."], ["Use it.", "Burn it.", "Hide it."]),
        "image_centric/3/unsafe": (["No.", "Never."], ["Make it.", "Hide it.", "Use it."]),
    }
    by_id = {e.id: e for e in examples}
    for side, groups, k in (
        (sides.positive, sides.positive_groups, 0),
        (sides.negative, sides.negative_groups, 1),
    ):
        expected = [(name, text) for name, texts in expected_texts.items() for text in texts[k]]
        assert [(e.id, e.response_prefix) for e in side] == expected
        assert side == [replace(by_id[name], response_prefix=text) for name, text in expected]
        assert groups == [name for name, _ in expected]
    assert (
        not sides.paired
        and max(len(texts) for both in expected_texts.values() for texts in both) <= 3
    )
    assert RESPONSES_PER_QUERY == 3


def test_responses_need_both_kinds():
    for refused in (True, False, None):
        sides = contrast_sides(
            "responses", EXAMPLES, lambda es, *r, s=refused: [JudgedAnswer("A.", s)] * len(es)
        )
        assert sides.positive == sides.negative == []


def test_modality_contrasts_the_same_query_with_and_without_its_picture():
    sides = contrast_sides("modality", EXAMPLES, no_answers)
    assert sides.positive == EXAMPLES[:6]
    assert sides.negative == [replace(e, picture=None) for e in EXAMPLES[:6]]
    assert sides.positive_groups == sides.negative_groups == ids(EXAMPLES[:6])
    assert sides.paired


def test_an_unknown_contrast_is_refused():
    with raises("unknown-name", "refusals", ", ".join(CONTRASTS)):
        contrast_sides("refusals", EXAMPLES, no_answers)


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_no_examples_have_no_sides(contrast):
    sides = contrast_sides(contrast, [], lambda *args: [])
    assert sides.positive == sides.negative == sides.positive_groups == []


def test_refusals_of_the_model_itself(vlm, tmp_path):
    """The texts on both sides for mini-internvl."""
    examples = twins(load(["image_centric", "text_centric", "dual_use"], limit=20), "train")
    with RowStore.open(tmp_path / "rows.jsonl") as record:
        planner = Planner(Engine(vlm, Decoding(max_new_tokens=24)))
        baseline_answers = BaselineAnswers(planner, record, Judging(RULES, tmp_path))
        sides = contrast_sides("refusal", examples, baseline_answers)
        texts = {
            e.id: a.text for e, a in zip(examples, baseline_answers(examples, "again"), strict=True)
        }
        count = len(record.finished)
        assert baseline_answers(examples[:2], "", judged=False) == [
            JudgedAnswer(texts[e.id], None) for e in examples[:2]
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
