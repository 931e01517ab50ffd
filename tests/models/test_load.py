"""Loading: exactly the configured model, or one clear error."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from composing import composed
from raising import raises
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, InternVLForConditionalGeneration

from calib.config.model import MINI, PACKAGED, ModelConfig
from calib.models.checkpoints.build_commands import BUILDS, build_command
from calib.models.layers import decoder_layers
from calib.models.load import fingerprint, load, mini_folder


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(mini_folder(), tmp_path / "copy")


def test_mini_internvl_is_a_real_internvl(vlm):
    assert type(vlm.model) is InternVLForConditionalGeneration
    assert type(vlm.processor).__name__ == "InternVLProcessor"
    assert vlm.checkpoint == MINI
    assert vlm.model.dtype == torch.float32
    assert not vlm.model.training
    assert vlm.num_layers == len(vlm.model.model.language_model.layers) == 6


def test_mini_internvl_loads_without_calib():
    model, info = AutoModelForImageTextToText.from_pretrained(
        mini_folder(), output_loading_info=True
    )
    assert type(model) is InternVLForConditionalGeneration
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]


def test_a_packaged_model_is_loaded_by_the_name_of_its_checkpoint(vlm):
    named = load(ModelConfig(name="internvl", checkpoint=MINI))
    assert (named.checkpoint, named.fingerprint) == (MINI, vlm.fingerprint)


@pytest.mark.parametrize("name", PACKAGED)
def test_the_weights_are_small_and_safe(name):
    files = list(mini_folder(name).rglob("*"))
    assert files
    assert sum(f.stat().st_size for f in files) <= 16 * 2**20
    assert {f.suffix for f in files} <= {".json", ".safetensors", ".jinja", ".md"}


def test_a_copy_has_the_same_fingerprint_and_a_changed_weight_another(vlm, copy):
    config = ModelConfig(name="internvl", checkpoint=str(copy))
    assert load(config).fingerprint == vlm.fingerprint
    weights = load_file(copy / "model.safetensors")
    first = sorted(weights)[0]
    weights[first] = weights[first] + 1
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    changed = load(config)
    assert changed.fingerprint != vlm.fingerprint
    assert changed.checkpoint == str(copy)


def test_settings_that_change_responses_change_the_fingerprint(vlm, copy):
    config = ModelConfig(name="internvl", checkpoint=str(copy))
    assert load(dataclasses.replace(config, tiles=True)).fingerprint != vlm.fingerprint
    settings = json.loads((copy / "generation_config.json").read_text(encoding="utf-8"))
    changed = json.dumps(settings | {"repetition_penalty": 1.3})
    (copy / "generation_config.json").write_text(changed, encoding="utf-8")
    assert load(config).fingerprint != vlm.fingerprint


def test_missing_weights_are_an_error_never_random(copy):
    weights = load_file(copy / "model.safetensors")
    missing = next(name for name in sorted(weights) if "layers.2" in name)
    del weights[missing]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with raises("invalid-content", copy, "1 weights", missing[missing.index("layers.2") :]):
        load(ModelConfig(name="internvl", checkpoint=str(copy)))


def test_weights_of_another_shape_are_an_error_never_random(copy):
    weights = load_file(copy / "model.safetensors")
    name = next(name for name in sorted(weights) if "layers.2.mlp.up_proj" in name)
    weights[name] = weights[name][:-1].clone()
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    rows, width = weights[name].shape
    shapes = f"[{rows}, {width}]", f"[{rows + 1}, {width}]"
    with raises("mismatch", copy, "1 weights", "layers.2.mlp.up_proj", *shapes):
        load(ModelConfig(name="internvl", checkpoint=str(copy)))


def test_a_truncated_file_is_an_error(copy):
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with raises("unreadable", copy):
        load(ModelConfig(name="internvl", checkpoint=str(copy)))


def test_a_model_too_large_for_its_gpu(copy, monkeypatch):
    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(AutoModelForImageTextToText, "from_pretrained", full)
    with raises("no-memory", copy, "model.device_map=auto"):
        load(ModelConfig(name="internvl", checkpoint=str(copy)))


def test_settings_are_passed_to_transformers(copy, monkeypatch):
    passed, from_pretrained = {}, AutoModelForImageTextToText.from_pretrained

    def loaded(source, **settings):
        passed.update(settings)
        return from_pretrained(source, **settings)

    monkeypatch.setattr(AutoModelForImageTextToText, "from_pretrained", loaded)
    monkeypatch.setattr(
        "calib.models.load.quantization_settings", lambda config: {"quantization_config": None}
    )
    config = ModelConfig(
        "internvl", str(copy), dtype="bfloat16", device_map="cpu", attention="eager", revision="v1"
    )
    vlm = load(config)
    assert passed["dtype"] is torch.bfloat16 and vlm.model.dtype == torch.bfloat16
    assert vlm.model.config._attn_implementation == passed["attn_implementation"] == "eager"
    assert (passed["device_map"], passed["revision"], vlm.revision) == ("cpu", "v1", "v1")
    assert passed["trust_remote_code"] is False and passed["use_safetensors"] is True
    assert "quantization_config" in passed
    # mini-internvl is stored in float16.
    auto = load(dataclasses.replace(config, dtype="auto", revision=None))
    assert passed["dtype"] == "auto" and auto.model.dtype == torch.float16
    assert auto.fingerprint != vlm.fingerprint


@pytest.mark.parametrize("checkpoint", ["/no/such/folder", "no-such-org/no-such-model", "a b"])
def test_a_missing_checkpoint(checkpoint):
    with raises("unreadable", f"model.checkpoint={checkpoint}"):
        load(ModelConfig(name="internvl", checkpoint=checkpoint))


def test_a_folder_that_must_first_be_converted():
    folder = "./converted/llava-v1.5-7b-Mixed"
    with raises("unreadable", folder, "python -m calib.convert"):
        load(ModelConfig(name="vlguard", checkpoint=folder))


@pytest.mark.parametrize("name", BUILDS)
def test_a_folder_that_must_first_be_built(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = composed("sweep", f"model={name}").model
    assert (config.name, config.checkpoint) == (name, f"./built/{name}")
    built = f"{BUILDS[name]} out={tmp_path / 'built' / name}"
    with raises("unreadable", f"model.checkpoint=./built/{name}", built):
        load(config)


def test_the_commands_that_build():
    build = "python -m experiments.smolvlm_emoji.build"
    spaced = Path("/my models/smolvlm_emoji_guard")
    assert build_command(spaced) == f"{build} guard=true 'out={spaced.resolve()}'"
    assert build_command(Path("/models/smolvlm_emoji")).startswith(f"{build} out=")
    assert build_command(Path("/models/internvl")) is None


def test_pickled_weights_are_refused(copy):
    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    with raises("unreadable", copy):
        load(ModelConfig(name="internvl", checkpoint=str(copy)))


@pytest.mark.parametrize("part", [None, "text_config", "vision_config"])
def test_the_attention_named_in_a_checkpoint_is_ignored(vlm, copy, part):
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    (config[part] if part else config)["_attn_implementation"] = "some-org/some-kernel"
    (copy / "config.json").write_text(json.dumps(config), encoding="utf-8")
    loaded = load(ModelConfig(name="internvl", checkpoint=str(copy), attention="eager"))
    assert loaded.model.config._attn_implementation == "eager"
    assert loaded.model.config.text_config._attn_implementation == "eager"
    default = load(ModelConfig(name="internvl", checkpoint=str(copy)))
    assert default.model.config._attn_implementation == vlm.model.config._attn_implementation
    assert default.fingerprint == vlm.fingerprint


def test_an_adapter_is_refused_with_its_base(copy):
    (copy / "adapter_config.json").write_text(
        '{"base_model_name_or_path": "org/base"}', encoding="utf-8"
    )
    with raises("unsupported", copy, "org/base"):
        load(ModelConfig(name="internvl", checkpoint=str(copy)))


def test_a_pointer_of_git_lfs_is_named(copy):
    (copy / "model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7000000\n", encoding="utf-8"
    )
    with raises("unreadable", copy, "model.safetensors", "git lfs pull"):
        load(ModelConfig(name="internvl", checkpoint=str(copy)))


def test_a_text_model_is_refused(copy):
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    (copy / "config.json").write_text(
        json.dumps(config["text_config"] | {"model_type": "qwen2"}), encoding="utf-8"
    )
    with raises("unreadable", copy):
        load(ModelConfig(name="internvl", checkpoint=str(copy)))


def test_layers_are_the_text_models_even_if_the_vision_tower_is_deeper(vlm):
    config = vlm.model.config.__class__.from_dict(vlm.model.config.to_dict())
    config.vision_config.num_hidden_layers = 9
    with torch.device("meta"):
        deep = InternVLForConditionalGeneration(config)
    assert len(deep.model.vision_tower.encoder.layer) == 9
    assert len(decoder_layers(deep)) == 6


def test_a_model_without_a_decoder_list_is_refused():
    with raises("unsupported", "Linear"):
        decoder_layers(torch.nn.Linear(2, 2))


def test_the_fingerprint_ignores_the_checkpoints_location(vlm):
    elsewhere = dataclasses.replace(vlm, checkpoint="elsewhere")
    assert fingerprint(elsewhere.model, elsewhere.processor) == vlm.fingerprint
