"""GGUF: llama.cpp and the gguf package read what is written, and damaged files are rejected."""

import struct
import sys

import gguf
import numpy as np
import pytest
import torch
from raising import raises

from calib.interchange.gguf import ARCHITECTURE, gguf_bytes, parse_gguf
from calib.util.errors import CalibError

KEYS = {"a.text": "zwölf", "a.number": 7}
ALL_KEYS = {"general.architecture": ARCHITECTURE, **KEYS}
# Widths that do not fill a block of 32 bytes.
TENSORS = {"direction.1": torch.arange(7.0), "direction.12": torch.tensor([-1.5, 2e-30, 3e30])}


def test_keys_and_tensors_survive_a_round_trip():
    keys, tensors = parse_gguf(gguf_bytes(KEYS, TENSORS), "f")
    assert keys == ALL_KEYS
    assert list(tensors) == list(TENSORS)
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


def test_the_gguf_package_reads_it(tmp_path):
    path = tmp_path / "v.gguf"
    path.write_bytes(gguf_bytes(KEYS, TENSORS))
    reader = gguf.GGUFReader(path)
    assert reader.fields["GGUF.version"].contents() == 3
    assert {key: reader.fields[key].contents() for key in ALL_KEYS} == ALL_KEYS
    assert reader.fields["a.number"].types == [gguf.GGUFValueType.UINT32]
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert set(tensors) == set(TENSORS)
    for name, tensor in tensors.items():
        assert tensor.tensor_type == gguf.GGMLQuantizationType.F32
        assert list(tensor.shape) == [len(TENSORS[name])]
        assert np.array_equal(tensor.data, TENSORS[name].numpy())


def test_the_bytes_follow_the_specification():
    # Independent of the package: header, keys, tensor infos, padding to 32 bytes, tensors.
    keys = [
        text("general.architecture") + struct.pack("<I", 8) + text(ARCHITECTURE),
        text("a.text") + struct.pack("<I", 8) + text("zwölf"),
        text("a.number") + struct.pack("<II", 4, 7),
    ]
    infos = [tensor("direction.1", [7]), tensor("direction.12", [3], offset=32)]
    start = padded(head(2, 3) + b"".join(keys + infos))
    body = b"".join(padded(values.numpy().tobytes()) for values in TENSORS.values())
    assert gguf_bytes(KEYS, TENSORS) == start + body


def test_llama_cpp_reads_it(tmp_path):
    pytest.importorskip("xllamacpp")
    import with_llama_cpp as llama_cpp

    path = tmp_path / "v.gguf"
    path.write_bytes(gguf_bytes(KEYS, TENSORS))
    vectors = llama_cpp.read_control_vector(llama_cpp.library(), path)
    assert {n: vector.tolist() for n, vector in vectors.items()} == {
        1: TENSORS["direction.1"].tolist(),
        12: TENSORS["direction.12"].tolist(),
    }


def test_values_of_every_type_are_read(tmp_path):
    path = tmp_path / "v.gguf"
    writer = gguf.GGUFWriter(str(path), ARCHITECTURE)
    writer.add_float32("c.f", 0.5)
    writer.add_bool("c.b", True)
    writer.add_int64("c.i", -(2**40))
    writer.add_array("c.list", [1, 2, 3])
    writer.add_array("c.words", ["x", "yz"])
    writer.add_custom_alignment(64)
    for name, vector in TENSORS.items():
        writer.add_tensor(name, vector.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    keys, tensors = parse_gguf(path.read_bytes(), "f")
    assert (keys["c.f"], keys["c.b"], keys["c.i"]) == (0.5, True, -(2**40))
    assert (keys["c.list"], keys["c.words"]) == ([1, 2, 3], ["x", "yz"])
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


def test_writing_without_the_gguf_package(monkeypatch):
    data = gguf_bytes(KEYS, TENSORS)
    monkeypatch.setitem(sys.modules, "gguf", None)
    with raises("needs-package", "pip install 'calib[gguf]'"):
        gguf_bytes(KEYS, TENSORS)
    assert parse_gguf(data, "f")[0] == ALL_KEYS


def head(tensors: int, keys: int, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys)


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def tensor(name: str, shape: list[int], kind: int = 0, offset: int = 0) -> bytes:
    return (
        text(name)
        + struct.pack("<I", len(shape))
        + struct.pack(f"<{len(shape)}Q", *shape)
        + struct.pack("<IQ", kind, offset)
    )


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 32)


@pytest.mark.parametrize(
    ("data", "code", "values"),
    [
        (b"", "invalid-content", ()),
        (b"GGML" + bytes(40), "invalid-content", ()),
        (head(0, 0, version=1), "unsupported", ("version 1;",)),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "unsupported", ("version 50331648;",)),
        (head(2**60, 0), "invalid-content", (2**60,)),
        (head(0, 2**60), "invalid-content", (2**60,)),
        (head(0, 1) + struct.pack("<Q", 2**63), "invalid-content", ()),
        (head(0, 1) + text("k") + struct.pack("<I", 99), "invalid-content", ("type 99",)),
        (head(0, 1) + text("k") + struct.pack("<IIQ", 9, 0, 2**50), "invalid-content", (2**50,)),
        (head(0, 1) + text("k") + struct.pack("<IIQ", 9, 9, 1), "invalid-content", ("nested",)),
        (head(1, 0) + tensor("d", [2**61]), "invalid-content", ()),
        (head(1, 0) + tensor("d", [4], offset=2**62) + bytes(64), "invalid-content", ()),
        (head(1, 0) + tensor("d", [2, 2]) + bytes(64), "invalid-content", ("'d'", "[2, 2]")),
        (head(1, 0) + tensor("d", [0]) + bytes(64), "invalid-content", ("'d'", "[0]")),
        (head(1, 0) + text("d") + struct.pack("<I", 2**31), "invalid-content", ("'d'", 2**31)),
        (head(1, 0) + tensor("d", [2], kind=28) + bytes(64), "unsupported", ("'d'", "F64", "F32")),
        (head(1, 0) + tensor("d", [2], kind=2) + bytes(64), "unsupported", ("'d'", 2, "F32")),
        (head(2, 0) + tensor("d", [2]) * 2 + bytes(128), "invalid-content", ("'d'", "twice")),
        (
            head(0, 1) + text("general.alignment") + struct.pack("<II", 4, 0),
            "invalid-content",
            ("0 bytes",),
        ),
    ],
)
def test_damaged_files_are_rejected_at_once(data, code, values):
    with raises(code, "'f'", *values):
        parse_gguf(data, "f")


def test_truncated_files_are_rejected():
    complete = gguf_bytes(KEYS, TENSORS)
    for length in range(0, len(complete) - 32, 5):
        with pytest.raises(CalibError):
            parse_gguf(complete[:length], "f")
