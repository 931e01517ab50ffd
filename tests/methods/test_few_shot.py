"""Few-shot calibration: the selection and the order of demonstrations."""

import hashlib
from dataclasses import replace

import pytest
from raising import raises
from single_prompts import method_config, naive_text, planner_for, recorded_rows

from calib import methods
from calib.data.example import Example, Turn
from calib.data.mini.examples import load
from calib.interventions.contrasts import JudgedAnswer
from calib.interventions.fitting import Fitting
from calib.judges.rules import RULES
from calib.runs.generate import BaselineAnswers
from calib.runs.labels.judging import Judging
from calib.runs.row_store import RowStore


def pair(part, k, category, split="train"):
    """Twins; the picture is a placeholder."""
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
"""Queries that the fake model handles wrongly; image_centric/3/unsafe gets an irrelevant answer."""


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
    config = method_config("method=few_shot", *overrides)
    methods.check(config, vlm, examples)
    return methods.build(Fitting(vlm, examples, [], answers, folder), config)


def demonstrations(method, example, strength):
    rewritten = method.setting(None, strength).intervention.prompt_flow.next(example, ())
    assert replace(rewritten, demonstrations=()) == replace(example, demonstrations=())
    return rewritten.demonstrations


def side_by_hand(part, safety, seed):
    """Correctly handled queries by hash; the least used category comes next each time."""
    remaining = [e for e in EXAMPLES if (e.dataset, e.safety, e.split) == (part, safety, "train")]
    remaining = [e for e in remaining if e.id not in WRONG and e.id != "image_centric/3/unsafe"]
    remaining.sort(key=lambda e: hashlib.sha256(f"{seed}/{e.id}".encode()).hexdigest())
    ordered = []
    while remaining:
        fewest = min(sum(d.category == e.category for d in ordered) for e in remaining)
        for e in remaining:
            if sum(d.category == e.category for d in ordered) == fewest:
                ordered.append(e)
                remaining.remove(e)
                break
    return ordered


def by_hand(part, seed=0):
    sides = zip(side_by_hand(part, "unsafe", seed), side_by_hand(part, "safe", seed), strict=False)
    return tuple(Turn(e.query, f"{e.id}!", e.picture) for both in sides for e in both)


@pytest.mark.parametrize("seed", [0, 1])
def test_correctly_handled_queries_alternate_and_spread_over_categories(vlm, tmp_path, seed):
    method = built(vlm, tmp_path, "method.strengths=[1,2,8]", f"method.seed={seed}")
    assert (method.axis.signed, method.axis.integer, method.layers) == (False, True, [None])
    for part, pairs_right in (("image_centric", 5), ("text_centric", 4)):
        example = pair(part, "asked", "z", "test")[0]
        turns = by_hand(part, seed)
        assert len(turns) == 2 * pairs_right
        for k in (1, 2, 3, 8):
            assert demonstrations(method, example, k) == turns[:k]
        recorded = [method.demonstrations[k][part] for k in (1, 2, 8)]
        ids = [turn.response[:-1] for turn in turns]
        assert [shown.ids for shown in recorded] == [ids[:1], ids[:2], ids[:8]]
        assert len({shown.checksum for shown in recorded}) == 3
    other = built(
        vlm, tmp_path, "method.strengths=[1,2,8]", f"method.seed={seed}",
        answers=lambda *given: [replace(each, text="As ever.") for each in answers(*given)],
    )  # fmt: skip
    before, after = (each.demonstrations[2]["image_centric"] for each in (method, other))
    assert before.ids == after.ids and before.checksum != after.checksum
    assert method.setting(None, 0).intervention.prompt_flow is None


def test_the_seed_changes_the_demonstrations(vlm, tmp_path):
    example = pair("image_centric", "asked", "z", "test")[0]
    drawn = {
        demonstrations(
            built(vlm, tmp_path, "method.strengths=[4]", f"method.seed={seed}"), example, 4
        )
        for seed in range(6)
    }
    assert len(drawn) >= 4
    again = [built(vlm, tmp_path, "method.strengths=[4]") for _ in range(2)]
    assert demonstrations(again[0], example, 4) == demonstrations(again[1], example, 4)


def test_a_hundred_more_is_the_next_draw(vlm, tmp_path):
    method = built(vlm, tmp_path, "method.strengths=[2,4,102,304]", "method.seed=5")
    example = pair("image_centric", "asked", "z", "test")[0]
    for strength, seed, k in ((2, 5, 2), (4, 5, 4), (102, 6, 2), (304, 8, 4)):
        assert demonstrations(method, example, strength) == by_hand("image_centric", seed)[:k]
    assert set(method.variants) == {2, 4, 102, 304}
    assert len(set(method.variants.values())) == 4
    assert not built(vlm, tmp_path, "method.strengths=[2,4]").variants
    assert method.supervision == "demonstrations"


def test_other_questions_get_demonstrations_of_the_largest_part(vlm, tmp_path):
    method = built(vlm, tmp_path, "method.strengths=[4]")
    for dataset in ("utility", "knowledge", "dual_use"):
        question = Example("q", dataset, "name", "ball", "test", "What is this?", "its own")
        assert demonstrations(method, question, 4) == by_hand("image_centric")[:4]


def test_existing_demonstrations_stay_next_to_the_query(vlm, tmp_path):
    own = Turn("Before?", "Yes.")
    example = replace(pair("text_centric", "asked", "z", "test")[0], demonstrations=(own,))
    method = built(vlm, tmp_path, "method.strengths=[2]")
    assert demonstrations(method, example, 2) == (*by_hand("text_centric")[:2], own)


def test_strengths_are_numbers_of_demonstrations(vlm, tmp_path):
    for strength in (0.5, -1, 100, 200):
        with raises("invalid-setting", "method.strengths", strength):
            built(vlm, tmp_path, f"method.strengths=[{strength}]")
    with raises("too-few", "method.strengths", 8, 9):
        built(vlm, tmp_path, "method.strengths=[1,9]")
    with raises("too-few", "method.strengths", 8, 9):
        built(vlm, tmp_path, "method.strengths=[1,309]")


@pytest.mark.parametrize("refused", [True, False, None])
def test_a_model_that_handles_only_one_side_has_no_demonstrations(vlm, tmp_path, refused):
    def alike(examples, purpose, judged=True):
        return [JudgedAnswer("!", refused) for _ in examples]

    with raises("too-few", "no demonstrations"):
        built(vlm, tmp_path, answers=alike)


def test_no_train_pairs_are_an_error(vlm, tmp_path):
    later = [e for e in EXAMPLES if e.split != "train"]
    with raises("too-few", "train"):
        built(vlm, tmp_path, examples=later)


def test_the_response_follows_the_models_own_correct_answers(vlm, tmp_path):
    """By transformers' own generate, with pictures in demonstrations, and for utility questions."""
    loaded = load(["image_centric", "text_centric", "utility"], 16)
    examples = [e for e in loaded if e.dataset != "utility"]
    planner = planner_for(vlm)
    with RowStore.open(tmp_path / "fitting.jsonl") as record:
        asking = BaselineAnswers(planner, record, Judging(RULES, tmp_path))
        method = built(vlm, tmp_path, "method.strengths=[1,3]", examples=examples, answers=asking)
    tested = [e for e in examples if e.split == "test"][::8]
    tested += [e for e in loaded if e.dataset == "utility" and e.split == "test"][:2]
    rows, _ = recorded_rows(vlm, tested, [method.setting(None, 3)], tmp_path)
    by_query = {(e.query, e.picture): e for e in examples if e.split == "train"}
    for row, record in rows:
        turns = demonstrations(method, row.example, 3)
        for turn, safety in zip(turns, ("unsafe", "safe", "unsafe"), strict=True):
            source = by_query[turn.query, turn.picture]
            assert source.safety == safety
            assert turn.response == naive_text(vlm, source)
            if row.example.dataset != "utility":
                assert source.dataset == row.example.dataset
        assert record["response"] == naive_text(vlm, replace(row.example, demonstrations=turns))
        assert record["demonstrations"] == 3
