"""Tensors of kinds that are no directions end in a message, in direction files and in imports."""

import warnings

import pytest
import torch
from raising import raises
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from calib.directions.direction import Direction, read_direction, write_direction
from calib.interchange.array_files import read_array_vectors

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    NESTED = torch.nested.nested_tensor([torch.ones(3), torch.ones(4)])
ODD = {
    "nested": NESTED,
    "no dimension": torch.tensor(1.0),
    "empty": torch.zeros(0),
    "three dimensions": torch.ones(2, 3, 4),
    "int8": torch.ones(3, dtype=torch.int8),
    "bool": torch.ones(3, dtype=torch.bool),
    "float8": torch.ones(3).to(torch.float8_e4m3fn),
    "complex": torch.ones(3, dtype=torch.complex64),
    "sparse": torch.eye(3).to_sparse(),
    "meta": torch.ones(3, device="meta"),
}


@pytest.mark.parametrize("within", [lambda x: x, lambda x: [x], lambda x: {"13": x}])
@pytest.mark.parametrize("kind", ODD)
def test_an_odd_tensor_is_not_imported(tmp_path, kind, within):
    path = tmp_path / "vec_layer_13.pt"
    torch.save(within(ODD[kind]), path)
    with raises("invalid-content", path):
        read_array_vectors(path, None, "pt")


@pytest.fixture
def direction_file(tmp_path):
    """Write a direction file with one tensor in another type, without its checksum."""

    def write(name, dtype):
        path = tmp_path / "d.safetensors"
        scalars = [torch.ones(1) for _ in range(3)]
        write_direction(path, Direction(torch.eye(4)[:1], *scalars, [0], "m", None, "f"))
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        del metadata["calib_sha256"]
        tensors = load_file(path)
        save_file({**tensors, name: tensors[name].to(dtype)}, path, metadata)
        return path

    return write


@pytest.mark.parametrize("name", ["vectors", "gap"])
@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.float8_e4m3fn, torch.complex64])
def test_a_direction_of_another_type_is_refused(direction_file, name, dtype):
    path = direction_file(name, dtype)
    with raises("invalid-content", path, name, dtype):
        read_direction(path)


def test_a_direction_of_narrow_floats_is_read(direction_file):
    assert read_direction(direction_file("vectors", torch.bfloat16)).layers == [0]
