"""What calib.convert refuses: by name, and with nothing left behind."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from composing import composed
from original_llava import original, pair, tower, write
from safetensors.torch import save_file

from calib import convert
from calib.config.model import ModelConfig
from calib.models import conversion
from calib.models.load import load, mini_folder
from calib.util.errors import CalibError


@pytest.fixture
def skeleton(tmp_path):
    folder = tmp_path / "skeleton"
    pair()[1].save_pretrained(folder)
    pair()[2].save_pretrained(folder)
    return folder


@pytest.fixture
def source(tmp_path):
    return write(tmp_path / "source", original(pair()[0]))


def converted(source, skeleton, out):
    convert.main(composed("convert", f"source={source}", f"skeleton={skeleton}", f"out={out}"))


def refused(source, skeleton, tmp_path, words):
    out = tmp_path / "out"
    with pytest.raises(CalibError, match=words):
        converted(source, skeleton, out)
    assert not out.exists()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize(
    "gone",
    ["model.norm.weight", "model.mm_projector.2.bias", "model.layers.3.mlp.up_proj.weight",
     "lm_head.weight", "model.embed_tokens.weight"],
)  # fmt: skip
def test_a_missing_weight(gone, skeleton, tmp_path):
    weights = original(pair()[0])
    del weights[gone]
    refused(write(tmp_path / "s", weights), skeleton, tmp_path, "lacks 1 weights: .*Get a complete")


def test_half_a_vision_tower(skeleton, tmp_path):
    weights = original(pair()[0]) | dict(list(tower(pair()[0]).items())[:3])
    missing = len(tower(pair()[0])) - 3
    words = rf"lacks {missing} weights: .*vision_tower.* and {missing - 5} more"
    refused(write(tmp_path / "s", weights), skeleton, tmp_path, words)


@pytest.mark.parametrize(
    "more",
    ["model.layers.5.mlp.up_proj.weight", "model.mm_projector.4.weight", "model.image_newline",
     "base_model.model.model.norm.weight", "model.layers.0.self_attn.q_proj.lora_A.weight"],
)  # fmt: skip
def test_a_weight_too_many(more, skeleton, tmp_path):
    weights = original(pair()[0]) | {more: torch.ones(2)}
    words = rf"holds 1 weights that the skeleton has no place for: {more}\. .*adapter"
    refused(write(tmp_path / "s", weights), skeleton, tmp_path, words)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("model.layers.1.self_attn.k_proj.weight", lambda w: w[:-1]),
        ("model.layers.1.mlp.down_proj.weight", lambda w: w[:, :-1]),
        ("model.embed_tokens.weight", lambda w: w[:, :-1]),
        ("lm_head.weight", lambda w: torch.cat([w, w[:1]])),  # the picture's own row
    ],
)
def test_a_weight_of_another_shape(name, change, skeleton, tmp_path):
    weights = original(pair()[0])
    weights[name] = change(weights[name])
    refused(write(tmp_path / "s", weights), skeleton, tmp_path, rf"{name} is \[.*same size")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"num_attention_heads": 8}, "num_attention_heads is 8, not 4"),
        ({"rms_norm_eps": 1e-5}, "rms_norm_eps is 1e-05, not 1e-06"),
        ({"rope_theta": 5e5}, "rope_parameters is .*500000"),
        ({"mm_vision_select_layer": -1}, "mm_vision_select_layer is -1, not -2"),
        ({"mm_projector_type": "linear"}, "mm_projector_type is 'linear', not 'mlp2x_gelu'"),
        ({"mm_use_im_start_end": True}, "mm_use_im_start_end is True, not False"),
    ],
)
def test_settings_by_which_the_same_weights_compute_something_else(
    changed, words, skeleton, tmp_path
):
    source = write(tmp_path / "s", original(pair()[0]), **changed)
    refused(source, skeleton, tmp_path, f"computes otherwise than skeleton=.*: {words}")


def test_a_cut_file(source, skeleton, tmp_path):
    path = source / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    refused(source, skeleton, tmp_path, "model.safetensors' is not what was expected")


def test_numbers_that_are_not_finite(skeleton, tmp_path):
    weights = original(pair()[0])
    weights["model.norm.weight"][3] = float("nan")
    source = write(tmp_path / "s", weights)
    refused(source, skeleton, tmp_path, "model.norm.weight holds numbers that are not finite")


@pytest.mark.parametrize(
    ("form", "words"),
    [("safetensors", "lm_head.weight is of type I8"), ("bin", "lm_head.weight is no weight in fl")],
)
def test_weights_that_are_quantized(form, words, skeleton, tmp_path):
    weights = original(pair()[0])
    weights["lm_head.weight"] = weights["lm_head.weight"].to(torch.int8)
    refused(write(tmp_path / "s", weights, form), skeleton, tmp_path, words)


def test_a_file_that_is_not_there(skeleton, tmp_path):
    source = write(tmp_path / "s", original(pair()[0]), "bin sharded")
    (source / "pytorch_model-00002-of-00002.bin").unlink()
    refused(source, skeleton, tmp_path, "lacks pytorch_model-00002-of-00002.bin, one of 2 files")
    for path in source.glob("*.bin"):
        path.unlink()
    (source / "adapter_model.safetensors").touch()
    refused(source, skeleton, tmp_path, "holds no weights .*LoRA adapter must be merged")


def test_a_weight_in_two_files(skeleton, tmp_path):
    source = write(tmp_path / "s", original(pair()[0]))
    save_file({"model.norm.weight": torch.ones(48)}, source / "model-2.safetensors")
    refused(source, skeleton, tmp_path, "it holds model.norm.weight a second time")


class Opens:
    """Pickled, it makes a file when it is read by a pickle that runs what it is told."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


@pytest.mark.parametrize("legacy", [False, True])
def test_nothing_in_a_pickle_is_run(legacy, skeleton, tmp_path):
    source = write(tmp_path / "s", original(pair()[0]), "bin")
    weights, path = (
        original(pair()[0]) | {"x": Opens(tmp_path / "ran")},
        source / "pytorch_model.bin",
    )
    if legacy:
        path.write_bytes(pickle.dumps(weights))
    else:
        torch.save(weights, path)
    refused(source, skeleton, tmp_path, "pytorch_model.bin' is not what was expected")
    assert not (tmp_path / "ran").exists()


def test_a_pickle_of_something_else(skeleton, tmp_path):
    source = write(tmp_path / "s", original(pair()[0]), "bin")
    torch.save([torch.ones(2)], source / "pytorch_model.bin")
    refused(source, skeleton, tmp_path, "it is no table of weights")


def test_a_checkpoint_that_needs_no_conversion(skeleton, tmp_path):
    refused(skeleton, skeleton, tmp_path, "needs no conversion.*model.checkpoint")
    (skeleton / "config.json").write_text("{")
    refused(skeleton, skeleton, tmp_path, "no readable config.json")


def test_another_family_is_no_skeleton(source, tmp_path):
    refused(source, mini_folder(), tmp_path, "skeleton=.* is a InternVLFor.*, not LLaVA-1.5")


def test_nothing_is_overwritten(source, skeleton, tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").touch()
    found = conversion.convert(source, str(skeleton))
    with pytest.raises(CalibError, match=f"out={out} is already there"):
        conversion.write_checkpoint(found, out, "a note")
    # Said before anything is read.
    monkeypatch.setattr(conversion, "convert", None)
    with pytest.raises(CalibError, match=f"out={out} is already there"):
        converted(source, skeleton, out)
    assert [p.name for p in out.iterdir()] == ["mine.txt"]


def test_a_full_disk_leaves_nothing_behind(source, skeleton, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("calib.models.conversion.write_atomically", full)
    refused(source, skeleton, tmp_path, "cannot be written: the disk is full")


@pytest.mark.parametrize("model_type", ["llava", "llava_llama"])
@pytest.mark.parametrize("mark", ["mm_vision_tower", "mm_projector_type"])
def test_loading_the_original_says_how_to_convert_it(model_type, mark, source):
    config = json.loads((source / "config.json").read_text())
    kept = {k: v for k, v in config.items() if not k.startswith("mm_") or k == mark}
    (source / "config.json").write_text(json.dumps(kept | {"model_type": model_type}))
    with pytest.raises(CalibError, match=rf"calib\.convert source={source} out=FOLDER"):
        load(ModelConfig("vlguard", checkpoint=str(source)))
