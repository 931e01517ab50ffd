"""Texts of prompt-based methods: defaults by checkpoint, and their place in the prompt."""

from dataclasses import replace

import pytest
from raising import raises

from calib.config.prompts import PromptFlowMethod, Worded
from calib.data.example import Example, Turn
from calib.interventions.prompting import add_text, check_prompt_strengths, fill, prompt_text

TURN = Turn("Before?", "Yes.")
EXAMPLE = Example(
    "a",
    "image_centric",
    "drawn",
    "fire",
    "test",
    "How {do} I?",
    system=None,
    demonstrations=(TURN,),
)
TEXTS = {"any": {"text": "ours", "check": "harm?"}, "mini-internvl": {"text": "few words"}}


def test_a_text_is_added_at_its_place_and_nothing_else_changes():
    assert add_text(EXAMPLE, "Mind.", "system") == replace(EXAMPLE, system="Mind.")
    with_system = replace(EXAMPLE, system="Be brief.")
    assert add_text(with_system, "Mind.", "system") == replace(EXAMPLE, system="Be brief.\nMind.")
    before, after = (add_text(with_system, "Mind.", place) for place in ("before", "after"))
    assert before == replace(with_system, query="Mind.\nHow {do} I?")
    assert after == replace(with_system, query="How {do} I?\nMind.")


def test_only_known_names_are_filled_in():
    filled = fill("{query} ({caption}, {other}, {})", query="Why {caption}?", caption="a bag")
    assert filled == "Why {caption}? (a bag, {other}, {})"


def test_texts_are_the_users_or_the_defaults_of_the_checkpoint(vlm):
    other = replace(vlm, checkpoint="some/other")
    config = PromptFlowMethod("ecso", texts=TEXTS)
    assert prompt_text(config, vlm) == "few words"
    assert prompt_text(config, other) == "ours"
    assert prompt_text(config, vlm, "check") == "harm?"  # the checkpoint has none of its own
    assert prompt_text(replace(config, text="mine"), vlm) == "mine"
    assert prompt_text(replace(config, check="bad?"), other, "check") == "bad?"
    with raises("missing-setting", "method=ecso", "method.caption"):
        prompt_text(config, vlm, "caption")
    with raises("missing-setting", "method=reminder", "method.text"):
        prompt_text(Worded("reminder"), vlm)


@pytest.mark.parametrize("strength", [2, 0.5, -1])
def test_prompt_strengths_are_0_and_1(strength):
    check_prompt_strengths(Worded("reminder", strengths=[0, 1, 1.0]))
    with raises("invalid-setting", "method.strengths", strength, "method=reminder"):
        check_prompt_strengths(Worded("reminder", strengths=[1, strength]))
