"""The direction file: round trips, and errors for invalid files."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from raising import raises
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from calib.directions.checksum import CHECKSUM
from calib.directions.direction import HEADER, Direction, read_direction, write_direction
from calib.util.errors import CalibError


@pytest.fixture
def direction(vlm):
    vectors = torch.eye(vlm.width)[:2]
    return Direction(
        vectors=vectors,
        gap=torch.tensor([2.0, 3.0]),
        midpoint=torch.tensor([-1.0, 0.5]),
        norm=torch.tensor([10.0, 20.0]),
        layers=[1, 4],
        checkpoint=vlm.checkpoint,
        revision=None,
        fingerprint=vlm.fingerprint,
        auroc=[0.9, 0.8],
        auroc_pairs=40,
        pair_set="abc",
        pairs=100,
        positions="response",
        pair_cosine=[0.3, -0.1],
        effect=[0.25, -0.5],
        effect_strength=[1.5, 4.0],
        effect_low=[0.1, -0.6],
        effect_high=[0.4, -0.4],
        effect_kl=0.1,
        effect_n=80,
    )


def test_round_trip(tmp_path, direction):
    path = tmp_path / "folder" / "d.safetensors"
    write_direction(path, direction)
    back = read_direction(path)
    for field in dataclasses.fields(Direction):
        ours, theirs = getattr(direction, field.name), getattr(back, field.name)
        same = torch.equal(ours, theirs) if torch.is_tensor(ours) else ours == theirs
        assert same, field.name


def test_a_flipped_bit_is_found(tmp_path, direction):
    path = tmp_path / "d.safetensors"
    small = dataclasses.replace(direction, vectors=torch.eye(3)[:2])
    write_direction(path, small)
    whole = path.read_bytes()
    found = 0
    for bit in range(3, 8 * len(whole), 11):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            back = read_direction(path)
        except CalibError as error:
            assert str(path) in str(error)
            found += 1
        else:  # in a character without meaning, or in the key of the checksum
            assert torch.equal(back.vectors, small.vectors) and back.layers == small.layers
    assert found > 0.97 * 8 * len(whole) // 11
    middle = bytearray(whole)
    middle[-5] ^= 16
    path.write_bytes(middle)
    with raises("invalid-content", path, "checksum", "Delete"):
        read_direction(path)


def test_files_of_earlier_versions_have_no_checksum(tmp_path, direction):
    path = tmp_path / "d.safetensors"
    write_direction(path, direction)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    del metadata[CHECKSUM]
    save_file(load_file(path), path, metadata)
    assert read_direction(path).layers == direction.layers


@pytest.mark.parametrize(
    "name", ["pair_cosine", "effect", "effect_low", "effect_high", "effect_strength"]
)
def test_nan_is_null_in_the_header(tmp_path, direction, name):
    path = tmp_path / "d.safetensors"
    write_direction(path, dataclasses.replace(direction, **{name: [0.5, math.nan]}))
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()[HEADER])
    assert header[name] == [0.5, None]
    back = getattr(read_direction(path), name)
    assert back[0] == 0.5 and math.isnan(back[1])


def test_nan_is_rejected_in_other_fields(tmp_path, direction):
    with pytest.raises(ValueError):
        write_direction(tmp_path / "d", dataclasses.replace(direction, auroc=[math.nan, 0.5]))


def test_optional_fields_stay_empty(tmp_path, direction):
    plain = dataclasses.replace(
        direction, pair_cosine=[], effect=[], effect_strength=[], effect_kl=None, effect_n=0,
        effect_low=[], effect_high=[], auroc=[], auroc_pairs=0, positions="",
    )  # fmt: skip
    write_direction(tmp_path / "d.safetensors", plain)
    back = read_direction(tmp_path / "d.safetensors")
    assert (back.pair_cosine, back.effect, back.effect_kl, back.positions) == ([], [], None, "")
    defaults = {field.name: field.default for field in dataclasses.fields(Direction)}
    assert (defaults["positions"], defaults["effect_kl"], defaults["effect_n"]) == ("", None, 0)


def test_verdict_is_in_the_header_only_if_there_is_one(tmp_path, direction):
    write_direction(tmp_path / "d", direction)
    assert b'"verdict"' not in (tmp_path / "d").read_bytes().replace(b"\\", b"")
    write_direction(tmp_path / "d", dataclasses.replace(direction, verdict="No: less safe."))
    assert read_direction(tmp_path / "d").verdict == "No: less safe."


def test_vectors_of_attention_heads_have_their_own_width(tmp_path, direction):
    heads = dataclasses.replace(direction, site="heads", vectors=torch.eye(48)[:2])
    write_direction(tmp_path / "d.safetensors", heads)
    back = read_direction(tmp_path / "d.safetensors")
    assert (back.site, back.width) == ("heads", 48)


def test_select_layers(tmp_path, direction):
    selected = direction.select_layers([4])
    assert selected.layers == [4]
    for name in ("vectors", "gap", "midpoint", "norm"):
        assert torch.equal(getattr(selected, name), getattr(direction, name)[1:])
    assert (selected.auroc, selected.pair_cosine, selected.effect) == ([0.8], [-0.1], [-0.5])
    assert (selected.effect_strength, selected.effect_kl, selected.pairs) == ([4.0], 0.1, 100)
    assert (selected.effect_low, selected.effect_high) == ([-0.6], [-0.4])
    write_direction(tmp_path / "d.safetensors", selected)
    assert read_direction(tmp_path / "d.safetensors").layers == [4]
    assert dataclasses.replace(direction, auroc=[]).select_layers([1]).auroc == []
    with raises("invalid-value", "layer 2", [1, 4]):
        direction.select_layers([1, 2])
    with pytest.warns(DeprecationWarning, match="select_layers"):
        assert direction.of_layers([4]).layers == [4]


def test_strength_is_in_gap_units(direction):
    assert torch.equal(direction.at(4, 0.5), direction.vectors[1] * 1.5)
    with raises("invalid-value", "layer 2", [1, 4]):
        direction.at(2, 1.0)


def rewrite(path, header=None, **tensors):
    stored = load_file(path) | tensors
    save_file(stored, path, metadata={HEADER: json.dumps(header)} if header else None)


def test_files_that_are_not_direction_files(tmp_path, direction):
    path = tmp_path / "d.safetensors"
    with raises("not-found", path):
        read_direction(path)
    path.write_bytes(b"not safetensors")
    with raises("unreadable", path):
        read_direction(path)
    write_direction(path, direction)
    rewrite(path)
    with raises("invalid-content", path):
        read_direction(path)
    rewrite(path, header={"schema": 99})
    with raises("invalid-content", path, "schema 99"):
        read_direction(path)
    rewrite(path, header={"schema": 1})
    with raises("invalid-content", path, "schema 1,", 2):
        read_direction(path)
    rewrite(path, header={"schema": 2, "layers": [1]})
    with raises("invalid-content", path, "fingerprint"):
        read_direction(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("layers", [-1, 4]), ("layers", ["a", 4]), ("layers", [4, 1]), ("layers", []),
        ("unit", "norm"), ("strength", "big"), ("auroc", [0.5]), ("auroc", [2.0, 0.5]),
        ("checkpoint", 3), ("revision", {}), ("auroc_pairs", 0), ("chosen_layer", 1.5),
        ("site", "head"), ("estimator", None), ("positions", None), ("strength", True),
        ("pair_cosine", [0.5]), ("pair_cosine", [1.5, 0.0]), ("pair_cosine", ["a", 0.0]),
        ("pair_cosine", [-1.5, 0.0]), ("auroc", [math.nan, 0.5]), ("auroc", None),
        ("effect", [0.5]), ("effect", [math.inf, 0.5]), ("effect_strength", [1.0]),
        ("effect_strength", []), ("effect_kl", None), ("effect_kl", 0), ("effect_kl", "a"),
        ("effect_n", 0), ("effect_n", 1.5), ("effect_low", [0.1]), ("effect_low", 3),
        ("effect_high", []), ("effect_high", [0.1, "a"]),
    ],
)  # fmt: skip
def test_invalid_header_values(tmp_path, direction, name, value):
    path = tmp_path / "d.safetensors"
    write_direction(path, direction)
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()[HEADER])
    rewrite(path, header | {name: value})
    with raises("invalid-content", path, f"'{name}'"):
        read_direction(path)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("gap", 3), ("midpoint", 3), ("norm", (2, 1)), ("vectors", 2), ("vectors", (2, 4, 1))],
)
def test_tensors_of_invalid_shape(tmp_path, direction, name, shape):
    path = tmp_path / "d.safetensors"
    write_direction(path, dataclasses.replace(direction, **{name: torch.ones(shape)}))
    with raises("invalid-content", path, "2 layers", name):
        read_direction(path)


def test_a_file_without_midpoints(tmp_path, direction):
    path = tmp_path / "d.safetensors"
    write_direction(path, direction)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    stored = load_file(path)
    del stored["midpoint"]
    save_file(stored, path, metadata=metadata)
    with raises("invalid-content", path, "midpoint"):
        read_direction(path)


@pytest.mark.parametrize("header", ["{", "[]", "3"])
def test_headers_that_are_not_json_objects(tmp_path, direction, header):
    path = tmp_path / "d.safetensors"
    write_direction(path, direction)
    save_file(load_file(path), path, metadata={HEADER: header})
    with raises("invalid-content", path):
        read_direction(path)


def test_vectors_that_are_not_of_unit_length(tmp_path, direction):
    path = tmp_path / "d.safetensors"
    write_direction(path, dataclasses.replace(direction, vectors=direction.vectors * 2))
    with raises("invalid-content", path, "vectors"):
        read_direction(path)


def test_an_unwritable_path(direction):
    with raises("unwritable", "/dev/null/d.safetensors"):
        write_direction(Path("/dev/null/d.safetensors"), direction)


def test_tensors_that_are_not_finite_or_of_another_number_of_layers(tmp_path, direction):
    path = tmp_path / "d.safetensors"
    write_direction(path, dataclasses.replace(direction, gap=torch.tensor([1.0, float("nan")])))
    with raises("invalid-content", path, "'gap'"):
        read_direction(path)
    names = "auroc pair_cosine effect effect_low effect_high effect_strength"
    more = {name: [] for name in names.split()}
    write_direction(path, dataclasses.replace(direction, layers=[1, 2, 3], **more))
    with raises("invalid-content", path, "3 layers"):
        read_direction(path)
