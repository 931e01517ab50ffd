"""Activations equal those of plain hooks in any batch, and no layer above the last one runs."""

import copy
import dataclasses
import functools

import pytest
import torch
from naive_loop import hook_at_site, inputs, position_mask
from raising import raises
from tiny_families import HYBRIDS, NEEDS_PICTURE, examples, families, picture, tiny
from tiny_parts import LAYERS

from calib.data.example import Turn
from calib.data.mini.examples import load
from calib.engine.activations import divergence, read_activations
from calib.engine.engine import generate
from calib.engine.request import Decoding, Request
from calib.models.feature_cache import FeatureCache
from calib.models.layers import decoder, decoder_layers, site_width
from calib.models.prompts import read_prompt

MEANS = ("prompt", "image", "text", "last_prompt")


def fresh(family):
    return dataclasses.replace(tiny(family), feature_cache=FeatureCache())


def readable(family):
    return [e for e in examples(6) if e.picture or family not in NEEDS_PICTURE]


@torch.no_grad()
def block_outputs(vlm, example):
    """Every block's output for one prompt, from plain hooks on a complete forward pass.

    A skipped block passes its input on. # [layers, length, width], [length]
    """
    prompt, outputs = inputs(vlm, example), {}

    def hook_of(index):
        def hook(module, args, output):
            outputs[index] = (output if torch.is_tensor(output) else output[0])[0].clone()

        return hook

    blocks = decoder_layers(vlm.model)
    handles = [block.register_forward_hook(hook_of(k)) for k, block in enumerate(blocks)]
    vlm.model(**prompt)
    for handle in handles:
        handle.remove()
    for index in range(1, len(blocks)):
        outputs.setdefault(index, outputs[index - 1])
    return torch.stack([outputs[k] for k in range(len(blocks))]), prompt["input_ids"][0]


@functools.cache
def all_block_outputs(family):
    return [block_outputs(tiny(family), example) for example in readable(family)]


def averaged(vlm, hidden_and_tokens, positions):
    """The mean over positions, by layer. # [layers, width]"""
    hidden, tokens = hidden_and_tokens
    return hidden[:, position_mask(vlm, tokens, positions)].mean(1)


@pytest.fixture(scope="module")
def small():
    return tiny("internvl")


@families
@pytest.mark.parametrize("positions", MEANS)
def test_activations_equal_plain_hooks(family, positions):
    """In small batches of mixed lengths, with and without images, in the order of the examples."""
    vlm = fresh(family)
    pairs = zip(readable(family), all_block_outputs(family), strict=True)
    pairs = [(e, outputs) for e, outputs in pairs if e.picture or positions != "image"]
    read = read_activations(vlm, [example for example, _ in pairs], positions, batch_rows=3)
    expected = [averaged(vlm, outputs, positions) for _, outputs in pairs]
    assert read.dtype == torch.float32 and read.shape == (len(pairs), LAYERS, vlm.width)
    assert torch.allclose(read, torch.stack(expected), atol=1e-4, rtol=1e-4)


@families
def test_activations_of_padded_prompts(family, monkeypatch):
    """By default, only prompts of similar length are read together."""
    monkeypatch.setattr("calib.engine.activations.PADDING", 100.0)
    read = read_activations(fresh(family), readable(family), "text")
    expected = [averaged(tiny(family), o, "text") for o in all_block_outputs(family)]
    assert torch.allclose(read, torch.stack(expected), atol=1e-4, rtol=1e-4)


@families
def test_activations_of_prompts_with_several_images(family):
    turn = Turn("what is this?", "a red square.", functools.partial(picture, 7))
    first, second = (dataclasses.replace(e, demonstrations=(turn,)) for e in examples(2))
    mixed = [first, examples(1)[0], second]
    vlm = fresh(family)
    read = read_activations(vlm, mixed, "image")
    expected = [averaged(vlm, block_outputs(vlm, example), "image") for example in mixed]
    assert torch.allclose(read, torch.stack(expected), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("layers", [[2], [0, 3], [3, 0], [4, 1, 2]])
@pytest.mark.parametrize("positions", ["last_prompt", "text"])
def test_layers_are_in_the_given_order(small, layers, positions):
    every = read_activations(small, examples(4), positions)
    read = read_activations(small, examples(4), positions, layers=layers)
    assert torch.equal(read, every[:, layers])


@pytest.mark.parametrize("layers, run", [([1], 2), ([3, 0], 4), (None, LAYERS)])
def test_layers_above_the_last_one_do_not_run(small, layers, run):
    calls = []
    modules = [*decoder_layers(small.model), decoder(small.model).norm]
    modules.append(small.model.get_output_embeddings())
    handles = [
        module.register_forward_pre_hook(lambda module, args, k=k: calls.append(k))
        for k, module in enumerate(modules)
    ]
    read_activations(small, examples(2), layers=layers, batch_rows=1)
    for handle in handles:
        handle.remove()
    assert calls == [*range(run)] * 2


def test_an_ended_pass_leaves_no_trace_in_the_model(small):
    """No hook is left, and later responses are unchanged."""
    requests = [Request(example) for example in examples(3)]
    modules = [decoder(small.model), *decoder_layers(small.model)]
    before = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules]
    expected = generate(small, requests, Decoding(max_new_tokens=6))
    read_activations(small, examples(3), layers=[1])
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules] == before
    assert generate(small, requests, Decoding(max_new_tokens=6)) == expected


def test_activations_do_not_depend_on_the_batch_size(vlm, mixed_examples):
    together = read_activations(vlm, mixed_examples, "prompt", batch_rows=len(mixed_examples))
    alone = read_activations(vlm, mixed_examples, "prompt", batch_rows=1)
    assert torch.allclose(together, alone, atol=1e-4)


def test_passes_respect_the_limits_of_rows_and_tokens(small, monkeypatch):
    monkeypatch.setattr("calib.engine.activations.PADDING", 100.0)
    shapes = []
    handle = decoder_layers(small.model)[0].register_forward_pre_hook(
        lambda module, args: shapes.append(tuple(args[0].shape[:2]))
    )
    read_activations(small, examples(9), batch_rows=4)
    assert max(rows for rows, _ in shapes) == 4 and len(shapes) <= 4
    shapes.clear()
    monkeypatch.setattr("calib.engine.activations.PASS_TOKENS", 130)
    read_activations(small, examples(9))
    handle.remove()
    assert max(rows * length for rows, length in shapes) <= 130
    assert sum(rows for rows, _ in shapes) == 9


def test_progress_counts_every_prompt(small):
    class Bar:
        done = 0

        def update(self, count):
            self.done += count

    bar = Bar()
    read_activations(small, examples(7), batch_rows=2, progress=bar)
    assert bar.done == 7


def test_reading_and_generating_share_the_image_features():
    vlm = fresh("internvl")
    with_image = [example for example in examples(6) if example.picture]
    read_activations(vlm, with_image)
    generate(vlm, [Request(example) for example in with_image], Decoding(max_new_tokens=1))
    assert vlm.feature_cache.passes == len(with_image)


def test_no_examples(small):
    assert read_activations(small, [], layers=[1, 2]).shape == (0, 2, small.width)


def test_activations_of_a_half_precision_model_are_float32(small):
    vlm = dataclasses.replace(
        small, model=copy.deepcopy(small.model).to(torch.bfloat16), feature_cache=FeatureCache()
    )
    text_only = [example for example in examples(6) if not example.picture]
    wide, narrow = (read_activations(model, text_only, "text") for model in (small, vlm))
    assert narrow.dtype == torch.float32
    assert ((wide - narrow).norm(dim=-1) < 0.1 * wide.norm(dim=-1)).all()


def test_a_prompt_without_a_token_at_the_positions(vlm):
    text_only = next(e for e in load(["text_centric"], limit=200) if e.picture is None)
    with raises("too-few", text_only.id, "image"):
        read_activations(vlm, [text_only], "image")


def test_activations_that_are_not_finite(vlm, mixed_examples):
    def poison(module, args, output):
        return output * float("nan")

    handle = decoder_layers(vlm.model)[1].register_forward_hook(poison, prepend=True)
    try:
        with raises("not-finite", "layer 1 ", "2 of 2", "model.dtype=float32"):
            read_activations(vlm, mixed_examples[:2], layers=[0, 1, 3])
    finally:
        handle.remove()


def test_a_prompt_longer_than_the_context(vlm, mixed_examples):
    long = dataclasses.replace(mixed_examples[0], query="why " * 1100)
    with raises("too-large", long.id, 1024):
        read_prompt(vlm, long)


@torch.no_grad()
def at_site(vlm, example, site, layers):
    """Activations at a site from a complete forward pass; zeros in skipped blocks."""
    prompt, activations = inputs(vlm, example), {}
    handles = [
        hook_at_site(vlm, k, site, lambda hidden, k=k: activations.update({k: hidden[0].clone()}))
        for k in layers
    ]
    vlm.model(**prompt)
    for handle in handles:
        handle.remove()
    zeros = torch.zeros_like(activations[layers[0]])
    by_layer = torch.stack([activations.get(k, zeros) for k in layers])
    return by_layer, prompt["input_ids"][0]


@families
@pytest.mark.parametrize("site", ["heads", "mlp"])
def test_activations_inside_blocks_equal_plain_hooks(family, site):
    vlm, usable = fresh(family), readable(family)
    width = site_width(vlm.model, site)
    layers = [2, 4] if site == "heads" and family in HYBRIDS else list(range(LAYERS))
    plain = [at_site(vlm, example, site, layers) for example in usable]
    for positions in ("prompt", "last_prompt"):
        read = read_activations(vlm, usable, positions, batch_rows=3, site=site)
        assert read.shape == (len(usable), len(layers), width)
        expected = [averaged(vlm, activations, positions) for activations in plain]
        assert torch.allclose(read, torch.stack(expected), atol=1e-4, rtol=1e-4)
        two = [layers[-1], layers[0]]
        two_layers = read_activations(vlm, usable, positions, 3, layers=two, site=site)
        assert torch.equal(two_layers, read[:, [-1, 0]])


@pytest.mark.parametrize("site", ["heads", "mlp"])
def test_the_pass_ends_at_the_site_of_the_last_layer(small, site):
    calls = []
    block = decoder_layers(small.model)[2]
    modules = (block.self_attn.o_proj, block.mlp, decoder_layers(small.model)[3])
    handles = [
        module.register_forward_hook(lambda module, args, output, k=k: calls.append(k))
        for k, module in enumerate(modules)
    ]
    read_activations(small, examples(1), layers=[2], site=site)
    for handle in handles:
        handle.remove()
    assert calls == ([] if site == "heads" else [0, 1])


def test_kl_of_logits_that_are_not_finite_is_unknown():
    """Tokens that neither side can choose add nothing."""
    finite = torch.tensor([1.0, 2.0, -torch.inf])
    assert divergence(finite, finite) == 0
    assert divergence(finite, torch.tensor([2.0, 1.0, -torch.inf])) > 0
    assert divergence(finite, torch.tensor([1.0, -torch.inf, 2.0])).isinf()
    for value in (torch.inf, torch.nan):
        broken = torch.tensor([1.0, value, 0.0])
        assert divergence(finite, broken).isnan() and divergence(broken, finite).isnan()
