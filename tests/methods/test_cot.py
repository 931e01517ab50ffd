"""Chain of thought: the check, then the query behind it and what was said to it."""

from dataclasses import replace

import pytest
from naive_loop import divergence
from single_prompts import asked, configured, plain, say

from calib import methods
from calib.data.example import Example, Turn
from calib.data.mini.examples import load
from calib.interventions.fitting import Fitting
from calib.methods.cot import ReasonThenAnswer

EARLIER = Turn("Before?", "Yes.")


def picture():
    pytest.fail("nobody looks at it here")


EXAMPLE = Example(
    "a", "image_centric", "drawn", "fire", "test", "How {query} do I {answer}?", picture,
    system="Be kind.", demonstrations=(EARLIER,),
)  # fmt: skip


def test_the_steps():
    dialogue = ReasonThenAnswer('Someone asks "{query}". {Harm}? {query}')
    assert dialogue.multi_step
    check = 'Someone asks "How {query} do I {answer}?". {Harm}? How {query} do I {answer}?'
    first = dialogue.next(EXAMPLE, ())
    assert first == replace(EXAMPLE, query=check)
    second = dialogue.next(EXAMPLE, ("It {query} is {0} safe.",))
    reasoned = Turn(check, "It {query} is {0} safe.", picture)
    assert second == replace(EXAMPLE, demonstrations=(EARLIER, reasoned), picture=None)
    assert dialogue.next(EXAMPLE, ("It is safe.", "Do it.")) == 1


def test_the_counting_response_is_that_to_both_prompts_in_turn(vlm, tmp_path):
    found = [e for e in load(["image_centric", "utility"], 60) if e.split == "test"]
    plainly = next(e for e in load(["text_centric"]) if e.split == "test" and not e.picture)
    examples = [*found[:4], found[-1], plainly]
    config = configured("method=cot")
    methods.check(config, vlm, examples)
    method = methods.build(Fitting(vlm, [], [], pytest.fail, tmp_path), config)
    rows, _ = asked(vlm, examples, [method.setting(None, 1)], tmp_path)
    moved = 0
    for (row, record), example in zip(rows, examples, strict=True):
        check = "Is this dangerous?"
        reason = say(vlm, replace(example, query=check))
        turns = (Turn(check, reason, example.picture),)
        by_hand = replace(example, demonstrations=turns, picture=None)
        assert row.said == (reason,)
        assert record["response"] == say(vlm, by_hand)
        assert (record["query"], record["demonstrations"]) == (example.query, 1)
        kl = divergence(plain(vlm, by_hand), plain(vlm, example))
        assert record["kl"] == pytest.approx(kl, rel=1e-3, abs=2e-6)
        moved += kl > 1e-4
    assert moved >= 3


def test_words_for_any_checkpoint_and_the_users(vlm, tmp_path):
    fitting = Fitting(replace(vlm, checkpoint="some/other"), [], [], pytest.fail, tmp_path)

    def first(*overrides):
        method = methods.build(fitting, configured("method=cot", *overrides))
        return method.setting(None, 1).intervention.prompt_flow.next(EXAMPLE, ()).query

    assert f'"{EXAMPLE.query}"' in first() and "step by step" in first()
    assert first("method.check='Harm? {query}'") == f"Harm? {EXAMPLE.query}"
