"""Prompts of many examples: processed in few calls, and equal to those of each example alone."""

import pytest
import torch
from tiny_families import tiny

from calib.data.example import Example
from calib.data.mini.draw import draw_object
from calib.models import prompts, tokens


@pytest.fixture
def examples():
    def picture(seed):
        return lambda: draw_object("bomb", "red", "left", seed)

    return [
        Example(
            id=f"e{k}",
            dataset="utility",
            variant="name",
            category="name",
            split="test",
            query="what is this" + " here" * (k % 3),
            picture=picture(k % 4),
        )
        for k in range(40)
    ]


@pytest.mark.parametrize("pixel_bytes, sizes", [(prompts.PIXEL_BYTES, [16, 24]), (1, [16, 16, 8])])
def test_many_small_pictures_are_processed_in_few_calls(
    vlm, examples, pixel_bytes, sizes, monkeypatch
):
    processed = []

    def process(vlm, conversations, real=tokens.process):
        processed.append(len(conversations))
        return real(vlm, conversations)

    monkeypatch.setattr(tokens, "process", process)
    monkeypatch.setattr(prompts, "PIXEL_BYTES", pixel_bytes)
    prompts.read_prompts(vlm, examples)
    assert [size for size in processed if size > 1] == sizes


@pytest.mark.parametrize("family", ["qwen2_5_vl", "mistral3", "llava_onevision"])
def test_pictures_that_may_grow_are_processed_a_few_at_a_time(family, examples, monkeypatch):
    """The pixels of the first ones do not bound those of later ones."""
    sizes = []

    def tokenized(vlm, some, real=prompts.tokenize):
        sizes.append(len(some))
        return real(vlm, some)

    monkeypatch.setattr(prompts, "tokenize", tokenized)
    prompts.read_prompts(tiny(family), examples)
    assert max(sizes) == prompts.PROMPTS_PER_CALL


def test_prompts_read_together_equal_those_read_alone(vlm, examples):
    for example, prompt in zip(examples, prompts.read_prompts(vlm, examples), strict=True):
        alone = prompts.read_prompt(vlm, example)
        assert torch.equal(prompt.tokens, alone.tokens)
        assert torch.equal(prompt.position_ids, alone.position_ids)
        assert torch.equal(prompt.image_mask, alone.image_mask)
