"""A checkpoint that cannot be loaded: the message names its own cause and way out."""

import json
import shutil

import pytest
import torch
from raising import raises
from safetensors.torch import load_file, save_file
from tiny_families import tiny

from calib.config.model import ModelConfig
from calib.models.load import load, mini_folder
from calib.models.load_errors import load_failure, torchvision_command

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 12\n"


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(mini_folder(), tmp_path / "copy")


def change(path, **values):
    path.write_text(
        json.dumps(json.loads(path.read_text(encoding="utf-8")) | values), encoding="utf-8"
    )


def refused(folder, *named, code="unreadable"):
    with raises(code, f"model.checkpoint={folder}", *named):
        load(ModelConfig(name="internvl", checkpoint=str(folder)))


@pytest.mark.parametrize(
    ("field", "value"), [("num_attention_heads", 0), ("hidden_act", "org/name")]
)
def test_a_value_that_breaks_the_constructor_is_named_with_its_field(copy, field, value):
    text = json.loads((copy / "config.json").read_text(encoding="utf-8"))["text_config"]
    change(copy / "config.json", text_config=text | {field: value})
    refused(copy, "config.json", f"text_config.{field}={value}")


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_pointer_of_git_lfs_is_named_whatever_the_file(copy, name):
    (copy / name).write_text(POINTER, encoding="utf-8")
    refused(copy, name, "git lfs pull")


@pytest.mark.parametrize("text", ['{"version": "1.0"', "[1]"])
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "processor_config.json"])
def test_a_file_without_settings_is_named(copy, name, text):
    (copy / name).write_text(text, encoding="utf-8")
    refused(copy, f"{name} is no JSON")


def test_a_web_page_in_place_of_the_weights(copy):
    (copy / "model.safetensors").write_text("<!DOCTYPE html><html>", encoding="utf-8")
    refused(copy, "model.safetensors", "HTML")


def test_weights_that_are_cut_off(copy):
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    refused(copy, "model.safetensors", "5000 bytes")


def in_shards(folder):
    """Split the weights in two files, with their index."""
    weights = load_file(folder / "model.safetensors")
    names = sorted(weights)
    files = [f"model-0000{k}-of-00002.safetensors" for k in (1, 2)]
    for k, file in enumerate(files):
        save_file({name: weights[name] for name in names[k::2]}, folder / file, {"format": "pt"})
    index = {"weight_map": {name: files[k % 2] for k, name in enumerate(names)}, "metadata": {}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    (folder / "model.safetensors").unlink()
    return files


def test_a_missing_file_of_several(copy):
    first, second = in_shards(copy)
    (copy / second).unlink()
    refused(copy, "1 of its 2", second)


def test_the_missing_index_of_several_files(copy):
    in_shards(copy)
    (copy / "model.safetensors.index.json").unlink()
    refused(copy, "model.safetensors.index.json")


@pytest.mark.parametrize("has_config", [True, False])
def test_a_folder_with_gguf_only(copy, has_config):
    (copy / "model.safetensors").unlink()
    (copy / "model-Q4_K_M.gguf").write_bytes(b"GGUF")
    if not has_config:
        (copy / "config.json").unlink()
    refused(copy, "model-Q4_K_M.gguf", "safetensors")


def test_pickled_weights_are_named(copy):
    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").write_bytes(b"x")
    refused(copy, "pytorch_model.bin", "save_pretrained")


def test_a_folder_around_the_checkpoint(copy, tmp_path):
    refused(tmp_path, f"model.checkpoint={copy}.")


def test_a_file_in_place_of_the_folder(copy):
    refused(copy / "model.safetensors", "folder that contains it")


def test_a_checkpoint_without_its_processor(copy):
    (copy / "processor_config.json").unlink()
    refused(copy, "preprocessor_config.json", "AutoProcessor")


def test_a_checkpoint_without_its_tokenizer(copy):
    for path in copy.glob("tokenizer*"):
        path.unlink()
    refused(copy, "tokenizer.json")


def test_a_model_of_text_only(copy):
    change(copy / "config.json", model_type="qwen2", architectures=["Qwen2ForCausalLM"])
    (copy / "processor_config.json").unlink()
    refused(copy, "'qwen2'", "text only")


def test_a_model_type_that_transformers_does_not_know(copy):
    change(copy / "config.json", model_type="qwen9_vl", transformers_version="9.1.0")
    refused(copy, "'qwen9_vl'", "9.1.0", "pip install -U transformers")


def test_a_part_of_a_type_that_transformers_does_not_know(copy):
    content = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    content["text_config"]["model_type"] = "qwen9"
    (copy / "config.json").write_text(json.dumps(content), encoding="utf-8")
    refused(copy, "'qwen9'", "pip install -U transformers")


def test_a_model_that_needs_its_own_code(copy):
    own = {"AutoConfig": "configuration_own.OwnConfig"}
    change(copy / "config.json", model_type="minicpmv", auto_map=own)
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    refused(copy, "'minicpmv'", "trust_remote_code", "model=vllm")


def test_a_value_that_the_config_refuses(copy):
    content = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    content["text_config"]["hidden_size"] = "wide"
    (copy / "config.json").write_text(json.dumps(content), encoding="utf-8")
    refused(copy, "hidden_size", "'wide'", "config.json")


@pytest.mark.parametrize(
    "method, package",
    [("gptq", "optimum"), ("awq", "gptqmodel"), ("compressed-tensors", "compressed-tensors")],
)
def test_quantized_weights_without_their_package(copy, method, package):
    settings = {"quant_method": method, "bits": 4, "group_size": 128}
    change(copy / "config.json", quantization_config=settings)
    refused(copy, f"quantized with {method}", package, "model.quantization=4bit")


@pytest.mark.parametrize("place", ["config", "text_config"])
def test_quantized_weights_that_transformers_would_load_as_they_are(copy, place):
    settings = {"quantization_config": {"quant_method": "exl2", "bits": 4.0}}
    change(copy / "config.json", **(settings if place == "config" else {place: settings}))
    refused(copy, "exl2", code="unsupported")


def test_an_image_processor_of_torchvision_only(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    tiny("lfm2_vl").model.save_pretrained(folder)
    tiny("lfm2_vl").processor.save_pretrained(folder)
    published = {"image_processor_type": "Lfm2VlImageProcessorFast"}
    change(folder / "processor_config.json", image_processor=published)
    monkeypatch.setattr(torch, "__version__", "2.13.0+cpu")
    refused(folder, "pip install torchvision torch==2.13.0", "whl/cpu")
    monkeypatch.setattr(torch, "__version__", "2.13.0")
    assert torchvision_command() == "pip install torchvision torch==2.13.0"


@pytest.mark.parametrize(
    "text, named",
    [
        ("You are trying to access a gated repo.\nMake sure ...", "hf auth login"),
        ("org/m is not a local folder and is not a valid model identifier listed on", "private"),
        ("v9 is not a valid git identifier (branch name, tag name or commit id)", "model.revision"),
        ("We couldn't connect to 'https://huggingface.co' to load the files", "HF_HUB_OFFLINE"),
        ("operator torchvision::nms does not exist", "pip uninstall torchvision"),
    ],
)
def test_errors_of_the_hub_and_of_packages(text, named):
    message, _ = load_failure("org/m", OSError(text))
    assert message.startswith("model.checkpoint=org/m could not be loaded:") and named in message


def test_a_path_with_several_folders_is_no_hub_id():
    refused("some/folder/deep", "neither an existing folder nor a hub id")
