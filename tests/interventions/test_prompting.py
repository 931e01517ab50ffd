"""Variants of prompt-based methods: wordings by checkpoint, places in the prompt, verdicts."""

from dataclasses import replace

import pytest
from raising import raises

from calib.config.choices import PROMPT_PLACES
from calib.config.prompts import PromptFlowMethod, SelfCheck, Worded
from calib.config.steering import TwoSided
from calib.data.example import Example, Turn
from calib.interventions.intervention import SinglePrompt
from calib.interventions.prompting import (
    add_text,
    check_variants,
    fill,
    prompt_text,
    request_check_text,
    says_yes,
    variant_method,
    variants,
    wordings,
)

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
SEVERAL = {"any": {"text": ["a", "b", "c"], "check": ["harm?", "bad?"], "answer": ["", "go"]}}


def test_a_text_is_added_at_its_place_and_nothing_else_changes():
    assert add_text(EXAMPLE, "Mind.", "system") == replace(EXAMPLE, system="Mind.")
    with_system = replace(EXAMPLE, system="Be brief.")
    assert add_text(with_system, "Mind.", "system") == replace(EXAMPLE, system="Be brief.\nMind.")
    before, after, around = (
        add_text(with_system, "Mind.", place) for place in ("before", "after", "around")
    )
    assert before == replace(with_system, query="Mind.\nHow {do} I?")
    assert after == replace(with_system, query="How {do} I?\nMind.")
    assert around == replace(with_system, query="Mind.\nHow {do} I?\nMind.")


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


def test_a_text_has_one_wording_or_several(vlm):
    config = PromptFlowMethod("ecso", texts=SEVERAL)
    assert wordings(config, vlm) == ["a", "b", "c"]
    assert wordings(config, vlm, "answer") == ["", "go"]
    assert wordings(replace(config, texts=TEXTS), vlm) == ["few words"]
    assert wordings(replace(config, text="mine"), vlm) == ["mine"]


@pytest.mark.parametrize("blank", ["", " \n"])
def test_a_blank_text_does_not_stand_for_the_default(vlm, blank):
    config = PromptFlowMethod("ecso", texts=SEVERAL)
    for name in ("text", "check", "caption"):
        with raises("invalid-setting", f"method.{name}"):
            wordings(replace(config, **{name: blank}), vlm, name)
    for texts in (blank, ["a", blank], []):
        with raises("invalid-setting", "method.texts.any.text"):
            wordings(replace(config, texts={"any": {"text": texts}}), vlm)
    with raises("invalid-setting", "method.check"):
        prompt_text(TwoSided("two_sided", check=blank), vlm, "check")


def test_texts_that_a_method_can_do_without_may_be_blank(vlm):
    defaults = {"any": {"request_check": "wrong?", "answer": ["", "go"], "check": "harm?"}}
    config = SelfCheck("self_check", texts=defaults)
    assert wordings(replace(config, answer=""), vlm, "answer") == [""]
    assert request_check_text(config, vlm) == "wrong?"
    assert request_check_text(replace(config, request_check=""), vlm) == ""


def test_variants_are_all_wordings_at_all_places_with_the_default_first(vlm):
    config = Worded("reminder", texts=SEVERAL, place="after")
    found = variants(config, vlm, ["text"], PROMPT_PLACES)
    places = ["after", "system", "before", "around"]
    assert [(v.texts["text"], v.place) for v in found] == [(t, p) for t in "abc" for p in places]
    assert len({variant.name for variant in found}) == 12
    assert found[5].name == "text 2, place=system"
    one = variants(replace(config, text="mine"), vlm, ["text"], PROMPT_PLACES)
    assert [variant.name for variant in one] == [f"place={place}" for place in places]


def test_wordings_of_several_texts_are_combined(vlm):
    found = variants(PromptFlowMethod("ecso", texts=SEVERAL), vlm, ["check", "text"])
    assert [(v.texts["check"], v.texts["text"]) for v in found] == [
        (check, text) for check in ("harm?", "bad?") for text in "abc"
    ]
    assert [found[0].name, found[4].name] == ["check 1, text 1", "check 2, text 2"]
    assert {variant.place for variant in found} == {""}


@pytest.mark.parametrize("strength", [13, 0.5, -1])
def test_strengths_are_numbers_of_variants(vlm, strength):
    config = Worded("reminder", texts=SEVERAL)
    available = variants(config, vlm, ["text"], PROMPT_PLACES)
    check_variants(replace(config, strengths=[0, 1, 12.0]), available, vlm, [])
    with raises("invalid-setting", "method.strengths", strength, 12, "method=reminder"):
        check_variants(replace(config, strengths=[1, strength]), available, vlm, [])


def test_a_strength_sends_the_prompts_of_its_variant(vlm):
    config = Worded("reminder", texts=SEVERAL, strengths=[1, 6, 12])
    available = variants(config, vlm, ["text"], PROMPT_PLACES)
    method = variant_method(
        config, available,
        lambda v: SinglePrompt(lambda e: add_text(e, v.texts["text"], v.place)),
    )  # fmt: skip
    for number, text, place in ((1, "a", "system"), (6, "b", "before"), (12, "c", "around")):
        flow = method.setting(None, number).intervention.prompt_flow
        assert flow.next(EXAMPLE, ()) == add_text(EXAMPLE, text, place)
        assert method.variants[number] == available[number - 1].name
    assert set(method.variants) == {1, 6, 12}
    assert method.setting(None, 0).intervention.prompt_flow is None
    assert method.supervision == "none"


@pytest.mark.parametrize(
    ("reply", "whole", "first"),
    [
        ("Yes.", True, True), (" yes\n", True, True), ("YES", True, True),
        ("Yes, it is.", False, True), ('"Yes" I think', False, True), ("**Yes**", False, True),
        ("No.", False, False), ("", False, False), ("Yesterday", False, False),
        ("I say yes", False, False), ("No, yes", False, False), ("...", False, False),
    ],
)  # fmt: skip
def test_a_verdict_is_the_whole_reply_or_its_first_word(reply, whole, first):
    assert says_yes(reply, "reply") is whole
    assert says_yes(reply, "first_word") is first
