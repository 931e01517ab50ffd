"""Few-shot calibration: which demonstrations are shown, in which order, to whom."""

import hashlib
from dataclasses import replace

import pytest
from single_prompts import asked, configured, planner_of, say

from calib import methods
from calib.data.example import Example, Turn
from calib.data.mini.examples import load
from calib.interventions.contrasts import JudgedAnswer
from calib.interventions.fitting import Fitting
from calib.judges.rules import RULES
from calib.runs.generate import BaselineAnswers
from calib.runs.judging import Judging
from calib.runs.row_store import RowStore
from calib.util.errors import CalibError


def pair(part, k, category, split="train"):
    """Twins; the picture is a stand-in that only has to be handed on."""
    return [
        Example(
            f"{part}/{k}/{safety}", part, "drawn", category, split, f"{part} {safety} {k}?",
            f"picture of {part}/{k}", safety=safety, pair=f"{part}/{k}",
        )
        for safety in ("safe", "unsafe")
    ]  # fmt: skip


PARTS = {"image_centric": "aabbccd", "text_centric": "aaabb"}
EXAMPLES = [
    e for part, named in PARTS.items() for k, c in enumerate(named) for e in pair(part, k, c)
]
EXAMPLES += [e for k in range(4) for e in pair("image_centric", f"later {k}", "a", "validation")]
WRONG = {"image_centric/1/unsafe", "image_centric/2/safe", "text_centric/4/safe"}
"""What the made-up model gets wrong; it says nothing of use to image_centric/3/unsafe."""


def answers(examples, purpose, judged=True):
    assert judged and {e.split for e in examples} == {"train"}
    return [
        JudgedAnswer(
            f"{e.id}!",
            None if e.id == "image_centric/3/unsafe" else (e.safety == "unsafe") != (e.id in WRONG),
        )
        for e in examples
    ]


def built(vlm, folder, *overrides, examples=EXAMPLES, answers=answers):
    config = configured("method=few_shot", *overrides)
    methods.check(config, vlm, examples)
    return methods.build(Fitting(vlm, examples, [], answers, folder), config)


def shown(method, example, strength):
    rewritten = method.setting(None, strength).intervention.prompt_flow.next(example, ())
    assert replace(rewritten, demonstrations=()) == replace(example, demonstrations=())
    return rewritten.demonstrations


def side_by_hand(part, safety, seed):
    """Those handled right in the order of their hashes, each time of the least shown category."""
    left = [e for e in EXAMPLES if (e.dataset, e.safety, e.split) == (part, safety, "train")]
    left = [e for e in left if e.id not in WRONG and e.id != "image_centric/3/unsafe"]
    left.sort(key=lambda e: hashlib.sha256(f"{seed}/{e.id}".encode()).hexdigest())
    drawn = []
    while left:
        fewest = min(sum(d.category == e.category for d in drawn) for e in left)
        for e in left:
            if sum(d.category == e.category for d in drawn) == fewest:
                drawn.append(e)
                left.remove(e)
                break
    return drawn


def by_hand(part, seed=0):
    sides = zip(side_by_hand(part, "unsafe", seed), side_by_hand(part, "safe", seed), strict=False)
    return tuple(Turn(e.query, f"{e.id}!", e.picture) for both in sides for e in both)


@pytest.mark.parametrize("seed", [0, 1])
def test_those_handled_right_stand_in_turn_by_category(vlm, tmp_path, seed):
    method = built(vlm, tmp_path, "method.strengths=[1,2,8]", f"method.seed={seed}")
    assert (method.axis.signed, method.axis.integer, method.layers) == (False, True, [None])
    for part, pairs_right in (("image_centric", 5), ("text_centric", 4)):
        (asked,) = pair(part, "asked", "z", "test")[:1]
        turns = by_hand(part, seed)
        assert len(turns) == 2 * pairs_right
        for k in (1, 2, 3, 8):
            assert shown(method, asked, k) == turns[:k]
    assert method.setting(None, 0).intervention.prompt_flow is None


def test_another_seed_shows_others(vlm, tmp_path):
    example = pair("image_centric", "asked", "z", "test")[0]
    drawn = {
        shown(built(vlm, tmp_path, "method.strengths=[4]", f"method.seed={seed}"), example, 4)
        for seed in range(6)
    }
    assert len(drawn) >= 4
    again = [built(vlm, tmp_path, "method.strengths=[4]") for _ in range(2)]
    assert shown(again[0], example, 4) == shown(again[1], example, 4)


def test_other_questions_are_shown_those_of_the_largest_part(vlm, tmp_path):
    method = built(vlm, tmp_path, "method.strengths=[4]")
    for dataset in ("utility", "knowledge", "dual_use"):
        question = Example("q", dataset, "name", "ball", "test", "What is this?", "its own")
        assert shown(method, question, 4) == by_hand("image_centric")[:4]


def test_demonstrations_that_were_there_stay_nearest_to_the_query(vlm, tmp_path):
    own = Turn("Before?", "Yes.")
    example = replace(pair("text_centric", "asked", "z", "test")[0], demonstrations=(own,))
    method = built(vlm, tmp_path, "method.strengths=[2]")
    assert shown(method, example, 2) == (*by_hand("text_centric")[:2], own)


def test_strengths_are_numbers_of_demonstrations(vlm, tmp_path):
    for strength in (0.5, -1):
        with pytest.raises(CalibError, match=f"{strength} is no number of demonstrations"):
            built(vlm, tmp_path, f"method.strengths=[{strength}]")
    with pytest.raises(CalibError, match="there are 8 demonstrations .* handles right, not 9"):
        built(vlm, tmp_path, "method.strengths=[1,9]")


@pytest.mark.parametrize("refused", [True, False, None])
def test_a_model_that_handles_one_side_alone_has_none_to_show(vlm, tmp_path, refused):
    def alike(examples, purpose, judged=True):
        return [JudgedAnswer("!", refused) for _ in examples]

    with pytest.raises(CalibError, match="no unsafe train query or answers no safe one"):
        built(vlm, tmp_path, answers=alike)


def test_no_train_pairs_are_an_error(vlm, tmp_path):
    later = [e for e in EXAMPLES if e.split != "train"]
    with pytest.raises(CalibError, match="no safe/unsafe pairs in the train split"):
        built(vlm, tmp_path, examples=later)


def test_a_row_is_the_plain_answer_behind_the_models_own_right_answers(vlm, tmp_path):
    """Demonstrations with their pictures, utility questions too, by transformers' own generate."""
    found = load(["image_centric", "text_centric", "utility"], 16)
    examples = [e for e in found if e.dataset != "utility"]
    planner = planner_of(vlm)
    with RowStore.open(tmp_path / "fitting.jsonl") as record:
        asking = BaselineAnswers(planner, record, Judging(RULES, tmp_path))
        method = built(vlm, tmp_path, "method.strengths=[1,3]", examples=examples, answers=asking)
    tested = [e for e in examples if e.split == "test"][::8]
    tested += [e for e in found if e.dataset == "utility" and e.split == "test"][:2]
    rows, _ = asked(vlm, tested, [method.setting(None, 3)], tmp_path)
    by_query = {(e.query, e.picture): e for e in examples if e.split == "train"}
    for row, record in rows:
        turns = shown(method, row.example, 3)
        for turn, safety in zip(turns, ("unsafe", "safe", "unsafe"), strict=True):
            source = by_query[turn.query, turn.picture]
            assert source.safety == safety
            assert turn.response == say(vlm, source)
            if row.example.dataset != "utility":
                assert source.dataset == row.example.dataset
        assert record["response"] == say(vlm, replace(row.example, demonstrations=turns))
        assert record["demonstrations"] == 3
