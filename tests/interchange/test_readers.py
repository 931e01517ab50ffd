"""Files of others become vectors by layer in calib's numbering; broken ones one clear error."""

import json
import pickle
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from calib.interchange import importing as vectors
from calib.interchange import readers
from calib.interchange.gguf import write_gguf
from calib.interchange.readers import READERS
from calib.util.errors import CalibError

V = [torch.tensor([1.0, 2.0, 3.0]), torch.tensor([-4.0, 0.5, 0.25])]


def found(name, path, layers=None):
    return {n: v.tolist() for n, v in READERS[name](path, layers).vectors.items()}


def refusal(folder, vector=V[0], metadata='{"pos": -2, "layer": 4}'):
    torch.save(vector, folder / "direction.pt")
    (folder / "direction_metadata.json").write_text(metadata)
    return folder / "direction.pt"


def svec(folder, content):
    path = folder / "v.svec"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def tensors(folder, **content):
    path = folder / "v.safetensors"
    save_file({name.replace("__", "."): t.clone() for name, t in content.items()}, path)
    return path


def test_a_control_vector_counts_blocks_as_calib_does(tmp_path):
    path = tmp_path / "v.gguf"
    path.write_bytes(write_gguf({}, {"direction.3": V[1], "direction.1": V[0]}))
    assert found("gguf", path) == {1: V[0].tolist(), 3: V[1].tolist()}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_refusal_direction_counts_inputs_of_blocks(tmp_path, dtype):
    path = refusal(tmp_path, V[0].to(dtype))
    assert found("refusal_direction", path) == {3: V[0].tolist()}
    assert "layer 4 is the input of that block, so the output of block 3" in (
        READERS["refusal_direction"](path, None).note
    )


def test_the_directions_of_activation_steering_and_of_aisteer360(tmp_path):
    ibm = {"model_type": "m", "directions": {"2": V[0].tolist(), "10": V[1].tolist()},
           "explained_variances": {"2": 0.5}}  # fmt: skip
    assert found("svec", svec(tmp_path, ibm)) == {2: V[0].tolist(), 10: V[1].tolist()}
    assert "shift=-1" in READERS["svec"](tmp_path / "v.svec", None).note
    two = {"model_type": "m", "directions": {"2": [V[0].tolist()]}, "num_heads": None}
    assert found("svec", svec(tmp_path, two)) == {2: V[0].tolist()}
    assert found("svec", svec(tmp_path, {"directions": {"0": [1, 2]}})) == {0: [1.0, 2.0]}


def test_plain_tensors(tmp_path):
    by_name = {2: V[0].tolist(), 11: V[1].tolist()}
    assert found("safetensors", tensors(tmp_path, layer2__v=V[0], layer11__v=V[1])) == by_name
    assert found("safetensors", tensors(tmp_path, layer_11=V[1], layer_2=V[0])) == by_name
    stacked = tensors(tmp_path, anything=torch.stack(V))
    assert found("safetensors", stacked, [11, 2]) == {11: V[0].tolist(), 2: V[1].tolist()}
    assert found("safetensors", tensors(tmp_path, v=V[0].double()), [7]) == {7: V[0].tolist()}


class Code:
    """What a pickle of an attacker would run: here it makes a file."""

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
    with pytest.raises(CalibError, match="Pickled objects are not loaded: they could run code"):
        found("refusal_direction", refusal(tmp_path, make(marker)))
    assert not marker.exists()


def test_a_bare_pickle_is_not_even_opened(tmp_path):
    path = refusal(tmp_path)
    path.write_bytes(pickle.dumps(Code(tmp_path / "was-run")))
    with pytest.raises(CalibError, match="not a file of torch.save"):
        found("refusal_direction", path)
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize(
    ("vector", "words"),
    [
        (torch.stack(V), r"shape \[2, 3\]"),
        (torch.tensor(1.0), r"shape \[\]"),
        (torch.tensor([]), r"shape \[0\]"),
        (torch.tensor([1, 2]), "no plain tensor of floats .torch.int64"),
        (torch.ones(1).expand(10**12), "shape"),
        (torch.ones(3).to_sparse(), "no plain tensor of floats"),
        (torch.empty(3, device="meta"), "no plain tensor of floats|cannot be read as plain"),
        ({"direction": V[0]}, "no plain tensor of floats .<class 'dict'>"),
        (torch.nn.Parameter(V[0]), "no plain tensor of floats|cannot be read as plain"),
    ],
)
def test_a_refusal_direction_is_one_vector(tmp_path, vector, words):
    with pytest.raises(CalibError, match=words):
        found("refusal_direction", refusal(tmp_path, vector))


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ('{"pos": -1, "layer": 0}', "read at the input of block 0"),
        ('{"pos": -1}', "names no layer: None"),
        ('{"layer": -3}', "names no layer: -3"),
        ('{"layer": true}', "names no layer: True"),
        ('{"layer": "4"}', "names no layer: '4'"),
        ("[4]", "names no layer"),
        ("{", "not readable JSON"),
        ("[" * 100_000, "not readable JSON"),
    ],
)
def test_its_metadata_must_name_a_layer(tmp_path, metadata, words):
    with pytest.raises(CalibError, match=words):
        found("refusal_direction", refusal(tmp_path, metadata=metadata))


def test_its_metadata_must_be_there(tmp_path):
    path = refusal(tmp_path)
    path.with_name("direction_metadata.json").unlink()
    with pytest.raises(CalibError, match="no file at .*direction_metadata.json"):
        found("refusal_direction", path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("not json", "not readable JSON"),
        ([], "has no 'directions'"),
        ({"directions": [[1.0]]}, "has no 'directions'"),
        ({"directions": {"-1": [1.0]}}, "names a layer '-1'"),
        ({"directions": {"1.5": [1.0]}}, "names a layer '1.5'"),
        ({"directions": {"٣": [1.0]}}, "names a layer"),
        ({"directions": {"1": []}}, "no list of numbers"),
        ({"directions": {"1": "12"}}, "no list of numbers"),
        ({"directions": {"1": [True]}}, "no list of numbers"),
        ({"directions": {"1": [[1.0], [2.0]]}}, "2 directions, and calib steers along one"),
        ({"directions": {"1": [[[1.0]]]}}, "no list of numbers"),
        ('{"directions": {"1": [1%s]}}' % ("0" * 400), "too large"),
        ({"directions": {"1": [1.0]}, "num_heads": 4, "head_dim": 2}, "of attention heads"),
    ],
)
def test_a_broken_svec(tmp_path, content, words):
    with pytest.raises(CalibError, match=words):
        found("svec", svec(tmp_path, content))


def test_broken_tensors(tmp_path):
    both = tensors(tmp_path, layer_1=V[0], layer1__v=V[1])
    with pytest.raises(CalibError, match="names a layer twice: layer1.v, layer_1"):
        found("safetensors", both)
    with pytest.raises(CalibError, match="holds layer_01, layer_2. calib reads keys"):
        found("safetensors", tensors(tmp_path, layer_01=V[0], layer_2=V[0]))
    with pytest.raises(CalibError, match="holds a, layer_2. calib reads keys"):
        found("safetensors", tensors(tmp_path, a=V[0], layer_2=V[0]))
    with pytest.raises(CalibError, match="holds nothing"):
        found("safetensors", tensors(tmp_path))
    with pytest.raises(CalibError, match=r"layer_2 has shape \[2, 3\]"):
        found("safetensors", tensors(tmp_path, layer_2=torch.stack(V)))
    with pytest.raises(CalibError, match="layer_2 is no plain tensor of floats .torch.int32"):
        found("safetensors", tensors(tmp_path, layer_2=V[0].int()))
    path = tmp_path / "v.safetensors"
    path.write_bytes(b"\xff" * 64)
    with pytest.raises(CalibError, match="not a readable safetensors file"):
        found("safetensors", path)


@pytest.mark.parametrize("layers", [None, [1], [1, 1], [1, 2, 3], []])
def test_rows_need_a_layer_each(tmp_path, layers):
    with pytest.raises(CalibError, match=r"holds 2 vectors.*layers=\[N,...\], 2 different ones"):
        found("safetensors", tensors(tmp_path, v=torch.stack(V)), layers)


def test_layers_of_a_file_that_names_them_are_not_overruled(tmp_path):
    gguf = tmp_path / "v.gguf"
    gguf.write_bytes(write_gguf({}, {"direction.1": V[0]}))
    files = {
        "gguf": gguf,
        "refusal_direction": refusal(tmp_path),
        "svec": svec(tmp_path, {"directions": {"1": [1.0]}}),
        "safetensors": tensors(tmp_path, layer_1=V[0]),
    }
    for name, path in files.items():
        with pytest.raises(CalibError, match="says itself which layers it has"):
            found(name, path, [5])


@pytest.mark.parametrize("name", READERS)
def test_a_file_that_is_missing_or_too_large(tmp_path, name, monkeypatch):
    with pytest.raises(CalibError, match="no file at"):
        found(name, tmp_path / "missing")
    with pytest.raises(CalibError, match="no file at"):
        found(name, tmp_path)
    monkeypatch.setattr(vectors, "LARGEST", 100)
    (tmp_path / "large").write_bytes(bytes(101))
    with pytest.raises(CalibError, match="has 101 bytes.*Is it a checkpoint"):
        found(name, tmp_path / "large")


def test_an_archive_that_unpacks_to_too_much_is_not_unpacked(tmp_path, monkeypatch):
    path = refusal(tmp_path)
    monkeypatch.setattr(readers, "LARGEST", 10_000)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("direction/data/0", bytes(20_000))
    with pytest.raises(CalibError, match="unpacks to 20000 bytes"):
        found("refusal_direction", path)
