"""A baked checkpoint, loaded by plain from_pretrained, answers like the steered original."""

import copy
import dataclasses
import json

import naive_loop
import pytest
import torch
from random_directions import direction_at
from tiny_families import examples, tiny
from transformers import AutoModelForImageTextToText

from calib.config.model import ModelConfig
from calib.interchange import merge_into_weights as baked
from calib.interchange.merge_into_weights import bake
from calib.models.layers import edit_activations
from calib.models.load import load
from calib.util.errors import CalibError

BAKED = {
    "internvl": "qwen2", "llava": "llama", "llava_next": "mistral", "llava_onevision": "qwen2",
    "idefics3": "llama", "smolvlm": "llama", "mistral3": "mistral",
}  # fmt: skip
REFUSED = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "gemma3", "paligemma", "mllama")


def on_disk(family, folder):
    """A copy of a tiny model that may be changed, and stands in a folder with processor files."""
    vlm = tiny(family)
    vlm.model.save_pretrained(folder)
    vlm.processor.tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text('{"video": "kept as it is"}')
    model = copy.deepcopy(vlm.model)
    return dataclasses.replace(vlm, model=model, checkpoint=str(folder))


@torch.no_grad()
def logits(vlm, model, example, changes=None):
    with edit_activations(model, changes or {}):
        return model(**naive_loop.inputs(vlm, example)).logits


def changes_of(direction, strength):
    return {
        (n, direction.site): lambda hidden, n=n: hidden + direction.at(n, strength)
        for n in direction.layers
    }


def same_for_all(vlm, direction, out):
    """Prompts with and without pictures: baked against hooks on the original."""
    original = tiny(vlm.name).model
    again = AutoModelForImageTextToText.from_pretrained(out).eval()
    for example in examples(6):
        steered = logits(vlm, original, example, changes_of(direction, direction.strength))
        plain = logits(vlm, original, example)
        found = logits(vlm, again, example)
        assert torch.allclose(found, steered, atol=2e-5)
        assert (steered - plain).abs().max() > 0.1
    return again


@pytest.mark.parametrize("family", BAKED)
def test_it_answers_like_the_steered_model(family, tmp_path):
    vlm = on_disk(family, tmp_path / "original")
    direction = direction_at(vlm, [1, 4], strength=-1.5)
    made = bake(vlm, direction, tmp_path / "baked")
    assert made.decoder == BAKED[family]
    assert made.difference < 1e-4 < 0.1 < made.moved
    again = same_for_all(vlm, direction, tmp_path / "baked")
    text = again.config.get_text_config(decoder=True)
    assert (text.model_type, text.mlp_bias) == ("llama", True)
    assert text.attention_bias == (BAKED[family] == "qwen2")
    assert text.architectures == ["LlamaForCausalLM"]


@pytest.mark.parametrize("family", REFUSED)
def test_where_there_is_no_place_it_is_refused(family, tmp_path):
    vlm = tiny(family)
    with pytest.raises(CalibError, match="has no bias that is added to its output alone.*gguf"):
        bake(vlm, direction_at(vlm, [1]), tmp_path / "baked")
    assert not list(tmp_path.iterdir())


def test_the_mlp_of_the_first_block_has_the_same_place(tmp_path):
    vlm = on_disk("internvl", tmp_path / "original")
    direction = direction_at(vlm, [0], strength=1.5, site="mlp")
    bake(vlm, direction, tmp_path / "baked")
    same_for_all(vlm, direction, tmp_path / "baked")


def test_a_bias_that_is_there_already_is_moved(tmp_path):
    once = on_disk("llava", tmp_path / "original")
    direction = direction_at(once, [2], strength=1.0)
    bake(once, direction, tmp_path / "once")
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "once").eval()
    twice = dataclasses.replace(once, model=model, checkpoint=str(tmp_path / "once"))
    bake(twice, direction, tmp_path / "twice")
    same_for_all(once, dataclasses.replace(direction, strength=2.0), tmp_path / "twice")


def test_the_original_stays_and_the_processor_comes_along(tmp_path):
    folder = tmp_path / "original"
    vlm = on_disk("internvl", folder)
    (folder / "code.py").write_text("never copied")
    (folder / "model.safetensors.index.json").write_text("{}")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (tmp_path / "baked").mkdir()  # an empty folder is no harm
    bake(vlm, direction_at(vlm, [2]), tmp_path / "baked")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    made = {path.name: path for path in (tmp_path / "baked").iterdir()}
    assert set(made) == set(before) - {"code.py", "model.safetensors.index.json"}
    for name in ("tokenizer.json", "preprocessor_config.json"):
        assert made[name].read_bytes() == before[name]
    assert json.loads(made["config.json"].read_text())["text_config"]["mlp_bias"] is True
    assert sorted(path.name for path in tmp_path.iterdir()) == ["baked", "original"]


def test_mini_internvl_baked_is_a_checkpoint_of_calib(tmp_path):
    vlm = load(ModelConfig("internvl"))
    fingerprint = vlm.fingerprint
    bake(vlm, direction_at(vlm, [3]), tmp_path / "baked")
    again = load(ModelConfig("internvl", checkpoint=str(tmp_path / "baked")))
    assert again.fingerprint != fingerprint
    bias = again.model.model.language_model.layers[3].mlp.down_proj.bias
    assert torch.equal(bias, direction_at(vlm, [3]).at(3, 1.0))


def test_what_makes_no_sense_is_refused_before_anything_is_written(tmp_path):
    vlm = on_disk("internvl", tmp_path / "original")
    with pytest.raises(CalibError, match="strength 0 changes nothing"):
        bake(vlm, direction_at(vlm, [2], strength=0.0), tmp_path / "baked")
    with pytest.raises(CalibError, match="exists and is not empty"):
        bake(vlm, direction_at(vlm, [2]), tmp_path / "original")
    assert vlm.model.model.language_model.layers[0].mlp.down_proj.bias is None


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("internvl", {"layer_types": ["full_attention"] * 4 + ["sliding_attention"]}),
        ("mistral3", {"sliding_window": 16}),
    ],
)
def test_attention_within_a_window_is_not_llamas(family, settings, tmp_path):
    vlm = on_disk(family, tmp_path / "original")
    vars(vlm.model.config.get_text_config()).update(settings)
    with pytest.raises(CalibError, match="attends within a window"):
        bake(vlm, direction_at(vlm, [2]), tmp_path / "baked")


def test_quantized_weights_are_refused(tmp_path):
    vlm = on_disk("llava", tmp_path / "original")

    class Packed(torch.nn.Linear):
        pass

    vlm.model.model.language_model.layers[4].mlp.down_proj = Packed(96, 48, bias=False)
    with pytest.raises(CalibError, match="its weights are quantized"):
        bake(vlm, direction_at(vlm, [2]), tmp_path / "baked")


def test_weights_that_are_not_there_are_refused(tmp_path):
    vlm = on_disk("llava", tmp_path / "original")
    vlm.model.model.language_model.layers[4].to("meta")
    with pytest.raises(CalibError, match="not in memory.*device_map=cpu"):
        bake(vlm, direction_at(vlm, [2]), tmp_path / "baked")


def test_what_does_not_answer_alike_is_not_kept(tmp_path, monkeypatch):
    vlm = on_disk("internvl", tmp_path / "original")
    monkeypatch.setitem(baked.TOLERANCE, torch.float32, 1e-12)
    with pytest.raises(CalibError, match="does not answer like the edited model.*not kept"):
        bake(vlm, direction_at(vlm, [2]), tmp_path / "baked")
    assert [path.name for path in tmp_path.iterdir()] == ["original"]


def test_a_checkpoint_whose_files_cannot_be_had_is_refused(tmp_path):
    vlm = on_disk("internvl", tmp_path / "original")
    elsewhere = dataclasses.replace(vlm, checkpoint="nobody/nothing")
    with pytest.raises(CalibError, match="files of nobody/nothing cannot be had.*model.checkpoint"):
        bake(elsewhere, direction_at(vlm, [2]), tmp_path / "baked")
    assert [path.name for path in tmp_path.iterdir()] == ["original"]
