"""Words around a query: whose, and where they stand."""

from dataclasses import replace

import pytest

from calib.config.prompts import PromptFlowMethod, Worded
from calib.data.example import Example, Turn
from calib.interventions.prompting import add_text, check_prompt_strengths, prompt_text
from calib.util.errors import CalibError

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


def test_a_text_stands_where_it_is_to_stand_and_nothing_else_changes():
    assert add_text(EXAMPLE, "Mind.", "system") == replace(EXAMPLE, system="Mind.")
    told = replace(EXAMPLE, system="Be brief.")
    assert add_text(told, "Mind.", "system") == replace(EXAMPLE, system="Be brief.\nMind.")
    assert add_text(told, "Mind.", "before") == replace(told, query="Mind.\nHow {do} I?")
    assert add_text(told, "Mind.", "after") == replace(told, query="How {do} I?\nMind.")


def test_words_are_the_users_or_ours_for_the_checkpoint(vlm):
    other = replace(vlm, checkpoint="some/other")
    config = PromptFlowMethod("ecso", texts=TEXTS)
    assert prompt_text(config, vlm) == "few words"
    assert prompt_text(config, other) == "ours"
    assert prompt_text(config, vlm, "check") == "harm?"  # nothing of its own: that for any
    assert prompt_text(replace(config, text="mine"), vlm) == "mine"
    assert prompt_text(replace(config, check="bad?"), other, "check") == "bad?"
    with pytest.raises(CalibError, match='method=ecso has no words to say: give method.caption="'):
        prompt_text(config, vlm, "caption")
    with pytest.raises(CalibError, match="no words to say"):
        prompt_text(Worded("reminder"), vlm)


def test_a_text_is_shown_or_not():
    check_prompt_strengths(Worded("reminder", strengths=[0, 1, 1.0]))
    for strength in (2, 0.5, -1):
        with pytest.raises(CalibError, match=rf"strengths: {strength} means nothing for method=re"):
            check_prompt_strengths(Worded("reminder", strengths=[1, strength]))
