"""Steering files of lm-evaluation-harness: under its reader's rules they steer as calib does."""

import pytest
import torch
from raising import raises
from random_directions import direction_at
from tiny_families import tiny

from calib.engine.operators import Ablate, Add
from calib.interchange.formats import require_expressible
from calib.interchange.lm_eval import loads_by_name, module_name, steering_file
from calib.models.layers import edit_activations

TOKENS = torch.tensor([[20, 31, 42, 53, 64, 75]])


def read(tmp_path, direction, model):
    path = tmp_path / "d.pt"
    path.write_bytes(steering_file(require_expressible(direction, "lm_eval", "all"), model))
    return path, torch.load(path, weights_only=True)


@torch.no_grad()
def harness(model, entries):
    """Its reader's rules: modules by name in base_model, add to or clamp their output."""

    def edited(hidden, entry):
        vector = entry["steering_vector"].to(model.dtype)
        coefficient = float(entry["steering_coefficient"])
        if entry["action"] == "add":
            assert entry["bias"] is None
            return hidden + vector * coefficient
        assert entry["action"] == "clamp"
        unit = vector / vector.norm()
        return hidden + unit * (coefficient - (hidden * unit).sum(-1, keepdim=True))

    def hook(entry):
        def after(module, args, output):
            if isinstance(output, tuple):
                return (edited(output[0], entry), *output[1:])
            return edited(output, entry)

        return after

    modules = {n: m for n, m in model.base_model.named_modules() if n in entries}
    assert len(modules) == len(entries)
    handles = [m.register_forward_hook(hook(entries[n]), prepend=True) for n, m in modules.items()]
    logits = model(input_ids=TOKENS).logits
    for handle in handles:
        handle.remove()
    return logits


@torch.no_grad()
def ours(model, direction, operator):
    edits = {
        (layer, direction.site): lambda hidden, layer=layer: operator(layer).formula(
            hidden, *(t[None, None] for t in operator(layer).tensors())
        )
        for layer in direction.layers
    }
    with edit_activations(model, edits):
        return model(input_ids=TOKENS).logits


@pytest.mark.parametrize("family", ["internvl", "llava", "qwen2_5_vl", "idefics3", "gemma3"])
@pytest.mark.parametrize("site", ["residual", "mlp"])
def test_the_harness_computes_the_same_logits(tmp_path, family, site):
    vlm = tiny(family)
    direction = direction_at(vlm, [0, 3], strength=1.5, site=site)
    _, entries = read(tmp_path, direction, vlm.model)
    expected = ours(vlm.model, direction, lambda n: Add(direction.at(n, 1.5)))
    assert torch.allclose(harness(vlm.model, entries), expected, atol=1e-5)
    with torch.no_grad():
        plain = vlm.model(input_ids=TOKENS).logits
    assert (expected - plain).abs().max() > 0.1


def test_ablation_is_a_clamp_at_zero(tmp_path):
    vlm = tiny("internvl")
    direction = direction_at(vlm, [2], operator="ablate", strength=1.0)
    _, entries = read(tmp_path, direction, vlm.model)
    assert [entry["action"] for entry in entries.values()] == ["clamp"]
    expected = ours(vlm.model, direction, lambda n: Ablate(direction.vectors[0]))
    assert torch.allclose(harness(vlm.model, entries), expected, atol=1e-5)


def test_the_entries_have_the_readers_names_and_values(tmp_path):
    vlm = tiny("internvl")
    direction = direction_at(vlm, [0, 3], strength=-2.5)
    path, entries = read(tmp_path, direction, vlm.model)
    assert list(entries) == ["language_model.layers.0", "language_model.layers.3"]
    for layer, entry in zip([0, 3], entries.values(), strict=True):
        vector = entry.pop("steering_vector")
        assert entry == {"steering_coefficient": -2.5, "action": "add", "bias": None}
        assert torch.equal(vector, direction.at(layer, 1.0))
    mlp = module_name(vlm.model, 3, "mlp")
    assert mlp == "language_model.layers.3.mlp"


def test_each_entry_stores_only_its_own_vector(tmp_path):
    vlm = tiny("internvl")
    direction = direction_at(vlm, [0, 3], operator="ablate", strength=1.0)
    _, entries = read(tmp_path, direction, vlm.model)
    sizes = [entry["steering_vector"].untyped_storage().nbytes() for entry in entries.values()]
    assert sizes == [4 * vlm.width] * 2


def test_models_that_the_harness_can_load():
    assert not loads_by_name(tiny("internvl").model)
    assert loads_by_name(tiny("gemma3").model)
    with raises("unsupported", "MllamaForCausalLM", "MllamaForConditionalGeneration"):
        loads_by_name(tiny("mllama").model)
    with raises("unsupported", "format=native"):
        steering_file(direction_at(tiny("mllama"), [0]), tiny("mllama").model)
