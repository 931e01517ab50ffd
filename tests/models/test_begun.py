"""A begun response reads as if the model had said it: its own words, taken for given, go on."""

import functools
from dataclasses import replace

import pytest
import torch
from naive_loop import hook_at_site, inputs
from tiny_families import FAMILIES, NEEDS_PICTURE, examples, tiny

from calib.data.example import Turn
from calib.engine.activations import read_activations
from calib.engine.engine import generate
from calib.engine.request import Decoding, Request
from calib.models.layers import decoder_layers
from calib.models.prompts import read_prompt, read_prompts

LENGTH = 16
families = pytest.mark.parametrize("family", FAMILIES)


@functools.cache
def said(family):
    """By example: the tokens of its greedy answer, and what every layer held at each of them.

    # [tokens, layers, width], by transformers' own generate and plain hooks
    """
    vlm, found = tiny(family), []
    for example in examples(8):
        if example.picture is None and family in NEEDS_PICTURE:
            continue
        given = inputs(vlm, example)
        seen = {k: [] for k in range(len(decoder_layers(vlm.model)))}
        hooks = [hook_at_site(vlm, k, "residual", held.append) for k, held in seen.items()]
        answer = vlm.model.generate(**given, max_new_tokens=LENGTH, do_sample=False)
        for hook in hooks:
            hook.remove()
        tokens = answer[0, given["input_ids"].shape[1] :].tolist()
        found.append((example, tokens, seen))
    return found


def split_answers(family):
    """Examples, the first words of their answers and their tokens, where words give tokens back."""
    tokenizer = tiny(family).processor.tokenizer
    for example, tokens, seen in said(family):
        for count in (5, 4, 3, 2, 1):
            begun = tokenizer.decode(tokens[:count])
            if len(tokens) > count + 1 and ids(tokenizer, begun) == tokens[:count]:
                yield replace(example, response_prefix=begun), tokens, count, seen
                break


def ids(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


@families
def test_the_prompt_is_followed_by_the_words(family):
    vlm = tiny(family)
    for example, tokens, count, _ in split_answers(family):
        plain, begun = read_prompts(vlm, [replace(example, response_prefix=""), example])
        assert begun.tokens.tolist() == [*plain.tokens.tolist(), *tokens[:count]]
        assert begun.image_mask.tolist() == [*plain.image_mask.tolist(), *[False] * count]
        assert begun.tokens.equal(read_prompt(vlm, example).tokens)


@families
def test_the_model_goes_on_as_if_it_had_said_them(family):
    asked = list(split_answers(family))
    assert len(asked) >= 3 and any(one.picture for one, *_ in asked)
    rows = [Request(example) for example, *_ in asked]
    found = generate(tiny(family), rows, Decoding(max_new_tokens=LENGTH, batch_rows=3))
    for response, (_, tokens, count, _) in zip(found, asked, strict=True):
        left = tokens[count:]
        ended = len(tokens) < LENGTH
        assert list(response.tokens if ended else response.tokens[: len(left)]) == left


@families
def test_what_is_read_behind_the_words_is_what_the_model_held_there(family):
    vlm = tiny(family)
    asked = list(split_answers(family))
    read = read_activations(vlm, [example for example, *_ in asked])
    for row, (_, _, count, seen) in zip(read, asked, strict=True):
        for layer, steps in seen.items():  # the first pass reads the prompt, then one token each
            if not steps:  # Mllama's cross-attention, without a picture
                continue
            torch.testing.assert_close(row[layer], steps[count][0, -1], atol=2e-4, rtol=2e-4)


def test_demonstrations_and_system_prompts_stand_before_the_words():
    vlm = tiny("qwen2_5_vl")
    one, other = examples(2)
    shown = Turn(other.query, "it is a circle", other.picture)
    full = replace(one, system="be kind.", demonstrations=(shown,), response_prefix="how many")
    plain, begun = read_prompts(vlm, [replace(full, response_prefix=""), full])
    added = ids(vlm.processor.tokenizer, "how many")
    assert begun.tokens.tolist() == [*plain.tokens.tolist(), *added]
    assert len(begun.image_features) == 2
    assert vlm.processor.tokenizer.decode(begun.tokens).endswith("[assistant] how many")
