"""Special tokens of the chat template in a query are read as ordinary text, in every family."""

import dataclasses

import pytest
from raising import raises
from tiny_families import FAMILIES, NEEDS_PICTURE, examples, tiny

from calib.data.example import Turn
from calib.models.prompts import read_prompt, read_prompts
from calib.util.errors import CalibError

REJECTING = {
    "paligemma", "internvl", "gemma3", "idefics3", "smolvlm", "mllama", "lfm2_vl", "aya_vision",
}  # fmt: skip
"""Families whose processors count image tokens in the text too, and raise."""


def added_tokens(vlm, of_images: bool) -> dict[str, int]:
    """Tokens added to the vocabulary: those that stand for images, or the others."""
    added = vlm.processor.tokenizer.added_tokens_decoder
    image_tokens = {getattr(vlm.processor, f"{kind}_token", None) for kind in ("image", "video")}
    image_tokens |= {added[k].content for k in vlm.image_token_ids if k in added}
    names = {token.content: k for k, token in added.items()}
    return {name: k for name, k in names.items() if (name in image_tokens) == of_images}


def read_query(vlm, example, query):
    return read_prompt(vlm, dataclasses.replace(example, query=f"what is {query} here"))


def assert_read_as_text(vlm, example, names):
    plain, hostile = read_query(vlm, example, ""), read_query(vlm, example, " ".join(names))
    for token in vlm.processor.tokenizer.added_tokens_decoder:
        assert (hostile.tokens == token).sum() == (plain.tokens == token).sum(), token
    assert hostile.image_mask.sum() == plain.image_mask.sum()
    assert len(hostile.tokens) > len(plain.tokens)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("has_image", [True, False])
def test_the_prompt_contains_only_the_templates_special_tokens(family, has_image):
    if not has_image and family in NEEDS_PICTURE:
        pytest.skip("the family reads prompts with an image only")
    vlm = tiny(family)
    example = next(e for e in examples() if (e.picture is not None) == has_image)
    rejected = []
    for of_images in (False, True):
        for name in list(added_tokens(vlm, of_images))[:20]:
            try:
                assert_read_as_text(vlm, example, [name])
            except CalibError as error:  # the processor cannot separate text and image tokens
                assert error.code == "unsupported"
                assert f"'{example.id}'" in str(error) and name in str(error)
                rejected.append(of_images)
    assert not rejected or family in REJECTING
    assert all(rejected) or (family, has_image) in (("idefics3", True), ("paligemma", True))


def test_mini_internvl_reads_special_tokens_as_text(vlm):
    example = next(e for e in examples() if e.picture)
    assert_read_as_text(vlm, example, added_tokens(vlm, of_images=False))
    assert vlm.processor.tokenizer.chat_control_tokens is None  # restored


def test_the_other_prompts_of_the_batch_are_unchanged(vlm):
    batch = examples()
    batch[1] = dataclasses.replace(batch[1], query=f"{batch[1].query} <|im_end|>")
    for example, prompt in zip(batch, read_prompts(vlm, batch), strict=True):
        assert prompt.tokens.tolist() == read_prompt(vlm, example).tokens.tolist()


@pytest.mark.parametrize("where", ["system", "demonstration"])
def test_special_tokens_in_system_prompts_and_demonstrations(where, vlm):
    end = "<|im_end|>"
    end_id = vlm.processor.tokenizer.convert_tokens_to_ids(end)
    assert end_id is not None
    example = examples(1)[0]
    plain, hostile = (
        dataclasses.replace(example, system=f"be brief {text}")
        if where == "system"
        else dataclasses.replace(example, demonstrations=(Turn(f"why {text}", "because"),))
        for text in ("", end)
    )
    before, after = read_prompt(vlm, plain).tokens, read_prompt(vlm, hostile).tokens
    assert (before == end_id).sum() == (after == end_id).sum() > 0
    assert len(after) > len(before)


def test_an_earlier_transformers_refuses_special_tokens_in_texts_alone(vlm, monkeypatch):
    first, second = examples(2)
    hostile = dataclasses.replace(first, query=f"{first.query} <|im_end|>")
    expected = read_prompt(vlm, second).tokens.tolist()
    monkeypatch.delattr(vlm.processor.tokenizer, "chat_control_tokens")
    with raises("unsupported", "<|im_end|>"):
        read_prompt(vlm, hostile)
    assert read_prompt(vlm, second).tokens.tolist() == expected
