"""Sites: found in every family, as wide as what passes there, and left as they were."""

import copy

import pytest
import torch
from naive_loop import hook_at_site, inputs
from tiny_families import FAMILIES, LAYERS, examples, tiny

from calib.models.layers import decoder_layers, edit_activations, hook_at, site_width
from calib.util.errors import CalibError

SITES = ("residual", "heads", "mlp")

families = pytest.mark.parametrize("family", FAMILIES)
sites = pytest.mark.parametrize("site", SITES)


@torch.no_grad()
def passed(vlm, watch):
    """What stands at every layer when a prompt with a picture passes. # [layers, length, width]"""
    seen = {}
    handles = [watch(layer, lambda h, k=layer: seen.update({k: h[0]})) for layer in range(LAYERS)]
    vlm.model(**inputs(vlm, examples(1)[0]))
    for handle in handles:
        handle.remove()
    return torch.stack([seen[layer] for layer in range(LAYERS)])


@families
@sites
def test_a_site_is_where_plain_hooks_find_it(family, site):
    vlm = tiny(family)
    found = passed(vlm, lambda layer, seen: hook_at(vlm.model, (layer, site), seen))
    plain = passed(vlm, lambda layer, seen: hook_at_site(vlm, layer, site, seen))
    assert torch.equal(found, plain)
    assert found.shape[-1] == site_width(vlm.model, site)


def test_heads_may_be_wider_than_the_residual_stream():
    model = tiny("gemma3").model
    assert site_width(model, "heads") > site_width(model, "mlp") == site_width(model, "residual")


@sites
def test_who_reads_sees_what_was_changed(site):
    vlm = tiny("internvl")
    handle = hook_at(vlm.model, (2, site), lambda hidden: seen.append(hidden.clone()))
    with torch.no_grad():
        for value in (3.0, None):
            seen: list[torch.Tensor] = []
            changes = {(2, site): lambda h: torch.full_like(h, 3.0)} if value else {}
            with edit_activations(vlm.model, changes):
                vlm.model(**inputs(vlm, examples(1)[0]))
            assert bool((seen[0] == 3.0).all()) == bool(value)
    handle.remove()


@pytest.mark.parametrize(
    "site, part, said", [("heads", "self_attn", "o_proj"), ("mlp", "mlp", "mlp")]
)
def test_a_model_without_a_site_is_named(site, part, said):
    model = copy.deepcopy(tiny("internvl").model)
    for block in decoder_layers(model):
        delattr(block, part)
    with pytest.raises(CalibError, match=rf"InternVL.*Qwen2DecoderLayer has no .*{said}.*residual"):
        hook_at(model, (0, site), lambda hidden: None)
