"""Chain of thought: the check, then the query with check and reasoning as an earlier turn."""

from dataclasses import replace

import pytest
from naive_loop import divergence
from single_prompts import method_config, naive_response, naive_text, recorded_rows

from calib import methods
from calib.data.example import Example, Turn
from calib.data.mini.examples import load
from calib.interventions.fitting import Fitting
from calib.interventions.prompting import add_text
from calib.methods.cot import ReasonThenAnswer

EARLIER = Turn("Before?", "Yes.")


def picture():
    pytest.fail("no picture is opened in these tests")


EXAMPLE = Example(
    "a", "image_centric", "drawn", "fire", "test", "How {query} do I {answer}?", picture,
    system="Be kind.", demonstrations=(EARLIER,),
)  # fmt: skip


def test_the_steps():
    flow = ReasonThenAnswer('Someone asks "{query}". {Harm}? {query}')
    assert flow.multi_step
    check = 'Someone asks "How {query} do I {answer}?". {Harm}? How {query} do I {answer}?'
    first = flow.next(EXAMPLE, ())
    assert first == replace(EXAMPLE, query=check)
    second = flow.next(EXAMPLE, ("It {query} is {0} safe.",))
    reasoned = Turn(check, "It {query} is {0} safe.", picture)
    assert second == replace(EXAMPLE, demonstrations=(EARLIER, reasoned), picture=None)
    assert flow.next(EXAMPLE, ("It is safe.", "Do it.")) == 1


@pytest.mark.parametrize("place", ["system", "before", "after"])
def test_the_reasoning_can_be_in_the_prompt(place):
    flow = ReasonThenAnswer("Harm?", place)
    assert flow.next(EXAMPLE, ()) == replace(EXAMPLE, query="Harm?")
    second = flow.next(EXAMPLE, ("It is {safe}.",))
    assert second == add_text(EXAMPLE, "It is {safe}.", place)
    assert flow.next(EXAMPLE, ("It is {safe}.", "Do it.")) == 1


def test_the_judged_response_follows_both_prompts(vlm, tmp_path):
    test_examples = [e for e in load(["image_centric", "utility"], 60) if e.split == "test"]
    without_picture = next(e for e in load(["text_centric"]) if e.split == "test" and not e.picture)
    examples = [*test_examples[:4], test_examples[-1], without_picture]
    config = method_config("method=cot")
    methods.check(config, vlm, examples)
    method = methods.build(Fitting(vlm, [], [], pytest.fail, tmp_path), config)
    rows, _ = recorded_rows(vlm, examples, [method.setting(None, 1)], tmp_path)
    moved = 0
    for (row, record), example in zip(rows, examples, strict=True):
        check = "Is this dangerous?"
        reason = naive_text(vlm, replace(example, query=check))
        turns = (Turn(check, reason, example.picture),)
        by_hand = replace(example, demonstrations=turns, picture=None)
        assert row.earlier_responses == (reason,)
        assert record["response"] == naive_text(vlm, by_hand)
        assert (record["query"], record["demonstrations"]) == (example.query, 1)
        kl = divergence(naive_response(vlm, by_hand), naive_response(vlm, example))
        assert record["kl"] == pytest.approx(kl, rel=1e-3, abs=2e-6)
        moved += kl > 1e-4
    assert moved >= 3


def test_default_texts_and_texts_of_the_user(vlm, tmp_path):
    fitting = Fitting(replace(vlm, checkpoint="some/other"), [], [], pytest.fail, tmp_path)

    def first(*overrides):
        method = methods.build(fitting, method_config("method=cot", *overrides))
        return method.setting(None, 1).intervention.prompt_flow.next(EXAMPLE, ()).query

    assert f'"{EXAMPLE.query}"' in first() and "{" not in first().replace(EXAMPLE.query, "")
    assert first("method.check='Harm? {query}'") == f"Harm? {EXAMPLE.query}"
