"""Control vectors: llama.cpp steers with them as calib does, and each reader's rules hold."""

import dataclasses

import gguf
import numpy as np
import pytest
import torch
from raising import raises
from random_directions import direction_at
from tiny_families import tiny

from calib.interchange.gguf import control_vector, gguf_bytes, parse_gguf, read_control_vector
from calib.models.layers import edit_activations

TOKENS = [20, 31, 42, 53, 64, 75, 86, 97, 108, 119, 130, 41]


def written(tmp_path, direction, name):
    path = tmp_path / f"{name}.gguf"
    path.write_bytes(control_vector(direction, name))
    return path


@torch.no_grad()
def steered(model, direction):
    def add(layer):
        return lambda hidden: hidden + direction.at(layer, direction.strength)

    edits = {(layer, "residual"): add(layer) for layer in direction.layers}
    with edit_activations(model, edits):
        return model(input_ids=torch.tensor([TOKENS])).logits[0].numpy()


def test_llama_cpp_steers_to_the_same_logits(tmp_path):
    pytest.importorskip("xllamacpp")
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
    # The difference between llama.cpp and transformers without steering: it stores keys in float16.
    floor = np.abs(unsteered - steered(vlm.model, dataclasses.replace(direction, strength=0.0)))
    vectors = llama_cpp.read_control_vector(lib, written(tmp_path, direction, "gguf"))
    assert sorted(vectors) == [2, 4]
    assert np.abs(theirs(vectors, 1.5) - ours).max() <= 2 * floor.max()
    # The comparison is sensitive: another layer, another sign and no steering differ clearly.
    lower = {layer - 1: vector for layer, vector in vectors.items()}
    for wrong in (theirs(lower, 1.5), theirs(vectors, -1.5), unsteered):
        assert np.abs(wrong - ours).max() > 10 * floor.max()


def test_the_vectors_have_strength_one(tmp_path):
    direction = direction_at(tiny("internvl"), [1, 3], strength=-2.0)
    for name in ("gguf", "repeng", "easysteer"):
        vectors = read_control_vector(written(tmp_path, direction, name))
        assert list(vectors) == [1, 3]
        assert all(torch.equal(vectors[n], direction.at(n, 1.0)) for n in (1, 3))


def test_the_keys_of_each_format():
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
        assert parse_gguf(control_vector(direction, name), "f")[0] == shared
    method = {"controlvector.method": "pca"}
    assert parse_gguf(control_vector(direction, "easysteer"), "f")[0] == shared | method
    lowered = dataclasses.replace(direction, verdict="No: less safe.")
    keys = shared | {"calib.verdict": "No: less safe."}
    assert parse_gguf(control_vector(lowered, "gguf"), "f")[0] == keys


def test_repeng_and_easysteer_read_it_with_the_gguf_package(tmp_path):
    # As both do: the last part of a field is its text, a tensor's data is its vector.
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
def test_a_tensor_that_is_not_a_direction_is_rejected(tmp_path, name):
    path = tmp_path / "v.gguf"
    path.write_bytes(gguf_bytes({}, {"direction.1": torch.ones(3), name: torch.ones(3)}))
    with raises("invalid-content", path, f"'{name}'", "direction.N"):
        read_control_vector(path)
