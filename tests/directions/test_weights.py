"""The hash of weights: equal for copies, different after training."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_families import tiny

from calib.config.model import MINI
from calib.directions.weights import weight_files, weights_hash
from calib.models.load import mini_folder


@pytest.fixture
def copy(tmp_path):
    folder = tmp_path / "copy"
    folder.mkdir()
    shutil.copy(mini_folder() / "model.safetensors", folder)
    return folder


def hash_of(folder):
    return weights_hash(str(folder), None, None)


def rewrite(folder, change):
    path = folder / "model.safetensors"
    save_file({name: weight for name, weight in change(load_file(path)).items()}, path)


def test_another_place_has_no_influence(copy):
    assert hash_of(copy) == hash_of(MINI)
    assert len(hash_of(MINI)) == 16 and int(hash_of(MINI), 16)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_another_stored_type_has_no_influence(copy, dtype):
    rewrite(copy, lambda weights: {name: w.to(dtype) for name, w in weights.items()})
    assert hash_of(copy) == hash_of(MINI)


def test_the_number_of_files_has_no_influence(copy):
    weights = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    names = sorted(weights)
    weight_map = {}
    for number, part in enumerate((names[::2], names[1::2])):
        save_file({name: weights[name] for name in part}, copy / f"part-{number}.safetensors")
        weight_map |= dict.fromkeys(part, f"part-{number}.safetensors")
    index = copy / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")
    assert [path.name for path in weight_files(str(copy), None)] == [
        "part-0.safetensors", "part-1.safetensors"
    ]  # fmt: skip
    assert hash_of(copy) == hash_of(MINI)


def test_prefixes_of_names_have_no_influence(copy):
    rewrite(copy, lambda weights: {f"language_{name}": w for name, w in weights.items()})
    assert hash_of(copy) == hash_of(MINI)


def test_a_tied_weight_that_is_stored_twice_has_no_influence(copy):
    def untied(weights):
        (name,) = [name for name in weights if name.endswith("embed_tokens.weight")]
        return weights | {"lm_head.weight": weights[name].clone()}

    rewrite(copy, untied)
    assert hash_of(copy) == hash_of(MINI)


def test_the_weights_in_memory_have_the_same_hash(vlm):
    assert weights_hash("no-such-folder", None, vlm.model) == hash_of(MINI)
    assert weights_hash("a b", None, tiny("llava").model) != hash_of(MINI)


def swapped(weights):
    """The weights with the first two blocks of each tower exchanged."""
    first, second = ".layers.0.", ".layers.1."
    return {
        name.replace(first, "!").replace(second, first).replace("!", second): weight
        for name, weight in weights.items()
    }


@pytest.mark.parametrize(
    "change",
    [
        lambda weights: {name: w * 1.01 for name, w in weights.items()},
        lambda weights: weights | {"new.bias": torch.zeros(3)},
        lambda weights: dict(list(weights.items())[1:]),
        lambda weights: {
            name: torch.randn(w.shape).to(w) if "layers.3.mlp.down_proj" in name else w
            for name, w in weights.items()
        },
        swapped,
    ],
)
def test_other_weights_have_another_hash(copy, change):
    rewrite(copy, change)
    assert hash_of(copy) != hash_of(MINI)


@pytest.mark.parametrize(
    "weight",
    [
        torch.tensor(1.5),
        torch.zeros(0),
        torch.zeros(0, 3),
        torch.arange(300, dtype=torch.int8),
        torch.arange(300) % 2 == 0,
        torch.linspace(0, 1, 300).to(torch.float8_e4m3fn),
        torch.linspace(0, 1, 300).to(torch.complex64),
    ],
)
def test_unusual_shapes_and_types(copy, weight):
    rewrite(copy, lambda weights: weights | {"quantized": weight})
    first = hash_of(copy)
    assert first != hash_of(MINI)
    if weight.numel() > 1:
        moved = torch.cat([weight[151:], weight[:151]])
        rewrite(copy, lambda weights: weights | {"quantized": moved})
        assert hash_of(copy) != first
