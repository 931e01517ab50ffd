"""Vectors of torch.save and numpy.save: their layers, and refusals of everything else."""

import collections

import numpy as np
import pytest
import torch
from raising import raises
from tiny_families import tiny
from tiny_parts import WIDTH

from calib.interchange import vectors
from calib.interchange.importing import import_direction, origin
from calib.interchange.readers import METADATA, READERS

V = [torch.tensor([1.0, 2.0, 3.0]), torch.tensor([-4.0, 0.5, 0.25])]
CAA = "vec_layer_13_Llama-2-7b-chat-hf.pt"


def saved(folder, content, name="vector.pt"):
    path = folder / name
    if name.endswith(".npz"):
        np.savez_compressed(path, **content)
    elif name.endswith(".npy"):
        np.save(path, content)
    else:
        torch.save(content, path)
    return path


def read(path, layers=None):
    name = "npy" if path.suffix in (".npy", ".npz") else "pt"
    return {n: v.tolist() for n, v in READERS[name](path, layers).vectors.items()}


@pytest.mark.parametrize(
    "name",
    [
        CAA, "layer13.pt", "sycophancy-Layer-13.npy", "v_layer.13.npy", "layers_13.pth",
        "resid_post_layer_013_of_model_7b.pt",
    ],
)  # fmt: skip
def test_the_layer_is_the_number_after_layer_in_the_files_name(tmp_path, name):
    content = V[0].numpy() if name.endswith(".npy") else V[0].half()
    path = saved(tmp_path, content, name)
    assert read(path) == {13: V[0].tolist()}
    assert read(path, [4]) == {4: V[0].tolist()}


@pytest.mark.parametrize(
    "name", ["vector.pt", "llama-13b.pt", "multilayer3.npy", "layer_3_to_layer_5.pt"]
)
def test_a_name_without_one_layer_needs_layers(tmp_path, name):
    path = saved(tmp_path, V[0].numpy() if name.endswith(".npy") else V[0], name)
    with raises("missing-setting", path, "layers=[N]"):
        read(path)
    assert read(path, [2]) == {2: V[0].tolist()}


@pytest.mark.parametrize(
    "table",
    [
        {3: V[0], 11: V[1]},
        {"3": V[0], "11": V[1]},
        {"layer_3": V[0], "layer_11": V[1]},
        collections.OrderedDict({"model.layers.3": V[0], "model.layers.11": V[1][None]}),
        {"layer_activations": {3: V[0], 11: V[1]}, "layer_type": "decoder_block"},
        {"model_type": "llama", "directions": {3: V[0], 11: V[1]}},
        {3: torch.nn.Parameter(V[0]), 11: [V[1]]},
    ],
)
def test_a_table_names_its_layers(tmp_path, table):
    path = saved(tmp_path, table)
    assert read(path) == {3: V[0].tolist(), 11: V[1].tolist()}
    with raises("conflicting-settings", path, [3, 11]):
        read(path, [3, 11])


def test_a_table_of_numpy_arrays(tmp_path):
    path = saved(tmp_path, {"layer_3": V[0].numpy(), "layer_11": V[1].numpy()}, "v.npz")
    assert read(path) == {3: V[0].tolist(), 11: V[1].tolist()}
    # arr_0 is numpy's name for an array without a name, and no layer.
    path = saved(tmp_path, {"arr_0": V[0].numpy()}, "layer_7.npz")
    assert read(path) == {7: V[0].tolist()}


@pytest.mark.parametrize(
    "content", [torch.stack(V), V, tuple(V), torch.stack(V)[None], {"vectors": torch.stack(V)}]
)
def test_several_vectors_without_names_need_a_layer_each(tmp_path, content):
    path = saved(tmp_path, content, "layer_5.pt")
    assert read(path, [11, 3]) == {11: V[0].tolist(), 3: V[1].tolist()}
    for layers in (None, [3], [3, 3], [1, 2, 3]):
        with raises("missing-setting", path, "2 vectors"):
            read(path, layers)


@pytest.mark.parametrize("content", [V[0][None], V[0][None, None], [V[0]], {"vector": V[0]}])
def test_dimensions_and_tables_of_size_one_are_dropped(tmp_path, content):
    assert read(saved(tmp_path, content, CAA)) == {13: V[0].tolist()}


@pytest.mark.parametrize("order", [">f4", "<f8", ">f2"])
def test_byte_orders_of_numpy(tmp_path, order):
    assert read(saved(tmp_path, V[0].numpy().astype(order), "layer1.npy")) == {1: V[0].tolist()}
    column_major = np.asfortranarray(torch.stack(V).numpy())
    assert read(saved(tmp_path, column_major, "v.npy"), [0, 1]) == {
        0: V[0].tolist(), 1: V[1].tolist()
    }  # fmt: skip


def test_a_folder_with_one_file_per_layer(tmp_path):
    vlm = tiny("internvl")
    for layer in (3, 1):
        saved(tmp_path, torch.full((WIDTH,), float(layer)), f"vec_layer_{layer}_Llama.pt")
    (tmp_path / "README.md").write_text("layer_2", encoding="utf-8")
    imported = import_direction(tmp_path, "pt", vlm)
    assert imported.direction.layers == [1, 3]
    assert torch.allclose(imported.direction.at(3, 1.0), torch.full((WIDTH,), 3.0))
    assert "counted from 0" in origin(imported) and len(imported.sha256) == 64
    saved(tmp_path, torch.ones(WIDTH), "vec_layer_3_Llama.pt")
    assert import_direction(tmp_path, "pt", vlm).sha256 != imported.sha256
    with raises("conflicting-settings", tmp_path, [1]):
        import_direction(tmp_path, "pt", vlm, [1])
    with raises("not-found", tmp_path, ".npz"):
        import_direction(tmp_path, "npy", vlm)
    saved(tmp_path, torch.ones(WIDTH), "vec_layer_3_Qwen.pt")
    with raises("duplicate", "vec_layer_3_Llama.pt", "vec_layer_3_Qwen.pt"):
        import_direction(tmp_path, "pt", vlm)


@pytest.mark.parametrize(
    ("content", "code", "value"),
    [
        (torch.tensor(1.0), "invalid-content", []),
        (torch.tensor([]), "invalid-content", [0]),
        (torch.ones(2, 2, 3), "invalid-content", [2, 2, 3]),
        (torch.ones(3, dtype=torch.int8), "invalid-content", "torch.int8"),
        (torch.ones(3, dtype=torch.bool), "invalid-content", "torch.bool"),
        (torch.ones(3, dtype=torch.complex64), "invalid-content", "torch.complex64"),
        (torch.ones(3).to(torch.float8_e4m3fn), "invalid-content", "torch.float8_e4m3fn"),
        (torch.ones(3).to_sparse(), "invalid-content", "torch.float32"),
        (torch.empty(3, device="meta"), "invalid-content", "meta"),
        ([1.0, 2.0], "invalid-content", "float"),
        ([V[0], None], "invalid-content", "NoneType"),
        ([V[0], torch.stack(V)], "invalid-content", "2 items"),
        ([], "invalid-content", "0 items"),
        (3.0, "invalid-content", "float"),
        ("text", "invalid-content", "str"),
        ({"3": {"a": V[0]}}, "invalid-content", "dict"),
        ({3: torch.stack(V)}, "invalid-content", "2 vectors"),
        ({3: V[0], "3": V[1]}, "duplicate", "layer 3"),
        ({3: V[0], "coefficient": 2.0}, "invalid-content", "coefficient"),
        ({"vector": V[0], "bias": V[1]}, "invalid-content", "bias"),
        ({"layer_activations": {3: V[0]}, "layer_type": "mlp"}, "unsupported", "mlp"),
        ({"3": V[0].numpy()}, "unreadable", "Pickled objects"),
        (torch.nn.Linear(2, 2), "unreadable", "Pickled objects"),
    ],
)
def test_content_that_is_no_vector_of_floats(tmp_path, content, code, value):
    path = saved(tmp_path, content, CAA)
    with raises(code, path, value):
        read(path)


@pytest.mark.parametrize(
    ("content", "code", "value"),
    [
        (np.float32(1.0), "invalid-content", []),
        (np.ones(3, dtype=np.int8), "invalid-content", "int8"),
        (np.ones(3, dtype=bool), "invalid-content", "bool"),
        (np.ones(3, dtype=np.complex64), "invalid-content", "complex64"),
        (np.ones(3, dtype=np.longdouble), "invalid-content", "float128"),
        (np.array(["a"]), "invalid-content", "U1"),
        (np.ones((2, 2, 3), dtype=np.float32), "invalid-content", [2, 2, 3]),
        (np.array([{"a": 1}], dtype=object), "unreadable", "objects"),
    ],
)
def test_arrays_that_are_no_vector_of_floats(tmp_path, content, code, value):
    path = saved(tmp_path, content, "layer_3.npy")
    with raises(code, path, value):
        read(path)


@pytest.mark.parametrize(
    ("content", "code", "value"),
    [
        (torch.full((WIDTH,), float("nan")), "not-finite", "layer 3"),
        (torch.full((WIDTH,), 1e300, dtype=torch.float64), "not-finite", "layer 3"),
        (torch.zeros(WIDTH), "invalid-content", "length 0"),
        (torch.ones(WIDTH + 1), "mismatch", f"width {WIDTH + 1}"),
        ({-1: torch.ones(WIDTH)}, "mismatch", [-1]),
        ({}, "invalid-content", "no vectors"),
    ],
)
def test_vectors_that_fit_no_model(tmp_path, content, code, value):
    path = saved(tmp_path, content, "layer_3.pt")
    with raises(code, path, value):
        import_direction(path, "pt", tiny("internvl"))


@pytest.mark.parametrize(
    ("name", "content"),
    [("v.npy", V[0].numpy()), ("v.npz", {"a": V[0].numpy()}), ("layer_1.pt", V[0])],
)
def test_damaged_files(tmp_path, name, content):
    path = saved(tmp_path, content, name)
    whole = path.read_bytes()
    for damaged in (b"", b"text", whole[: len(whole) // 2], whole[:-4]):
        path.write_bytes(damaged)
        with raises("unreadable", path):
            read(path)


def test_an_archive_of_arrays_that_unpacks_to_too_much(tmp_path, monkeypatch):
    path = saved(tmp_path, {"a": np.zeros(100_000, dtype=np.float32)}, "v.npz")
    monkeypatch.setattr(vectors, "MAX_BYTES", 10_000)
    with raises("too-large", path):
        read(path)


def test_a_refusal_direction_is_not_read_without_its_metadata(tmp_path):
    path = saved(tmp_path, V[0], "direction.pt")
    (tmp_path / METADATA).write_text('{"layer": 4}', encoding="utf-8")
    with raises("conflicting-settings", path, "format=refusal_direction"):
        read(path, [4])
