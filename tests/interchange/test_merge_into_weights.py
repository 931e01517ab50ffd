"""A merged checkpoint, loaded with plain from_pretrained, computes the steered logits."""

import copy
import dataclasses
import json

import naive_loop
import pytest
import torch
from raising import raises
from random_directions import direction_at
from tiny_families import examples, tiny
from transformers import AutoModelForImageTextToText

from calib.config.model import ModelConfig
from calib.interchange.merge_into_weights import TOLERANCE, merge_into_weights
from calib.models.layers import edit_activations
from calib.models.load import load

MERGEABLE = {
    "internvl": "qwen2", "llava": "llama", "llava_next": "mistral", "llava_onevision": "qwen2",
    "idefics3": "llama", "smolvlm": "llama", "mistral3": "mistral",
}  # fmt: skip
UNMERGEABLE = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "gemma3", "paligemma", "mllama")


def on_disk(family, folder):
    """A copy of a tiny model that may be changed, with a folder of its files."""
    vlm = tiny(family)
    vlm.model.save_pretrained(folder)
    vlm.processor.tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text('{"video": "unchanged"}', encoding="utf-8")
    model = copy.deepcopy(vlm.model)
    return dataclasses.replace(vlm, model=model, checkpoint=str(folder))


@torch.no_grad()
def logits(vlm, model, example, edits=None):
    with edit_activations(model, edits or {}):
        return model(**naive_loop.inputs(vlm, example)).logits


def edits_of(direction, strength):
    return {
        (n, direction.site): lambda hidden, n=n: hidden + direction.at(n, strength)
        for n in direction.layers
    }


def assert_steered(vlm, direction, out):
    """Compare the merged model with hooks on the original, with and without images."""
    original = tiny(vlm.name).model
    merged = AutoModelForImageTextToText.from_pretrained(out).eval()
    for example in examples(6):
        steered = logits(vlm, original, example, edits_of(direction, direction.strength))
        plain = logits(vlm, original, example)
        assert torch.allclose(logits(vlm, merged, example), steered, atol=2e-5)
        assert (steered - plain).abs().max() > 0.1
    return merged


@pytest.mark.parametrize("family", MERGEABLE)
def test_the_merged_model_computes_the_steered_logits(family, tmp_path):
    vlm = on_disk(family, tmp_path / "original")
    direction = direction_at(vlm, [1, 4], strength=-1.5)
    comparison = merge_into_weights(vlm, direction, tmp_path / "merged")
    assert comparison.decoder == MERGEABLE[family]
    assert comparison.difference < 1e-4 < 0.1 < comparison.effect
    merged = assert_steered(vlm, direction, tmp_path / "merged")
    text = merged.config.get_text_config(decoder=True)
    assert (text.model_type, text.mlp_bias) == ("llama", True)
    assert text.attention_bias == (MERGEABLE[family] == "qwen2")
    assert text.architectures == ["LlamaForCausalLM"]


@pytest.mark.parametrize("family", UNMERGEABLE)
def test_decoders_without_a_suitable_bias_are_rejected(family, tmp_path):
    vlm = tiny(family)
    model_type = vlm.model.config.get_text_config(decoder=True).model_type
    with raises("unsupported", vlm.checkpoint, model_type, "format=gguf"):
        merge_into_weights(vlm, direction_at(vlm, [1]), tmp_path / "merged")
    assert not list(tmp_path.iterdir())


def test_the_mlp_of_the_first_block(tmp_path):
    vlm = on_disk("internvl", tmp_path / "original")
    direction = direction_at(vlm, [0], strength=1.5, site="mlp")
    merge_into_weights(vlm, direction, tmp_path / "merged")
    assert_steered(vlm, direction, tmp_path / "merged")


def test_an_existing_bias_is_added_to(tmp_path):
    once = on_disk("llava", tmp_path / "original")
    direction = direction_at(once, [2], strength=1.0)
    merge_into_weights(once, direction, tmp_path / "once")
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "once").eval()
    twice = dataclasses.replace(once, model=model, checkpoint=str(tmp_path / "once"))
    merge_into_weights(twice, direction, tmp_path / "twice")
    assert_steered(once, dataclasses.replace(direction, strength=2.0), tmp_path / "twice")


def test_the_original_is_unchanged_and_its_processor_files_are_copied(tmp_path):
    folder = tmp_path / "original"
    vlm = on_disk("internvl", folder)
    (folder / "code.py").write_text("never copied", encoding="utf-8")
    (folder / "model.safetensors.index.json").write_text("{}", encoding="utf-8")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (tmp_path / "merged").mkdir()  # an empty folder is allowed
    merge_into_weights(vlm, direction_at(vlm, [2]), tmp_path / "merged")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    written = {path.name: path for path in (tmp_path / "merged").iterdir()}
    assert set(written) == set(before) - {"code.py", "model.safetensors.index.json"}
    for name in ("tokenizer.json", "preprocessor_config.json"):
        assert written[name].read_bytes() == before[name]
    assert (
        json.loads(written["config.json"].read_text(encoding="utf-8"))["text_config"]["mlp_bias"]
        is True
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["merged", "original"]


def test_calib_loads_a_merged_mini_internvl(tmp_path):
    vlm = load(ModelConfig("internvl"))
    fingerprint = vlm.fingerprint
    merge_into_weights(vlm, direction_at(vlm, [3]), tmp_path / "merged")
    again = load(ModelConfig("internvl", checkpoint=str(tmp_path / "merged")))
    assert again.fingerprint != fingerprint
    bias = again.model.model.language_model.layers[3].mlp.down_proj.bias
    assert torch.equal(bias, direction_at(vlm, [3]).at(3, 1.0))


def test_errors_before_anything_is_written(tmp_path):
    vlm = on_disk("internvl", tmp_path / "original")
    with raises("invalid-setting", "strength=0"):
        merge_into_weights(vlm, direction_at(vlm, [2], strength=0.0), tmp_path / "merged")
    with raises("already-exists", tmp_path / "original"):
        merge_into_weights(vlm, direction_at(vlm, [2]), tmp_path / "original")
    assert vlm.model.model.language_model.layers[0].mlp.down_proj.bias is None


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("internvl", {"layer_types": ["full_attention"] * 4 + ["sliding_attention"]}),
        ("mistral3", {"sliding_window": 16}),
    ],
)
def test_attention_within_a_window_is_rejected(family, settings, tmp_path):
    vlm = on_disk(family, tmp_path / "original")
    vars(vlm.model.config.get_text_config()).update(settings)
    with raises("unsupported", vlm.checkpoint, "window"):
        merge_into_weights(vlm, direction_at(vlm, [2]), tmp_path / "merged")


def test_quantized_weights_are_rejected(tmp_path):
    vlm = on_disk("llava", tmp_path / "original")

    class Packed(torch.nn.Linear):
        pass

    vlm.model.model.language_model.layers[4].mlp.down_proj = Packed(96, 48, bias=False)
    with raises("unsupported", vlm.checkpoint, "quantized"):
        merge_into_weights(vlm, direction_at(vlm, [2]), tmp_path / "merged")


def test_offloaded_weights_are_rejected(tmp_path):
    vlm = on_disk("llava", tmp_path / "original")
    vlm.model.model.language_model.layers[4].to("meta")
    with raises("unsupported", vlm.checkpoint, "model.device_map=cpu"):
        merge_into_weights(vlm, direction_at(vlm, [2]), tmp_path / "merged")


def test_a_checkpoint_that_differs_is_deleted(tmp_path, monkeypatch):
    vlm = on_disk("internvl", tmp_path / "original")
    monkeypatch.setitem(TOLERANCE, torch.float32, 1e-12)
    with raises("self-check", "format=native"):
        merge_into_weights(vlm, direction_at(vlm, [2]), tmp_path / "merged")
    assert [path.name for path in tmp_path.iterdir()] == ["original"]


def test_a_checkpoint_whose_processor_files_cannot_be_downloaded(tmp_path):
    vlm = on_disk("internvl", tmp_path / "original")
    elsewhere = dataclasses.replace(vlm, checkpoint="nobody/nothing")
    with raises("endpoint", "nobody/nothing", "model.checkpoint"):
        merge_into_weights(elsewhere, direction_at(vlm, [2]), tmp_path / "merged")
    assert [path.name for path in tmp_path.iterdir()] == ["original"]
