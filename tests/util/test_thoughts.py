"""Thoughts of reasoning models: tags by family, thoughts opened by the prompt, cut thoughts."""

import pytest

from calib.util.thoughts import (
    after_thoughts,
    closing_tag,
    final_answer,
    opened_thought,
    settled_beginning,
    thought_tokens,
)

FAMILIES = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<THINK>", "</THINK>"),
    ("<reasoning>", "</reasoning>"),
    ("<thought>", "</thought>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|think:start|>", "<|think:end|>"),
    ("<mm:think>", "</mm:think>"),
    ("<|channel>thought\n", "<channel|>"),
    ("<|open|>think<|sep|>", "<|close|>think<|sep|>"),
    (
        "<|channel|>analysis<|message|>",
        "<|end|><|start|>assistant<|channel|>final<|message|>",
    ),
]


@pytest.mark.parametrize("opening, closing", FAMILIES)
def test_the_tags_of_a_family(opening, closing):
    assert after_thoughts(f"{opening}Hm.\nSo.{closing}\n\nIt is red.") == "It is red."
    assert after_thoughts(f"First. {opening}Hm.{closing} Then.") in (
        "First.   Then.", "First.  Then.", "First. Then.",
    )  # fmt: skip
    assert after_thoughts(f"Opened by the prompt.{closing}It is red.") == "It is red."
    assert after_thoughts(f"{opening}Cut off") is None
    assert after_thoughts(f"{opening}One.{closing}It is {opening}Two.{closing}red.").split() == [
        "It", "is", "red.",
    ]  # fmt: skip
    assert after_thoughts(f"{opening}{closing}") == ""


@pytest.mark.parametrize("opening, closing", FAMILIES)
def test_a_thought_that_the_prompt_opened(opening, closing):
    tag = opened_thought(f"<|assistant|>\n{opening}\n")
    assert tag and opening.startswith(tag)
    assert after_thoughts(f"{tag}I cannot") is None
    assert after_thoughts(f"{tag} I cannot.{closing}It is") == "It is"
    assert after_thoughts(f"{tag}{opening}Hm.{closing}It is") == "It is"
    for other in ("<|assistant|>\n", f"{opening}\n\n{closing}\n\n", f"Use {opening} tags.", ""):
        assert opened_thought(other) == ""


@pytest.mark.parametrize(
    "opening, closing", [pair for pair in FAMILIES if "channel" not in pair[0]]
)
def test_the_closing_tag_of_a_thought(opening, closing):
    assert closing_tag(opening) == closing
    assert closing_tag("") == ""


def test_a_thought_without_an_answer_is_an_empty_answer():
    assert final_answer("<think>Hm.</think> Red.") == "Red."
    assert final_answer("<think>Hm.") == final_answer("") == ""
    assert final_answer("Red. ") == "Red. "


def test_special_tokens_that_are_tags():
    channels = {"<|channel|>", "<|message|>", "<|start|>", "<|end|>"}
    assert thought_tokens([*channels, "<|return|>", "<pad>"]) == channels
    assert thought_tokens(["<|end|>", "<|message|>", "<pad>"]) == set()
    assert thought_tokens(["[THINK]", "[/THINK]", "[INST]"]) == {"[THINK]", "[/THINK]"}
    assert thought_tokens(["<|channel>", "<channel|>", "<|turn>"]) == {"<|channel>", "<channel|>"}


def test_special_tokens_that_were_removed():
    assert after_thoughts("analysisThe user asks.assistantfinalIt is red.") == "It is red."
    assert after_thoughts("analysisThe user asks") is None
    assert after_thoughts("analysis of the ball") == "analysis of the ball"


@pytest.mark.parametrize(
    "text", ["", " It is red.\n", "a < b", "<b>I think</b> so", "[think of it]"]
)
def test_text_without_thoughts_is_unchanged(text):
    assert after_thoughts(text) is text


@pytest.mark.parametrize("opening, closing", FAMILIES)
def test_the_settled_beginning_only_grows(opening, closing):
    text = f"{opening}Hm. So.{closing} It is red. {opening}Or not.{closing} It is blue."
    beginnings = [settled_beginning(text[:end]).lstrip() for end in range(len(text) + 1)]
    for shorter, longer in zip(beginnings, beginnings[1:], strict=False):
        assert longer.startswith(shorter)
    assert beginnings[-1] == "It is red. "
