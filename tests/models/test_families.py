"""The tiny families that other tests use: each one runs, and reacts to prompts and images."""

import dataclasses
import functools
from typing import Any

import pytest
import torch
from PIL import ImageOps
from tiny_families import FAMILIES, NEEDS_PICTURE, examples, families, tiny
from tiny_parts import LAYERS

from calib.data.example import Example
from calib.models.chat_template import conversation
from calib.models.layers import decoder_layers
from calib.models.load import VLM

LENGTH = 24


def inputs(vlm: VLM, example: Example) -> dict[str, Any]:
    """Model inputs of one prompt, from the family's own processor."""
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
    """The examples that the family's processor supports."""
    return [e for e in examples(8) if e.picture or family not in NEEDS_PICTURE]


@functools.cache
def answers(family: str) -> list[list[int]]:
    """Greedy answers as tokens, one prompt at a time with transformers' own generate."""
    vlm, answered = tiny(family), []
    for example in readable(family):
        read = inputs(vlm, example)
        row = vlm.model.generate(**read, max_new_tokens=LENGTH, do_sample=False)[0]
        answered.append(row[read["input_ids"].shape[1] :].tolist())
    return answered


@families
def test_its_decoder_is_found(family):
    vlm = tiny(family)
    assert vlm is tiny(family)
    assert not vlm.model.training and vlm.model.dtype == torch.float32
    assert len(decoder_layers(vlm.model)) == vlm.num_layers == LAYERS
    assert vlm.model.config.get_text_config(decoder=True).hidden_size == vlm.width


def test_fingerprints_differ_between_families():
    assert len({tiny(family).fingerprint for family in FAMILIES}) == len(FAMILIES)


def test_examples_are_mixed():
    mixed = examples()
    assert len(mixed) == 6 and len({e.id for e in mixed}) == 6
    assert sum(e.picture is None for e in mixed) == 2
    assert len({len(e.query) for e in mixed}) == 6
    assert len({e.picture().tobytes() for e in mixed if e.picture}) == 4


@families
def test_prompts_without_an_image_work_or_are_rejected(family):
    plain = next(e for e in examples() if e.picture is None)
    if family in NEEDS_PICTURE:
        with pytest.raises(ValueError, match="`images` are expected"):
            inputs(tiny(family), plain)
    else:
        assert "pixel_values" not in inputs(tiny(family), plain)


@families
def test_answers_differ_and_are_not_one_token_repeated(family):
    assert len({tuple(answer) for answer in answers(family)}) == len(answers(family))
    for answer in answers(family):
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
def test_the_image_changes_the_answer(family):
    vlm = tiny(family)
    example = next(e for e in examples() if e.picture)
    inverted = ImageOps.invert(example.picture())
    original = inputs(vlm, example)
    changed = inputs(vlm, dataclasses.replace(example, picture=lambda: inverted))
    assert original["input_ids"].equal(changed["input_ids"])
    difference = (vlm.model(**original).logits - vlm.model(**changed).logits)[0, -1].abs().max()
    assert difference > 0.5


@families
@torch.no_grad()
def test_the_first_words_of_the_query_change_the_answer(family):
    vlm = tiny(family)
    example = next(e for e in examples() if e.picture)
    first, second = (inputs(vlm, dataclasses.replace(example, query=q + "at is it?")) for q in "kx")
    assert first["input_ids"].shape == second["input_ids"].shape
    difference = (vlm.model(**first).logits - vlm.model(**second).logits)[0, -1].abs().max()
    assert difference > 0.01
