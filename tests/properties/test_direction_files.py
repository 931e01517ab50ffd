"""Directions are read as they were written; any changed byte or header is found."""

import dataclasses
import json
import math

import torch
from hypothesis import given
from hypothesis import strategies as st
from property_profiles import share
from property_strategies import broken_texts, deep, json_values, numbers
from safetensors.torch import save

from calib.directions.checksum import CHECKSUM, checksum
from calib.directions.direction import HEADER, SCHEMA, Direction, read_direction, write_direction
from calib.directions.part_table import read_parts, write_parts
from calib.directions.parts import PartSeparation
from calib.util.errors import CalibError

floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
rates = st.floats(0, 1)
fields = {
    name: broken_texts
    for name in ("checkpoint", "fingerprint", "estimator", "contrast", "pair_set", "verdict")
}


@st.composite
def directions(draw):
    """A direction of up to three layers with any finite numbers and any texts."""
    count, width = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    rows = st.lists(floats, min_size=count, max_size=count)
    vectors = torch.tensor(draw(st.lists(floats, min_size=count * width, max_size=count * width)))
    vectors = vectors.reshape(count, width).double()
    vectors[vectors.norm(dim=-1) == 0] = 1.0
    optional = st.lists(st.just(math.nan) | st.floats(-1, 1), min_size=count, max_size=count)
    aurocs = draw(st.just([]) | st.lists(rates, min_size=count, max_size=count))
    layers = st.lists(st.integers(0, 500), min_size=count, max_size=count, unique=True)
    return Direction(
        vectors=(vectors / vectors.norm(dim=-1, keepdim=True)).float(),
        gap=torch.tensor(draw(rows)),
        midpoint=torch.tensor(draw(rows)),
        norm=torch.tensor(draw(rows)),
        layers=sorted(draw(layers)),
        revision=draw(st.none() | broken_texts),
        strength=draw(st.floats(allow_nan=False, allow_infinity=False)),
        pair_cosine=draw(st.just([]) | optional),
        auroc=aurocs,
        auroc_pairs=draw(st.integers(1, 10**6)),
        origin=draw(st.dictionaries(broken_texts, broken_texts, max_size=3)),
        **{name: draw(text) for name, text in fields.items()},
    )


def plain(direction):
    """The fields, comparable: tensors as lists, nan as None."""
    values = {
        key: value.tolist() if torch.is_tensor(value) else value
        for key, value in vars(direction).items()
    }
    return json.loads(json.dumps(values).replace("NaN", "null"))


@given(directions())
def test_a_direction_is_read_as_it_was_written(tmp_path, direction):
    path = tmp_path / "d.safetensors"
    write_direction(path, direction)
    first = path.read_bytes()
    again = read_direction(path)
    assert plain(again) == plain(direction)
    write_direction(path, again)
    assert path.read_bytes() == first


@given(directions(), st.integers(0, 100_000), st.integers(1, 255))
@share(2)
def test_a_changed_byte_is_found(tmp_path, direction, position, change):
    path = tmp_path / "d.safetensors"
    write_direction(path, direction)
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= change
    path.write_bytes(content)
    try:
        read = read_direction(path)
    except CalibError as error:
        assert str(path) in str(error)
    else:  # a blank of the padding, or two ways to write one header
        assert plain(read) == plain(direction)


SMALL = Direction(
    vectors=torch.eye(2),
    gap=torch.ones(2),
    midpoint=torch.ones(2),
    norm=torch.ones(2),
    layers=[1, 2],
    checkpoint="c",
    revision=None,
    fingerprint="f",
)
NAMES = [field.name for field in dataclasses.fields(Direction)]
KEYS = st.sampled_from([*NAMES, "schema", "other"])
TENSORS = {name: getattr(SMALL, name) for name in ("vectors", "gap", "midpoint", "norm")}
VALUES = st.one_of(
    json_values, numbers, st.lists(numbers, min_size=2, max_size=2), st.just(deep(99))
)


@given(
    st.dictionaries(KEYS, VALUES, max_size=3),
    st.lists(st.sampled_from(NAMES), max_size=2),
    st.lists(st.sampled_from([*TENSORS, *NAMES]), max_size=2),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.int8]),
)
@share(3)
def test_any_header_is_read_or_refused(tmp_path, changes, left_out, swapped, kind):
    header = {k: v for k, v in vars(SMALL).items() if k not in (*TENSORS, "origin")}
    header = {"schema": SCHEMA, **header, **changes}
    for name in left_out:
        header.pop(name, None)
    tensors = dict(TENSORS)
    for name in swapped:  # a tensor that is missing, or one where a text belongs
        if tensors.pop(name, None) is None:
            tensors[name] = torch.ones(2).to(kind)
    metadata = {HEADER: json.dumps(header)}
    metadata[CHECKSUM] = checksum(tensors, metadata)
    path = tmp_path / "h.safetensors"
    path.write_bytes(save(tensors, metadata=metadata))
    try:
        read = read_direction(path)
    except CalibError as error:
        assert str(path) in str(error)
    else:
        read.select_layers(read.layers)


separations = st.builds(
    PartSeparation,
    fitted_on=broken_texts, measured_on=broken_texts, layer=st.integers(0, 99),
    auroc=rates, low=rates, high=rates, n=st.integers(0, 999), clusters=st.integers(0, 99),
    cosine=st.just(math.nan) | st.floats(-1, 1), train=st.integers(0, 999),
)  # fmt: skip


@given(st.lists(separations, max_size=4))
def test_a_table_of_parts_is_read_as_it_was_written(tmp_path, written):
    path = tmp_path / "d.parts.csv"
    write_parts(path, written)
    first = path.read_bytes()
    read = read_parts(path)
    assert [(s.layer, s.n, s.train) for s in read] == [(s.layer, s.n, s.train) for s in written]
    assert all(abs(a.auroc - b.auroc) < 1e-6 for a, b in zip(read, written, strict=True))
    write_parts(path, read)
    assert path.read_bytes() == first


@given(
    st.text(st.sampled_from("fitted_on,measured_on,layer\r\n\"'=01.an-")), st.binary(max_size=40)
)
def test_any_table_of_parts_is_read_or_refused(tmp_path, text, more):
    path = tmp_path / "d.parts.csv"
    write_parts(path, [])
    path.write_bytes(path.read_bytes() + text.encode() + more)
    try:
        read_parts(path)
    except CalibError as error:
        assert str(path) in str(error)
