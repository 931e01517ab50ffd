"""Checkpoints that calib.convert rejects, with nothing left behind."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from composing import composed
from original_llava import original, pair, tower, write
from raising import raises
from safetensors.torch import save_file

from calib import convert
from calib.config.model import ModelConfig
from calib.models.checkpoints import conversion
from calib.models.load import load, mini_folder


def run_convert(source, skeleton, out):
    convert.main(composed("convert", f"source={source}", f"skeleton={skeleton}", f"out={out}"))


def assert_rejected(source, skeleton, tmp_path, code, *values):
    out = tmp_path / "out"
    with raises(code, *values):
        run_convert(source, skeleton, out)
    assert not out.exists()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize(
    ("name", "converted"),
    [("model.norm.weight", "language_model.norm.weight"),
     ("model.mm_projector.2.bias", "multi_modal_projector.linear_2.bias"),
     ("model.layers.3.mlp.up_proj.weight", "layers.3.mlp.up_proj.weight"),
     ("lm_head.weight", "lm_head.weight"),
     ("model.embed_tokens.weight", "embed_tokens.weight")],
)  # fmt: skip
def test_a_missing_weight(name, converted, skeleton, tmp_path):
    weights = original(pair()[0])
    del weights[name]
    source = write(tmp_path / "s", weights)
    assert_rejected(source, skeleton, tmp_path, "mismatch", source, "1 weights", converted)


def test_half_a_vision_tower(skeleton, tmp_path):
    weights = original(pair()[0]) | dict(list(tower(pair()[0]).items())[:3])
    missing = len(tower(pair()[0])) - 3
    source = write(tmp_path / "s", weights)
    values = f"{missing} weights", "vision_tower", f"{missing - conversion.LISTED} more"
    assert_rejected(source, skeleton, tmp_path, "mismatch", *values)


@pytest.mark.parametrize(
    "name",
    ["model.layers.5.mlp.up_proj.weight", "model.mm_projector.4.weight", "model.image_newline",
     "base_model.model.model.norm.weight", "model.layers.0.self_attn.q_proj.lora_A.weight"],
)  # fmt: skip
def test_an_unexpected_weight(name, skeleton, tmp_path):
    weights = original(pair()[0]) | {name: torch.ones(2)}
    source = write(tmp_path / "s", weights)
    assert_rejected(source, skeleton, tmp_path, "mismatch", source, "1 weights", name)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("model.layers.1.self_attn.k_proj.weight", lambda w: w[:-1]),
        ("model.layers.1.mlp.down_proj.weight", lambda w: w[:, :-1]),
        ("model.embed_tokens.weight", lambda w: w[:, :-1]),
        ("lm_head.weight", lambda w: torch.cat([w, w[:1]])),  # the row of the image token
    ],
)
def test_a_weight_of_another_shape(name, change, skeleton, tmp_path):
    weights = original(pair()[0])
    weights[name] = change(weights[name])
    source = write(tmp_path / "s", weights)
    values = source, name, list(weights[name].shape)
    assert_rejected(source, skeleton, tmp_path, "mismatch", *values)


@pytest.mark.parametrize(
    ("changed", "values"),
    [
        ({"num_attention_heads": 8}, ("num_attention_heads", 8, 4)),
        ({"rms_norm_eps": 1e-5}, ("rms_norm_eps", 1e-05, 1e-06)),
        ({"rope_theta": 5e5}, ("rope_parameters", 500000)),
        ({"mm_vision_select_layer": -1}, ("mm_vision_select_layer", -1, -2)),
        ({"mm_projector_type": "linear"}, ("mm_projector_type", "'linear'", "'mlp2x_gelu'")),
        ({"mm_use_im_start_end": True}, ("mm_use_im_start_end", True, False)),
    ],
)
def test_settings_that_change_the_computation(changed, values, skeleton, tmp_path):
    source = write(tmp_path / "s", original(pair()[0]), **changed)
    assert_rejected(source, skeleton, tmp_path, "mismatch", source, skeleton, *values)


def test_a_truncated_file(source, skeleton, tmp_path):
    path = source / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert_rejected(source, skeleton, tmp_path, "invalid-content", path)


def test_values_that_are_not_finite(skeleton, tmp_path):
    weights = original(pair()[0])
    weights["model.norm.weight"][3] = float("nan")
    source = write(tmp_path / "s", weights)
    assert_rejected(source, skeleton, tmp_path, "not-finite", source, "model.norm.weight")


@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_quantized_weights(form, skeleton, tmp_path):
    weights = original(pair()[0])
    weights["lm_head.weight"] = weights["lm_head.weight"].to(torch.int8)
    source = write(tmp_path / "s", weights, form)
    assert_rejected(source, skeleton, tmp_path, "invalid-content", source, "lm_head.weight")


def test_a_missing_file(skeleton, tmp_path):
    source = write(tmp_path / "s", original(pair()[0]), "bin sharded")
    missing = "pytorch_model-00002-of-00002.bin"
    (source / missing).unlink()
    assert_rejected(source, skeleton, tmp_path, "not-found", source, missing, "2 files")
    for path in source.glob("*.bin"):
        path.unlink()
    (source / "adapter_model.safetensors").touch()
    assert_rejected(source, skeleton, tmp_path, "not-found", source, "LoRA")


def test_a_weight_in_two_files(skeleton, tmp_path):
    source = write(tmp_path / "s", original(pair()[0]))
    save_file({"model.norm.weight": torch.ones(48)}, source / "model-2.safetensors")
    assert_rejected(source, skeleton, tmp_path, "invalid-content", source, "model.norm.weight")


class CreatesFile:
    """Creates a file when it is unpickled without restrictions."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


@pytest.mark.parametrize("legacy", [False, True])
def test_pickled_code_is_not_run(legacy, skeleton, tmp_path):
    source = write(tmp_path / "s", original(pair()[0]), "bin")
    weights = original(pair()[0]) | {"x": CreatesFile(tmp_path / "ran")}
    path = source / "pytorch_model.bin"
    if legacy:
        path.write_bytes(pickle.dumps(weights))
    else:
        torch.save(weights, path)
    assert_rejected(source, skeleton, tmp_path, "invalid-content", path)
    assert not (tmp_path / "ran").exists()


def test_a_pickle_of_something_else(skeleton, tmp_path):
    source = write(tmp_path / "s", original(pair()[0]), "bin")
    path = source / "pytorch_model.bin"
    torch.save([torch.ones(2)], path)
    assert_rejected(source, skeleton, tmp_path, "invalid-content", path)


def test_a_checkpoint_that_needs_no_conversion(skeleton, tmp_path):
    assert_rejected(skeleton, skeleton, tmp_path, "unsupported", skeleton, "model.checkpoint")
    (skeleton / "config.json").write_text("{", encoding="utf-8")
    assert_rejected(skeleton, skeleton, tmp_path, "unreadable", skeleton, "config.json")


def test_a_skeleton_of_another_family(source, tmp_path):
    values = mini_folder(), "InternVLForConditionalGeneration"
    assert_rejected(source, mini_folder(), tmp_path, "unsupported", *values)


def test_nothing_is_overwritten(source, skeleton, tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").touch()
    converted = conversion.convert(source, str(skeleton))
    with raises("already-exists", f"out={out}"):
        conversion.write_checkpoint(converted, out, "a note")
    # The command raises before it reads the checkpoint.
    monkeypatch.setattr(conversion, "convert", None)
    with raises("already-exists", f"out={out}"):
        run_convert(source, skeleton, out)
    assert [p.name for p in out.iterdir()] == ["mine.txt"]


def test_a_full_disk_leaves_nothing_behind(source, skeleton, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("calib.models.checkpoints.conversion.write_atomically", full)
    assert_rejected(source, skeleton, tmp_path, "no-space", tmp_path / "out")


@pytest.mark.parametrize("model_type", ["llava", "llava_llama"])
@pytest.mark.parametrize("mark", ["mm_vision_tower", "mm_projector_type"])
def test_loading_the_original_format_names_the_conversion_command(model_type, mark, source):
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    marked = {k: v for k, v in config.items() if not k.startswith("mm_") or k == mark}
    (source / "config.json").write_text(
        json.dumps(marked | {"model_type": model_type}), encoding="utf-8"
    )
    with raises("unsupported", f"calib.convert source={source} out=FOLDER"):
        load(ModelConfig("vlguard", checkpoint=str(source)))
