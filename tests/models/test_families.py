"""What other tests rely on: every tiny family runs, and tells prompts and pictures apart."""

import dataclasses
import functools
from typing import Any

import pytest
import torch
from PIL import ImageOps
from tiny_families import FAMILIES, LAYERS, NEEDS_PICTURE, examples, tiny

from calib.data.example import Example
from calib.models.layers import decoder_layers
from calib.models.load import VLM
from calib.models.prompts import conversation

LENGTH = 24

families = pytest.mark.parametrize("family", FAMILIES)


def inputs(vlm: VLM, example: Example) -> dict[str, Any]:
    """One prompt as the processor gives it."""
    settings = {}
    if example.picture and hasattr(vlm.processor.image_processor, "crop_to_patches"):
        settings["crop_to_patches"] = vlm.tiles
    return vlm.processor.apply_chat_template(
        [conversation(example)],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs=settings,
    )


def readable(family: str) -> list[Example]:
    """The examples that the family's processor takes."""
    return [e for e in examples(8) if e.picture or family not in NEEDS_PICTURE]


@functools.cache
def answers(family: str) -> list[list[int]]:
    """Tokens of the greedy answers, one prompt at a time through transformers' own generate."""
    vlm, found = tiny(family), []
    for example in readable(family):
        read = inputs(vlm, example)
        row = vlm.model.generate(**read, max_new_tokens=LENGTH, do_sample=False)[0]
        found.append(row[read["input_ids"].shape[1] :].tolist())
    return found


@families
def test_it_is_built_with_a_decoder_that_is_found(family):
    vlm = tiny(family)
    assert vlm is tiny(family)
    assert not vlm.model.training and vlm.model.dtype == torch.float32
    assert len(decoder_layers(vlm.model)) == vlm.num_layers == LAYERS
    assert vlm.model.config.get_text_config(decoder=True).hidden_size == vlm.width


def test_families_are_told_apart_by_their_fingerprints():
    assert len({tiny(family).fingerprint for family in FAMILIES}) == len(FAMILIES)


def test_examples_are_mixed():
    found = examples()
    assert len(found) == 6 and len({e.id for e in found}) == 6
    assert sum(e.picture is None for e in found) == 2
    assert len({len(e.query) for e in found}) == 6
    assert len({e.picture().tobytes() for e in found if e.picture}) == 4


@families
def test_it_takes_prompts_without_a_picture_or_says_so(family):
    plain = next(e for e in examples() if e.picture is None)
    if family in NEEDS_PICTURE:
        with pytest.raises(ValueError, match="`images` are expected"):
            inputs(tiny(family), plain)
    else:
        assert "pixel_values" not in inputs(tiny(family), plain)


@families
def test_answers_differ_and_are_not_one_token_repeated(family):
    found = answers(family)
    assert len({tuple(answer) for answer in found}) == len(found)
    for answer in found:
        assert len(answer) < 6 or len(set(answer)) > len(answer) / 3


@families
def test_answers_are_text_that_ends_early_or_late(family):
    vlm = tiny(family)
    ends = set(vlm.model.generation_config.eos_token_id)
    for answer in answers(family):
        assert not set(answer) & set(vlm.processor.tokenizer.get_added_vocab().values())
        assert not ends & set(answer[:-1])
        assert len(answer) == LENGTH or answer[-1] in ends
    lengths = [len(answer) for answer in answers(family)]
    assert min(lengths) <= 10
    assert any(answer[-1] not in ends for answer in answers(family))
    assert len(set(lengths)) >= 4


@families
@torch.no_grad()
def test_another_picture_changes_what_is_said(family):
    vlm = tiny(family)
    example = next(e for e in examples() if e.picture)
    inverted = ImageOps.invert(example.picture())
    one = inputs(vlm, example)
    other = inputs(vlm, dataclasses.replace(example, picture=lambda: inverted))
    assert one["input_ids"].equal(other["input_ids"])
    change = (vlm.model(**one).logits - vlm.model(**other).logits)[0, -1].abs().max()
    assert change > 0.5


@families
@torch.no_grad()
def test_the_beginning_of_the_prompt_changes_what_is_said(family):
    vlm = tiny(family)
    example = next(e for e in examples() if e.picture)
    one, other = (inputs(vlm, dataclasses.replace(example, query=q + "at is it?")) for q in "kx")
    assert one["input_ids"].shape == other["input_ids"].shape
    change = (vlm.model(**one).logits - vlm.model(**other).logits)[0, -1].abs().max()
    assert change > 0.01
