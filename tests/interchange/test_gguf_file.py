"""GGUF: what is written is what the package gguf and llama.cpp read; damaged files are refused."""

import struct

import numpy as np
import pytest
import torch

from calib.interchange.gguf import read_gguf, write_gguf
from calib.util.errors import CalibError

KEYS = {"general.architecture": "controlvector", "a.text": "zwölf", "a.number": 7}
# Widths that fill no block of 32 bytes.
TENSORS = {"direction.1": torch.arange(7.0), "direction.12": torch.tensor([-1.5, 2e-30, 3e30])}


def test_what_is_written_is_read_again():
    keys, tensors = read_gguf(write_gguf(KEYS, TENSORS), "f")
    assert keys == KEYS
    assert list(tensors) == list(TENSORS)
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


def test_the_package_gguf_reads_it(tmp_path):
    gguf = pytest.importorskip("gguf")
    path = tmp_path / "v.gguf"
    path.write_bytes(write_gguf(KEYS, TENSORS))
    reader = gguf.GGUFReader(path)
    assert reader.fields["GGUF.version"].contents() == 3
    assert {key: reader.fields[key].contents() for key in KEYS} == KEYS
    assert reader.fields["a.number"].types == [gguf.GGUFValueType.UINT32]
    read = {t.name: t for t in reader.tensors}
    assert set(read) == set(TENSORS)
    for name, tensor in read.items():
        assert tensor.tensor_type == gguf.GGMLQuantizationType.F32
        assert list(tensor.shape) == [len(TENSORS[name])]
        assert np.array_equal(tensor.data, TENSORS[name].numpy())


def test_llama_cpp_reads_it(tmp_path):
    pytest.importorskip("xllamacpp")
    import with_llama_cpp as llama_cpp

    path = tmp_path / "v.gguf"
    path.write_bytes(write_gguf(KEYS, TENSORS))
    found = llama_cpp.read_control_vector(llama_cpp.library(), path)
    assert {n: v.tolist() for n, v in found.items()} == {
        1: TENSORS["direction.1"].tolist(),
        12: TENSORS["direction.12"].tolist(),
    }


def test_files_of_the_package_gguf_are_read_with_values_of_every_type(tmp_path):
    gguf = pytest.importorskip("gguf")
    path = tmp_path / "v.gguf"
    writer = gguf.GGUFWriter(str(path), "controlvector")
    writer.add_float32("c.f", 0.5)
    writer.add_bool("c.b", True)
    writer.add_int64("c.i", -(2**40))
    writer.add_array("c.list", [1, 2, 3])
    writer.add_array("c.words", ["x", "yz"])
    writer.add_custom_alignment(64)
    for name, tensor in TENSORS.items():
        writer.add_tensor(name, tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    keys, tensors = read_gguf(path.read_bytes(), "f")
    assert (keys["c.f"], keys["c.b"], keys["c.i"]) == (0.5, True, -(2**40))
    assert (keys["c.list"], keys["c.words"]) == ([1, 2, 3], ["x", "yz"])
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


def head(tensors: int, keys: int, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys)


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def tensor(name: str, shape: list[int], kind: int = 0, offset: int = 0) -> bytes:
    return (
        text(name)
        + struct.pack("<I", len(shape))
        + struct.pack(f"<{len(shape)}Q", *shape)
        + struct.pack("<IQ", kind, offset)
    )


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "ends before"),
        (b"GGML" + bytes(40), "is not a GGUF file"),
        (head(0, 0, version=1), "version 1"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "version 50331648"),
        (head(2**60, 0), "announces 1152921504606846976 entries"),
        (head(0, 2**60), "announces 1152921504606846976 entries"),
        (head(0, 1) + struct.pack("<Q", 2**63), "ends before"),
        (head(0, 1) + text("k") + struct.pack("<I", 99), "value of unknown type 99"),
        (head(0, 1) + text("k") + struct.pack("<IIQ", 9, 0, 2**50), "announces"),
        (head(0, 1) + text("k") + struct.pack("<IIQ", 9, 9, 1), "arrays of arrays"),
        (head(1, 0) + tensor("d", [2**61]), "ends before"),
        (head(1, 0) + tensor("d", [4], offset=2**62) + bytes(64), "ends before"),
        (head(1, 0) + tensor("d", [2, 2]) + bytes(64), r"'d' has shape \[2, 2\]"),
        (head(1, 0) + tensor("d", [0]) + bytes(64), r"'d' has shape \[0\]"),
        (head(1, 0) + text("d") + struct.pack("<I", 2**31), "2147483648 dimensions"),
        (head(1, 0) + tensor("d", [2], kind=28) + bytes(64), "'d' is F64, not F32"),
        (head(1, 0) + tensor("d", [2], kind=2) + bytes(64), "'d' is of type 2, not F32"),
        (head(2, 0) + tensor("d", [2]) * 2 + bytes(128), "holds 'd' twice"),
        (
            head(0, 1) + text("general.alignment") + struct.pack("<II", 4, 0),
            "aligned to 0 bytes",
        ),
    ],
)  # fmt: skip
def test_what_is_damaged_is_refused_at_once(data, words):
    with pytest.raises(CalibError, match=words):
        read_gguf(data, "f")


def test_a_file_that_was_cut_off_is_refused():
    whole = write_gguf(KEYS, TENSORS)
    for length in range(0, len(whole) - 32, 5):
        with pytest.raises(CalibError):
            read_gguf(whole[:length], "f")
