"""Vectors are read from GGUF as they were written; any file of vectors is read or refused."""

import dataclasses
import functools
import io
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from property_profiles import share
from property_strategies import deep, json_values, numbers, texts
from safetensors.torch import save

from calib.interchange.gguf import MAGIC, gguf_bytes, parse_gguf, read_control_vector
from calib.interchange.readers import READERS
from calib.util.errors import CalibError

floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
vectors = st.lists(floats, min_size=1, max_size=8).map(torch.tensor)
by_layer = st.dictionaries(st.integers(0, 10**8), vectors, min_size=1, max_size=3)
keys = st.dictionaries(
    # The package leaves out keys whose text is empty.
    texts.map("calib.{}".format),
    texts.filter(bool) | st.integers(0, 2**32 - 1),
    max_size=3,
)


@functools.cache
def small_file():
    return gguf_bytes({"calib.a": "b", "calib.n": 3}, {"direction.2": torch.arange(4.0)})


@given(keys, by_layer)
@share(0.5)
def test_a_control_vector_is_read_as_it_was_written(tmp_path, keys, vectors):
    pytest.importorskip("gguf")
    path = tmp_path / "v.gguf"
    path.write_bytes(gguf_bytes(keys, {f"direction.{n}": v for n, v in vectors.items()}))
    read = read_control_vector(path)
    assert read.keys() == vectors.keys()
    assert all(torch.equal(read[n], vectors[n]) for n in vectors)
    known, _ = parse_gguf(path.read_bytes(), "v")
    assert known.items() >= keys.items()


@given(
    st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), max_size=6), st.integers(0, 500)
)
@share(5)
def test_a_damaged_control_vector_is_read_or_refused(tmp_path, changes, cut):
    pytest.importorskip("gguf")
    content = bytearray(small_file())
    for position, byte in changes:
        content[position % len(content)] = byte
    path = tmp_path / "v.gguf"
    path.write_bytes(content[: cut or None])
    try:
        read_control_vector(path)
    except CalibError as error:
        assert str(path) in str(error)


LAYER_NAMES = st.sampled_from(["layer_3", "layer3.v", "3", "layers.3", "model.layers.03", "x", ""])
TABLES = st.dictionaries(LAYER_NAMES | texts, json_values | st.lists(numbers, max_size=3))


@given(
    st.one_of(
        TABLES.map(lambda table: {"directions": table}), TABLES, json_values, st.just(deep(200))
    ),
    st.none() | st.lists(st.integers(-2, 5), max_size=3),
)
def test_any_table_of_vectors_is_read_or_refused(tmp_path, content, layers):
    path = tmp_path / "v.svec"
    path.write_text(json.dumps(content), encoding="utf-8")
    _read("svec", path, layers)


SHAPES = st.lists(st.integers(0, 3), max_size=3)
KINDS = st.sampled_from(["float32", "float64", "float16", "bfloat16", "int8", "bool", "complex64"])
ARRAYS = st.tuples(SHAPES, KINDS).map(lambda s: torch.zeros(s[0], dtype=getattr(torch, s[1])))
STORED = st.recursive(
    ARRAYS | texts | st.integers() | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(LAYER_NAMES | st.integers(-1, 4), inner, max_size=3)
    ),
    max_leaves=4,
)


@given(STORED, st.none() | st.lists(st.integers(-2, 5), max_size=3))
@share(2)
def test_any_content_of_torch_save_is_read_or_refused(tmp_path, content, layers):
    path = tmp_path / "vec_layer_3.pt"
    torch.save(content, path)
    for name in ("pt", "refusal_direction"):
        _read(name, path, layers)


@given(st.dictionaries(LAYER_NAMES, ARRAYS, max_size=3), st.none() | st.lists(st.integers(-2, 5)))
def test_any_tensors_are_read_or_refused(tmp_path, tensors, layers):
    path = tmp_path / "vec_layer_3.safetensors"
    path.write_bytes(save(tensors))
    _read("safetensors", path, layers)
    plain = {k or "x": v.numpy() for k, v in tensors.items() if v.dtype != torch.bfloat16}
    file = io.BytesIO()
    np.savez(file, **plain)
    path = tmp_path / "vec_layer_3.npz"
    path.write_bytes(file.getvalue())
    _read("npy", path, layers)


@given(
    st.sampled_from(sorted(READERS)), st.binary(max_size=80), st.sampled_from([b"", MAGIC, b"PK"])
)
@share(2)
def test_any_bytes_are_read_or_refused(tmp_path, name, content, start):
    path = tmp_path / "vec_layer_3"
    path.write_bytes(start + content)
    _read(name, path, None)


def _read(name, path, layers):
    try:
        imported = READERS[name](path, layers)
    except CalibError as error:
        assert str(path.parent) in str(error)
    else:
        assert all(vector.dim() == 1 for vector in imported.vectors.values())
        assert dataclasses.is_dataclass(imported)
