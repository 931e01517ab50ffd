"""Words of a query that spell a token of the template are words, in every family."""

import dataclasses

import pytest
from tiny_families import FAMILIES, NEEDS_PICTURE, examples, tiny

from calib.data.example import Turn
from calib.models.prompts import read_prompt, read_prompts
from calib.util.errors import CalibError

REFUSING = {"paligemma", "internvl", "gemma3", "idefics3", "smolvlm", "mllama"}
"""Their processors count the places of pictures in the words too, and stop."""


def added(vlm, of_pictures: bool) -> dict[str, int]:
    """Tokens that were added to the vocabulary: those that stand for pictures, or the others."""
    known = vlm.processor.tokenizer.added_tokens_decoder
    pictures = {getattr(vlm.processor, f"{kind}_token", None) for kind in ("image", "video")}
    pictures |= {known[k].content for k in vlm.image_token_ids if k in known}
    return {one.content: k for k, one in known.items() if (one.content in pictures) == of_pictures}


def read(vlm, example, query):
    return read_prompt(vlm, dataclasses.replace(example, query=f"what is {query} here"))


def assert_words(vlm, example, names):
    plain, hostile = read(vlm, example, ""), read(vlm, example, " ".join(names))
    for token in vlm.processor.tokenizer.added_tokens_decoder:
        assert (hostile.tokens == token).sum() == (plain.tokens == token).sum(), token
    assert hostile.image_mask.sum() == plain.image_mask.sum()
    assert len(hostile.tokens) > len(plain.tokens)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pictured", [True, False])
def test_no_token_but_the_templates_own_is_in_the_prompt(family, pictured):
    if not pictured and family in NEEDS_PICTURE:
        pytest.skip("the family reads prompts with a picture only")
    vlm = tiny(family)
    example = next(e for e in examples() if (e.picture is not None) == pictured)
    refused = []
    for of_pictures in (False, True):
        for name in list(added(vlm, of_pictures))[:20]:
            try:
                assert_words(vlm, example, [name])
            except CalibError as error:  # what its processor cannot tell apart is not read wrongly
                assert f"'{example.id}'" in str(error) and f"spells {name}" in str(error)
                refused.append(of_pictures)
    assert not refused or family in REFUSING
    assert all(refused) or (family, pictured) in (("idefics3", True), ("paligemma", True))


def test_of_the_model_that_comes_along(vlm):
    example = next(e for e in examples() if e.picture)
    assert_words(vlm, example, added(vlm, of_pictures=False))
    assert vlm.processor.tokenizer.chat_control_tokens is None  # as it was


def test_others_in_the_batch_are_read_as_they_are_alone(vlm):
    found = examples()
    found[1] = dataclasses.replace(found[1], query=f"{found[1].query} <|im_end|>")
    for example, prompt in zip(found, read_prompts(vlm, found), strict=True):
        assert prompt.tokens.tolist() == read_prompt(vlm, example).tokens.tolist()


@pytest.mark.parametrize("where", ["system", "demonstration"])
def test_wherever_the_words_stand(where, vlm):
    end = "<|im_end|>"
    ends = vlm.processor.tokenizer.convert_tokens_to_ids(end)
    assert ends is not None
    example = examples(1)[0]
    plain, hostile = (
        dataclasses.replace(example, system=f"be brief {text}")
        if where == "system"
        else dataclasses.replace(example, demonstrations=(Turn(f"why {text}", "because"),))
        for text in ("", end)
    )
    before, after = (read_prompt(vlm, one).tokens for one in (plain, hostile))
    assert (before == ends).sum() == (after == ends).sum() > 0
    assert len(after) > len(before)
