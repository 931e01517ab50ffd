"""Activations: the residual stream as plain hooks see it, whatever the batch, and no more computed
than wanted."""

import copy
import dataclasses
import functools

import pytest
import torch
from naive_loop import hook_at_site, inputs, position_mask
from tiny_families import FAMILIES, LAYERS, NEEDS_PICTURE, examples, picture, tiny

from calib.data.example import Turn
from calib.data.mini.examples import load
from calib.engine.activations import read_activations
from calib.engine.engine import generate
from calib.engine.request import Decoding, Request
from calib.models.feature_cache import FeatureCache
from calib.models.layers import decoder, decoder_layers, site_width
from calib.models.prompts import read_prompt
from calib.util.errors import CalibError

families = pytest.mark.parametrize("family", FAMILIES)
MEANS = ("prompt", "image", "text", "last_prompt")


def fresh(family):
    return dataclasses.replace(tiny(family), feature_cache=FeatureCache())


def readable(family):
    return [e for e in examples(6) if e.picture or family not in NEEDS_PICTURE]


@torch.no_grad()
def plainly(vlm, example):
    """The input of every block's successor for one prompt, by plain hooks on a whole forward.

    A block that is left out changes nothing. # [layers, length, width]
    """
    given, seen = inputs(vlm, example), {}

    def hook_of(index):
        def hook(module, args, output):
            seen[index] = (output if torch.is_tensor(output) else output[0])[0].clone()

        return hook

    blocks = decoder_layers(vlm.model)
    handles = [block.register_forward_hook(hook_of(k)) for k, block in enumerate(blocks)]
    vlm.model(**given)
    for handle in handles:
        handle.remove()
    for index in range(1, len(blocks)):
        seen.setdefault(index, seen[index - 1])
    return torch.stack([seen[k] for k in range(len(blocks))]), given["input_ids"][0]


@functools.cache
def by_hooks(family):
    return [plainly(tiny(family), example) for example in readable(family)]


def averaged(vlm, found, positions):
    """By layer, the mean over positions. # [layers, width]"""
    hidden, tokens = found
    return hidden[:, position_mask(vlm, tokens, positions)].mean(1)


@pytest.fixture(scope="module")
def small():
    return tiny("internvl")


@families
@pytest.mark.parametrize("positions", MEANS)
def test_activations_are_those_of_plain_hooks(family, positions):
    """Lengths are mixed and batches small, pictures are there and not; the order is that asked."""
    vlm, found = fresh(family), readable(family)
    kept = [k for k, e in enumerate(found) if e.picture or positions != "image"]
    read = read_activations(vlm, [found[k] for k in kept], positions, batch_rows=3)
    expected = [averaged(vlm, by_hooks(family)[k], positions) for k in kept]
    assert read.dtype == torch.float32 and read.shape == (len(kept), LAYERS, vlm.width)
    assert torch.allclose(read, torch.stack(expected), atol=1e-4, rtol=1e-4)


@families
def test_activations_of_prompts_beside_longer_ones(family, monkeypatch):
    """Padded on the left; as a rule, prompts of one length are read together."""
    monkeypatch.setattr("calib.engine.activations.PADDING", 100.0)
    read = read_activations(fresh(family), readable(family), "text")
    expected = [averaged(tiny(family), one, "text") for one in by_hooks(family)]
    assert torch.allclose(read, torch.stack(expected), atol=1e-4, rtol=1e-4)


@families
def test_activations_of_prompts_with_several_pictures(family):
    before = Turn("what is this?", "a red square.", functools.partial(picture, 7))
    one, other = (dataclasses.replace(e, demonstrations=(before,)) for e in examples(2))
    asked = [one, examples(1)[0], other]
    vlm = fresh(family)
    read = read_activations(vlm, asked, "image")
    expected = [averaged(vlm, plainly(vlm, example), "image") for example in asked]
    assert torch.allclose(read, torch.stack(expected), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("wanted", [[2], [0, 3], [3, 0], [4, 1, 2]])
@pytest.mark.parametrize("positions", ["last_prompt", "text"])
def test_wanted_layers_are_in_the_order_asked(small, wanted, positions):
    every = read_activations(small, examples(4), positions)
    assert torch.equal(
        read_activations(small, examples(4), positions, layers=wanted), every[:, wanted]
    )


@pytest.mark.parametrize("wanted, run", [([1], 2), ([3, 0], 4), (None, LAYERS)])
def test_what_lies_above_the_last_wanted_layer_is_not_run(small, wanted, run):
    calls = []
    watched = [*decoder_layers(small.model), decoder(small.model).norm]
    watched.append(small.model.get_output_embeddings())
    handles = [
        module.register_forward_pre_hook(lambda module, args, k=k: calls.append(k))
        for k, module in enumerate(watched)
    ]
    read_activations(small, examples(2), layers=wanted, batch_rows=1)
    for handle in handles:
        handle.remove()
    assert calls == [*range(run)] * 2


def test_the_model_goes_on_as_before(small):
    """A pass that was ended early leaves no hook, and nothing of itself in the next pass."""
    asked = [Request(example) for example in examples(3)]
    modules = [decoder(small.model), *decoder_layers(small.model)]
    before = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules]
    expected = generate(small, asked, Decoding(max_new_tokens=6))
    read_activations(small, examples(3), layers=[1])
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules] == before
    assert generate(small, asked, Decoding(max_new_tokens=6)) == expected


def test_batch_size_does_not_matter(vlm, mixed_examples):
    together = read_activations(vlm, mixed_examples, "prompt", batch_rows=len(mixed_examples))
    alone = read_activations(vlm, mixed_examples, "prompt", batch_rows=1)
    assert torch.allclose(together, alone, atol=1e-4)


def test_passes_hold_no_more_than_asked(small, monkeypatch):
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


def test_progress_is_told_of_every_prompt(small):
    class Bar:
        done = 0

        def update(self, count):
            self.done += count

    bar = Bar()
    read_activations(small, examples(7), batch_rows=2, progress=bar)
    assert bar.done == 7


def test_a_picture_is_encoded_once_for_reading_and_answering():
    vlm = fresh("internvl")
    shown = [example for example in examples(6) if example.picture]
    read_activations(vlm, shown)
    generate(vlm, [Request(example) for example in shown], Decoding(max_new_tokens=1))
    assert vlm.feature_cache.passes == len(shown)


def test_nothing_asked_nothing_read(small):
    assert read_activations(small, [], layers=[1, 2]).shape == (0, 2, small.width)


def test_a_half_precision_model_is_read_as_float32(small):
    vlm = dataclasses.replace(
        small, model=copy.deepcopy(small.model).to(torch.bfloat16), feature_cache=FeatureCache()
    )
    plain = [example for example in examples(6) if not example.picture]
    wide, narrow = (read_activations(one, plain, "text") for one in (small, vlm))
    assert narrow.dtype == torch.float32
    assert ((wide - narrow).norm(dim=-1) < 0.1 * wide.norm(dim=-1)).all()


def test_positions_that_are_not_there(vlm):
    plain = next(e for e in load(["text_centric"], limit=200) if e.picture is None)
    with pytest.raises(CalibError, match=r"text_centric.* has no image tokens"):
        read_activations(vlm, [plain], "image")


def test_activations_that_are_not_finite(vlm, mixed_examples):
    def poison(module, args, output):
        return output * float("nan")

    handle = decoder_layers(vlm.model)[1].register_forward_hook(poison, prepend=True)
    try:
        with pytest.raises(CalibError, match=r"not finite at layer 1 .*model\.dtype=float32"):
            read_activations(vlm, mixed_examples[:2], layers=[0, 1, 3])
    finally:
        handle.remove()


def test_a_prompt_longer_than_the_context(vlm, mixed_examples):
    long = dataclasses.replace(mixed_examples[0], query="why " * 1100)
    with pytest.raises(CalibError, match=r"reads at most 1024"):
        read_prompt(vlm, long)


@torch.no_grad()
def at_site(vlm, example, site):
    """What a whole forward has at a site; zeros in blocks that are left out."""
    given, seen = inputs(vlm, example), {}
    handles = [
        hook_at_site(vlm, k, site, lambda hidden, k=k: seen.update({k: hidden[0].clone()}))
        for k in range(LAYERS)
    ]
    vlm.model(**given)
    for handle in handles:
        handle.remove()
    nothing = torch.zeros_like(seen[0])
    return torch.stack([seen.get(k, nothing) for k in range(LAYERS)]), given["input_ids"][0]


@families
@pytest.mark.parametrize("site", ["heads", "mlp"])
def test_activations_inside_blocks_are_those_of_plain_hooks(family, site):
    vlm, found = fresh(family), readable(family)
    width = site_width(vlm.model, site)
    plain = [at_site(vlm, example, site) for example in found]
    for positions in ("prompt", "last_prompt"):
        read = read_activations(vlm, found, positions, batch_rows=3, site=site)
        assert read.shape == (len(found), LAYERS, width)
        expected = [averaged(vlm, one, positions) for one in plain]
        assert torch.allclose(read, torch.stack(expected), atol=1e-4, rtol=1e-4)
        some = read_activations(vlm, found, positions, 3, layers=[3, 1], site=site)
        assert torch.equal(some, read[:, [3, 1]])


@pytest.mark.parametrize("site", ["heads", "mlp"])
def test_a_block_is_left_where_the_last_wanted_site_is(small, site):
    calls = []
    block = decoder_layers(small.model)[2]
    watched = (block.self_attn.o_proj, block.mlp, decoder_layers(small.model)[3])
    handles = [
        module.register_forward_hook(lambda module, args, output, k=k: calls.append(k))
        for k, module in enumerate(watched)
    ]
    read_activations(small, examples(1), layers=[2], site=site)
    for handle in handles:
        handle.remove()
    assert calls == ([] if site == "heads" else [0, 1])
