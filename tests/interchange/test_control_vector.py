"""Control vectors: llama.cpp itself steers like calib with them; the rules of each reader."""

import dataclasses

import numpy as np
import pytest
import torch
from random_directions import direction_at
from tiny_families import tiny

from calib.interchange.gguf import control_vector, read_control_vector, read_gguf, write_gguf
from calib.models.layers import edit_activations
from calib.util.errors import CalibError

TOKENS = [20, 31, 42, 53, 64, 75, 86, 97, 108, 119, 130, 41]


def written(tmp_path, direction, name):
    path = tmp_path / f"{name}.gguf"
    path.write_bytes(control_vector(direction, name))
    return path


@torch.no_grad()
def steered(model, direction):
    def add(layer):
        return lambda hidden: hidden + direction.at(layer, direction.strength)

    changes = {(layer, "residual"): add(layer) for layer in direction.layers}
    with edit_activations(model, changes):
        return model(input_ids=torch.tensor([TOKENS])).logits[0].numpy()


def test_llama_cpp_steers_to_the_same_logits(tmp_path):
    pytest.importorskip("xllamacpp")
    pytest.importorskip("gguf")
    import with_llama_cpp as llama_cpp

    lib, vlm = llama_cpp.library(), tiny("internvl")
    head = vlm.model.get_output_embeddings().weight
    file = tmp_path / "tiny.gguf"
    llama_cpp.write_qwen2(file, vlm.model.model.language_model, head)

    def theirs(vectors, scale):
        return llama_cpp.logits(lib, file, len(head), TOKENS, vectors, scale)

    direction = direction_at(vlm, [2, 4], strength=1.5)
    unsteered = theirs({}, 0.0)
    ours = steered(vlm.model, direction)
    # How far llama.cpp is from transformers without any steering: it keeps keys in float16.
    floor = np.abs(unsteered - steered(vlm.model, dataclasses.replace(direction, strength=0.0)))
    vectors = llama_cpp.read_control_vector(lib, written(tmp_path, direction, "gguf"))
    assert sorted(vectors) == [2, 4]
    assert np.abs(theirs(vectors, 1.5) - ours).max() <= 2 * floor.max()
    # It would have been seen: another layer, another sign and no steering are far away.
    lower = {layer - 1: vector for layer, vector in vectors.items()}
    for wrong in (theirs(lower, 1.5), theirs(vectors, -1.5), unsteered):
        assert np.abs(wrong - ours).max() > 10 * floor.max()


def test_the_vectors_are_those_of_strength_one(tmp_path):
    direction = direction_at(tiny("internvl"), [1, 3], strength=-2.0)
    for name in ("gguf", "repeng", "easysteer"):
        found = read_control_vector(written(tmp_path, direction, name))
        assert list(found) == [1, 3]
        assert all(torch.equal(found[n], direction.at(n, 1.0)) for n in (1, 3))


def test_the_keys_are_those_that_each_reader_needs():
    direction = direction_at(tiny("internvl"), [1, 3], strength=-2.0, estimator="pca")
    shared = {
        "general.architecture": "controlvector",
        "controlvector.model_hint": "tiny-internvl",
        "controlvector.layer_count": 2,
        "calib.operator": "add",
        "calib.site": "residual",
        "calib.layer": "0-based decoder block, its output",
        "calib.strength": "-2",
        "calib.fingerprint": direction.fingerprint,
    }
    for name in ("gguf", "repeng"):
        assert read_gguf(control_vector(direction, name), "f")[0] == shared
    method = {"controlvector.method": "pca"}
    assert read_gguf(control_vector(direction, "easysteer"), "f")[0] == shared | method


def test_repeng_and_easysteer_read_it_through_the_package_gguf(tmp_path):
    # What both do: the last part of a field is its text, a tensor's data is its vector.
    gguf = pytest.importorskip("gguf")
    direction = direction_at(tiny("internvl"), [0, 3])
    for name in ("repeng", "easysteer"):
        reader = gguf.GGUFReader(written(tmp_path, direction, name))
        hint = reader.get_field("controlvector.model_hint")
        assert bytes(hint.parts[-1]).decode() == "tiny-internvl"
        assert bytes(reader.get_field("general.architecture").parts[-1]) == b"controlvector"
        vectors = {int(t.name.split(".")[1]): t.data for t in reader.tensors}
        assert sorted(vectors) == [0, 3]
        # repeng's hook: block output + coefficient x vector, here at coefficient 2.
        vector = torch.tensor(2.0 * vectors[3])
        assert vector.dtype == torch.float32
        assert torch.allclose(vector, direction.at(3, 2.0))


@pytest.mark.parametrize(
    "name", ["direction.01", "direction.-1", "direction.x", "bias.1", "direction"]
)
def test_a_tensor_that_is_no_direction_is_refused(tmp_path, name):
    path = tmp_path / "v.gguf"
    path.write_bytes(write_gguf({}, {"direction.1": torch.ones(3), name: torch.ones(3)}))
    with pytest.raises(CalibError, match=f"holds '{name}'.*only has tensors named direction.N"):
        read_control_vector(path)
