"""A response prefix is read as if the model had generated it, and the response continues it."""

import functools
from dataclasses import replace

import torch
from naive_loop import hook_at_site, inputs
from tiny_families import NEEDS_PICTURE, examples, families, tiny

from calib.data.example import Turn
from calib.engine.activations import read_activations
from calib.engine.engine import generate
from calib.engine.request import Decoding, Request
from calib.models.layers import decoder_layers
from calib.models.prompts import read_prompt, read_prompts

LENGTH = 16


@functools.cache
def greedy_answers(family):
    """Per example: the tokens of its greedy answer, and each layer's activations at each of them.

    # [tokens, layers, width], by transformers' own generate and plain hooks
    """
    vlm, answers = tiny(family), []
    for example in examples(8):
        if example.picture is None and family in NEEDS_PICTURE:
            continue
        given = inputs(vlm, example)
        activations = {k: [] for k in range(len(decoder_layers(vlm.model)))}
        hooks = [hook_at_site(vlm, k, "residual", steps.append) for k, steps in activations.items()]
        output = vlm.model.generate(**given, max_new_tokens=LENGTH, do_sample=False)
        for hook in hooks:
            hook.remove()
        tokens = output[0, given["input_ids"].shape[1] :].tolist()
        answers.append((example, tokens, activations))
    return answers


def prefixed_examples(family):
    """Examples prefixed with the first words of their answer, where these encode to its tokens.

    With the answer's tokens, the number of tokens in the prefix, and the answer's activations.
    """
    tokenizer = tiny(family).processor.tokenizer
    for example, tokens, activations in greedy_answers(family):
        for count in (5, 4, 3, 2, 1):
            prefix = tokenizer.decode(tokens[:count])
            if len(tokens) > count + 1 and encode(tokenizer, prefix) == tokens[:count]:
                yield replace(example, response_prefix=prefix), tokens, count, activations
                break


def encode(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


@families
def test_the_prefix_follows_the_prompt(family):
    vlm = tiny(family)
    for example, tokens, count, _ in prefixed_examples(family):
        plain, prefixed = read_prompts(vlm, [replace(example, response_prefix=""), example])
        assert prefixed.tokens.tolist() == [*plain.tokens.tolist(), *tokens[:count]]
        assert prefixed.image_mask.tolist() == [*plain.image_mask.tolist(), *[False] * count]
        assert prefixed.tokens.equal(read_prompt(vlm, example).tokens)


@families
def test_the_response_continues_the_prefix(family):
    prefixed = list(prefixed_examples(family))
    assert len(prefixed) >= 3 and any(example.picture for example, *_ in prefixed)
    rows = [Request(example) for example, *_ in prefixed]
    responses = generate(tiny(family), rows, Decoding(max_new_tokens=LENGTH, batch_rows=3))
    for response, (_, tokens, count, _) in zip(responses, prefixed, strict=True):
        rest = tokens[count:]
        ended = len(tokens) < LENGTH
        assert list(response.tokens if ended else response.tokens[: len(rest)]) == rest


@families
def test_activations_after_the_prefix_equal_those_during_generation(family):
    vlm = tiny(family)
    prefixed = list(prefixed_examples(family))
    read = read_activations(vlm, [example for example, *_ in prefixed])
    for row, (_, _, count, activations) in zip(read, prefixed, strict=True):
        for layer, steps in activations.items():  # the first step is the prompt, then one per token
            if not steps:  # Mllama's cross-attention is skipped without an image
                continue
            torch.testing.assert_close(row[layer], steps[count][0, -1], atol=2e-4, rtol=2e-4)


def test_system_prompt_and_demonstrations_precede_the_prefix():
    vlm = tiny("qwen2_5_vl")
    example, other = examples(2)
    turn = Turn(other.query, "it is a circle", other.picture)
    full = replace(example, system="be kind.", demonstrations=(turn,), response_prefix="how many")
    plain, prefixed = read_prompts(vlm, [replace(full, response_prefix=""), full])
    added = encode(vlm.processor.tokenizer, "how many")
    assert prefixed.tokens.tolist() == [*plain.tokens.tolist(), *added]
    assert len(prefixed.image_features) == 2
    assert vlm.processor.tokenizer.decode(prefixed.tokens).endswith("[assistant] how many")
