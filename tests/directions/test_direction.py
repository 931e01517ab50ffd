"""The direction file: what goes in comes out, and what does not fit is refused."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

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


@pytest.mark.parametrize(
    "name", ["pair_cosine", "effect", "effect_low", "effect_high", "effect_strength"]
)
def test_what_is_undefined_at_a_layer_is_no_nan_in_the_header(tmp_path, direction, name):
    path = tmp_path / "d.safetensors"
    write_direction(path, dataclasses.replace(direction, **{name: [0.5, math.nan]}))
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()[HEADER])
    assert header[name] == [0.5, None]
    back = getattr(read_direction(path), name)
    assert back[0] == 0.5 and math.isnan(back[1])


def test_other_numbers_must_be_numbers(tmp_path, direction):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_direction(tmp_path / "d", dataclasses.replace(direction, auroc=[math.nan, 0.5]))


def test_nothing_is_said_that_was_not_given(tmp_path, direction):
    plain = dataclasses.replace(
        direction, pair_cosine=[], effect=[], effect_strength=[], effect_kl=None, effect_n=0,
        effect_low=[], effect_high=[], auroc=[], auroc_pairs=0, positions="",
    )  # fmt: skip
    write_direction(tmp_path / "d.safetensors", plain)
    back = read_direction(tmp_path / "d.safetensors")
    assert (back.pair_cosine, back.effect, back.effect_kl, back.positions) == ([], [], None, "")
    defaults = {field.name: field.default for field in dataclasses.fields(Direction)}
    assert (defaults["positions"], defaults["effect_kl"], defaults["effect_n"]) == ("", None, 0)


def test_vectors_of_attention_heads_have_their_own_width(tmp_path, direction):
    heads = dataclasses.replace(direction, site="heads", vectors=torch.eye(48)[:2])
    write_direction(tmp_path / "d.safetensors", heads)
    back = read_direction(tmp_path / "d.safetensors")
    assert (back.site, back.width) == ("heads", 48)


def test_some_of_its_layers(tmp_path, direction):
    one = direction.of_layers([4])
    assert one.layers == [4]
    for name in ("vectors", "gap", "midpoint", "norm"):
        assert torch.equal(getattr(one, name), getattr(direction, name)[1:])
    assert (one.auroc, one.pair_cosine, one.effect) == ([0.8], [-0.1], [-0.5])
    assert (one.effect_strength, one.effect_kl, one.pairs) == ([4.0], 0.1, 100)
    assert (one.effect_low, one.effect_high) == ([-0.6], [-0.4])
    write_direction(tmp_path / "d.safetensors", one)
    assert read_direction(tmp_path / "d.safetensors").layers == [4]
    assert dataclasses.replace(direction, auroc=[]).of_layers([1]).auroc == []
    with pytest.raises(CalibError, match="layer 2 is not in the direction"):
        direction.of_layers([1, 2])


def test_strength_is_in_gap_units(direction):
    assert torch.equal(direction.at(4, 0.5), direction.vectors[1] * 1.5)
    with pytest.raises(CalibError, match=r"layer 2 is not in the direction, which has .*\[1, 4\]"):
        direction.at(2, 1.0)


def rewritten(path, header=None, **tensors):
    stored = load_file(path) | tensors
    save_file(stored, path, metadata={HEADER: json.dumps(header)} if header else None)


def test_files_that_are_not_directions(tmp_path, direction):
    path = tmp_path / "d.safetensors"
    with pytest.raises(CalibError, match="no direction file at"):
        read_direction(path)
    path.write_bytes(b"not safetensors")
    with pytest.raises(CalibError, match="not a readable safetensors file"):
        read_direction(path)
    write_direction(path, direction)
    rewritten(path)
    with pytest.raises(CalibError, match="no calib header"):
        read_direction(path)
    rewritten(path, header={"schema": 99})
    with pytest.raises(CalibError, match="schema 99"):
        read_direction(path)
    rewritten(path, header={"schema": 1})
    with pytest.raises(CalibError, match="schema 1; this version of calib reads 2"):
        read_direction(path)
    rewritten(path, header={"schema": 2, "layers": [1]})
    with pytest.raises(CalibError, match="not a whole direction file"):
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
def test_headers_that_cannot_be_meant(tmp_path, direction, name, value):
    path = tmp_path / "d.safetensors"
    write_direction(path, direction)
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()[HEADER])
    rewritten(path, header | {name: value})
    with pytest.raises(CalibError, match=f"as '{name}' in its header"):
        read_direction(path)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("gap", 3), ("midpoint", 3), ("norm", (2, 1)), ("vectors", 2), ("vectors", (2, 4, 1))],
)
def test_tensors_of_another_shape(tmp_path, direction, name, shape):
    path = tmp_path / "d.safetensors"
    write_direction(path, dataclasses.replace(direction, **{name: torch.ones(shape)}))
    with pytest.raises(CalibError, match="names 2 layers but holds tensors of shape"):
        read_direction(path)


def test_a_file_without_midpoints(tmp_path, direction):
    path = tmp_path / "d.safetensors"
    write_direction(path, direction)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    stored = load_file(path)
    del stored["midpoint"]
    save_file(stored, path, metadata=metadata)
    with pytest.raises(CalibError, match="not a whole direction file: .*midpoint"):
        read_direction(path)


@pytest.mark.parametrize("header", ["{", "[]", "3"])
def test_headers_that_are_no_table(tmp_path, direction, header):
    path = tmp_path / "d.safetensors"
    write_direction(path, direction)
    save_file(load_file(path), path, metadata={HEADER: header})
    with pytest.raises(CalibError, match="broken calib header"):
        read_direction(path)


def test_vectors_of_another_length(tmp_path, direction):
    path = tmp_path / "d.safetensors"
    write_direction(path, dataclasses.replace(direction, vectors=direction.vectors * 2))
    with pytest.raises(CalibError, match="not of unit length"):
        read_direction(path)


def test_a_place_that_cannot_be_written(direction):
    with pytest.raises(CalibError, match="/dev/null/d.safetensors cannot be written"):
        write_direction(Path("/dev/null/d.safetensors"), direction)


def test_broken_tensors(tmp_path, direction):
    path = tmp_path / "d.safetensors"
    write_direction(path, dataclasses.replace(direction, gap=torch.tensor([1.0, float("nan")])))
    with pytest.raises(CalibError, match="not finite in 'gap'"):
        read_direction(path)
    names = "auroc pair_cosine effect effect_low effect_high effect_strength"
    more = {name: [] for name in names.split()}
    write_direction(path, dataclasses.replace(direction, layers=[1, 2, 3], **more))
    with pytest.raises(CalibError, match="names 3 layers but holds tensors of shape"):
        read_direction(path)
