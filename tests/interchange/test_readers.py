"""Third-party files as vectors by layer in calib's numbering, and errors for damaged files."""

import json
import pickle
import zipfile

import pytest
import torch
from raising import raises
from safetensors.torch import save_file

from calib.interchange import vectors
from calib.interchange.gguf import gguf_bytes
from calib.interchange.readers import READERS

V = [torch.tensor([1.0, 2.0, 3.0]), torch.tensor([-4.0, 0.5, 0.25])]


def read(name, path, layers=None):
    return {n: v.tolist() for n, v in READERS[name](path, layers).vectors.items()}


def refusal(folder, vector=V[0], metadata='{"pos": -2, "layer": 4}'):
    torch.save(vector, folder / "direction.pt")
    (folder / "direction_metadata.json").write_text(metadata, encoding="utf-8")
    return folder / "direction.pt"


def svec(folder, content):
    path = folder / "v.svec"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def tensors(folder, **content):
    path = folder / "v.safetensors"
    save_file({name.replace("__", "."): t.clone() for name, t in content.items()}, path)
    return path


def test_control_vectors_have_calibs_layer_numbers(tmp_path):
    path = tmp_path / "v.gguf"
    path.write_bytes(gguf_bytes({}, {"direction.3": V[1], "direction.1": V[0]}))
    assert read("gguf", path) == {1: V[0].tolist(), 3: V[1].tolist()}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_refusal_direction_counts_block_inputs(tmp_path, dtype):
    path = refusal(tmp_path, V[0].to(dtype))
    assert read("refusal_direction", path) == {3: V[0].tolist()}
    note = READERS["refusal_direction"](path, None).note
    assert "layer 4" in note and "block 3" in note


def test_directions_of_activation_steering_and_aisteer360(tmp_path):
    ibm = {"model_type": "m", "directions": {"2": V[0].tolist(), "10": V[1].tolist()},
           "explained_variances": {"2": 0.5}}  # fmt: skip
    assert read("svec", svec(tmp_path, ibm)) == {2: V[0].tolist(), 10: V[1].tolist()}
    assert "shift=-1" in READERS["svec"](tmp_path / "v.svec", None).note
    two = {"model_type": "m", "directions": {"2": [V[0].tolist()]}, "num_heads": None}
    assert read("svec", svec(tmp_path, two)) == {2: V[0].tolist()}
    assert read("svec", svec(tmp_path, {"directions": {"0": [1, 2]}})) == {0: [1.0, 2.0]}


def test_plain_tensors(tmp_path):
    by_name = {2: V[0].tolist(), 11: V[1].tolist()}
    assert read("safetensors", tensors(tmp_path, layer2__v=V[0], layer11__v=V[1])) == by_name
    assert read("safetensors", tensors(tmp_path, layer_11=V[1], layer_2=V[0])) == by_name
    stacked = tensors(tmp_path, anything=torch.stack(V))
    assert read("safetensors", stacked, [11, 2]) == {11: V[0].tolist(), 2: V[1].tolist()}
    assert read("safetensors", tensors(tmp_path, v=V[0].double()), [7]) == {7: V[0].tolist()}


class Code:
    """Code in a hostile pickle: it creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize(
    "make",
    [Code, lambda path: {"a": [Code(path)]}, lambda _: torch.nn.Linear(2, 2), lambda _: Code],
)
def test_pickled_code_is_not_run(tmp_path, make):
    marker = tmp_path / "was-run"
    with raises("unreadable", tmp_path):
        read("refusal_direction", refusal(tmp_path, make(marker)))
    assert not marker.exists()


def test_a_pickle_outside_an_archive_is_not_unpickled(tmp_path):
    path = refusal(tmp_path)
    path.write_bytes(pickle.dumps(Code(tmp_path / "was-run")))
    with raises("unreadable", path):
        read("refusal_direction", path)
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize(
    ("vector", "value"),
    [
        (torch.stack(V), [2, 3]),
        (torch.tensor(1.0), []),
        (torch.tensor([]), [0]),
        (torch.tensor([1, 2]), "torch.int64"),
        (torch.ones(1).expand(10**12), "shape"),
        (torch.ones(3).to_sparse(), "torch.float32"),
        (torch.empty(3, device="meta"), "meta"),
        ({"direction": V[0]}, "<class 'dict'>"),
        (torch.nn.Parameter(V[0]), "torch.float32"),
    ],
)
def test_a_refusal_direction_is_one_vector(tmp_path, vector, value):
    with raises("invalid-content", value):
        read("refusal_direction", refusal(tmp_path, vector))


@pytest.mark.parametrize(
    ("metadata", "code", "value"),
    [
        ('{"pos": -1, "layer": 0}', "unsupported", "layer 0"),
        ('{"pos": -1}', "invalid-content", None),
        ('{"layer": -3}', "invalid-content", -3),
        ('{"layer": true}', "invalid-content", True),
        ('{"layer": "4"}', "invalid-content", "'4'"),
        ("[4]", "invalid-content", None),
        ("{", "unreadable", "JSON"),
        ("[" * 100_000, "unreadable", "JSON"),
    ],
)
def test_its_metadata_must_name_a_layer(tmp_path, metadata, code, value):
    with raises(code, value):
        read("refusal_direction", refusal(tmp_path, metadata=metadata))


def test_its_metadata_file_is_required(tmp_path):
    path = refusal(tmp_path)
    path.with_name("direction_metadata.json").unlink()
    with raises("not-found", path.with_name("direction_metadata.json")):
        read("refusal_direction", path)


@pytest.mark.parametrize(
    ("content", "code", "value"),
    [
        ("not json", "unreadable", "JSON"),
        ([], "invalid-content", "'directions'"),
        ({"directions": [[1.0]]}, "invalid-content", "'directions'"),
        ({"directions": {"-1": [1.0]}}, "invalid-content", "'-1'"),
        ({"directions": {"1.5": [1.0]}}, "invalid-content", "'1.5'"),
        ({"directions": {"٣": [1.0]}}, "invalid-content", "'٣'"),
        ({"directions": {"1": []}}, "invalid-content", "layer 1"),
        ({"directions": {"1": "12"}}, "invalid-content", "layer 1"),
        ({"directions": {"1": [True]}}, "invalid-content", "layer 1"),
        ({"directions": {"1": [[1.0], [2.0]]}}, "unsupported", "2 directions"),
        ({"directions": {"1": [[[1.0]]]}}, "invalid-content", "layer 1"),
        ('{"directions": {"1": [1%s]}}' % ("0" * 400), "invalid-content", "layer 1"),
        ({"directions": {"1": [1.0]}, "num_heads": 4, "head_dim": 2}, "unsupported", "heads"),
    ],
)
def test_a_damaged_svec(tmp_path, content, code, value):
    with raises(code, tmp_path / "v.svec", value):
        read("svec", svec(tmp_path, content))


def test_damaged_tensors(tmp_path):
    both = tensors(tmp_path, layer_1=V[0], layer1__v=V[1])
    with raises("duplicate", both, "layer1.v, layer_1"):
        read("safetensors", both)
    with raises("invalid-content", "layer_01, layer_2"):
        read("safetensors", tensors(tmp_path, layer_01=V[0], layer_2=V[0]))
    with raises("invalid-content", "a, layer_2"):
        read("safetensors", tensors(tmp_path, a=V[0], layer_2=V[0]))
    with raises("invalid-content", tmp_path):
        read("safetensors", tensors(tmp_path))
    with raises("invalid-content", "layer_2", [2, 3]):
        read("safetensors", tensors(tmp_path, layer_2=torch.stack(V)))
    with raises("invalid-content", "layer_2", "torch.int32"):
        read("safetensors", tensors(tmp_path, layer_2=V[0].int()))
    path = tmp_path / "v.safetensors"
    path.write_bytes(b"\xff" * 64)
    with raises("unreadable", path):
        read("safetensors", path)


@pytest.mark.parametrize("layers", [None, [1], [1, 1], [1, 2, 3], []])
def test_each_row_needs_a_layer(tmp_path, layers):
    with raises("missing-setting", "2 vectors", "layers=[N,...]"):
        read("safetensors", tensors(tmp_path, v=torch.stack(V)), layers)


def test_layers_in_a_file_cannot_be_replaced(tmp_path):
    gguf = tmp_path / "v.gguf"
    gguf.write_bytes(gguf_bytes({}, {"direction.1": V[0]}))
    files = {
        "gguf": gguf,
        "refusal_direction": refusal(tmp_path),
        "svec": svec(tmp_path, {"directions": {"1": [1.0]}}),
        "safetensors": tensors(tmp_path, layer_1=V[0]),
    }
    for name, path in files.items():
        with raises("conflicting-settings", path, "layers=[5]"):
            read(name, path, [5])


@pytest.mark.parametrize("name", READERS)
def test_a_file_that_is_missing_or_too_large(tmp_path, name, monkeypatch):
    with raises("not-found", tmp_path / "missing"):
        read(name, tmp_path / "missing")
    with raises("not-found", tmp_path):
        read(name, tmp_path)
    monkeypatch.setattr(vectors, "MAX_BYTES", 100)
    (tmp_path / "large").write_bytes(bytes(101))
    with raises("too-large", tmp_path / "large", 101):
        read(name, tmp_path / "large")


def test_an_archive_that_unpacks_to_too_much_is_not_unpacked(tmp_path, monkeypatch):
    path = refusal(tmp_path)
    monkeypatch.setattr(vectors, "MAX_BYTES", 10_000)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("direction/data/0", bytes(20_000))
    with raises("too-large", path, 20000):
        read("refusal_direction", path)
