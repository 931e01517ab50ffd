"""Sites: found in every family, with the width of their activations, and hooks on them."""

import copy

import pytest
import torch
from naive_loop import hook_at_site, inputs
from raising import raises
from tiny_families import FAMILIES, HYBRIDS, examples, tiny
from tiny_parts import LAYERS

from calib.models.layers import (
    decoder_layers,
    edit_activations,
    has_recurrent_state,
    hook_at,
    layers_with,
    site_width,
)

SITES = ("residual", "heads", "mlp")

families = pytest.mark.parametrize("family", FAMILIES)
sites = pytest.mark.parametrize("site", SITES)


@torch.no_grad()
def activations(vlm, layers, hook_layer):
    """Activations of a prompt with an image at some layers. # [layers, length, width]"""
    read = {}
    handles = [
        hook_layer(layer, lambda hidden, k=layer: read.update({k: hidden[0]})) for layer in layers
    ]
    vlm.model(**inputs(vlm, examples(1)[0]))
    for handle in handles:
        handle.remove()
    return torch.stack([read[layer] for layer in layers])


@families
@sites
def test_a_site_equals_that_of_plain_hooks(family, site):
    vlm = tiny(family)
    layers = [2, 4] if site == "heads" and family in HYBRIDS else range(LAYERS)
    assert layers_with(vlm.model, site) == list(layers)
    ours = activations(vlm, layers, lambda layer, hook: hook_at(vlm.model, (layer, site), hook))
    plain = activations(vlm, layers, lambda layer, hook: hook_at_site(vlm, layer, site, hook))
    assert torch.equal(ours, plain)
    assert ours.shape[-1] == site_width(vlm.model, site)


@families
def test_only_hybrids_have_a_recurrent_state(family):
    assert has_recurrent_state(tiny(family).model) == (family in HYBRIDS)


@pytest.mark.parametrize("family", HYBRIDS)
@pytest.mark.parametrize("layer", [0, 1, 3])
def test_a_hybrid_has_no_heads_in_blocks_without_attention(family, layer):
    model = tiny(family).model
    with raises("unsupported", type(model).__name__, "attention", "residual"):
        hook_at(model, (layer, "heads"), lambda hidden: None)


def test_heads_of_another_width_are_left_out():
    model = copy.deepcopy(tiny("internvl").model)
    for layer in (1, 3):
        decoder_layers(model)[layer].self_attn.o_proj = torch.nn.Linear(96, 48)
    assert layers_with(model, "heads") == [0, 2, 4]
    assert site_width(model, "heads") == 48
    assert layers_with(model, "residual") == [0, 1, 2, 3, 4]


def test_heads_may_be_wider_than_the_residual_stream():
    model = tiny("gemma3").model
    assert site_width(model, "heads") > site_width(model, "mlp") == site_width(model, "residual")


@sites
def test_earlier_hooks_read_the_edited_activations(site):
    vlm = tiny("internvl")
    handle = hook_at(vlm.model, (2, site), lambda hidden: read.append(hidden.clone()))
    with torch.no_grad():
        for edited in (True, False):
            read: list[torch.Tensor] = []
            edits = {(2, site): lambda h: torch.full_like(h, 3.0)} if edited else {}
            with edit_activations(vlm.model, edits):
                vlm.model(**inputs(vlm, examples(1)[0]))
            assert bool((read[0] == 3.0).all()) == edited
    handle.remove()


@pytest.mark.parametrize(
    "site, part, module", [("heads", "self_attn", "o_proj"), ("mlp", "mlp", "mlp")]
)
def test_a_model_without_a_site(site, part, module):
    model = copy.deepcopy(tiny("internvl").model)
    for block in decoder_layers(model):
        delattr(block, part)
    with raises("unsupported", "InternVL", "Qwen2DecoderLayer", module, "residual"):
        hook_at(model, (0, site), lambda hidden: None)
