"""The direction file: what goes in comes out, and what does not fit is refused."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from calib.directions.direction import HEADER, Direction, read_direction, write_direction
from calib.directions.fit import checked_layers, fit_direction, require_match
from calib.errors import CalibError


@pytest.fixture
def direction(vlm):
    vectors = torch.eye(vlm.width)[:2]
    return Direction(
        vectors=vectors,
        gap=torch.tensor([2.0, 3.0]),
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
    )


def test_round_trip(tmp_path, direction):
    path = tmp_path / "folder" / "d.safetensors"
    write_direction(path, direction)
    back = read_direction(path)
    for field in dataclasses.fields(Direction):
        ours, theirs = getattr(direction, field.name), getattr(back, field.name)
        same = torch.equal(ours, theirs) if torch.is_tensor(ours) else ours == theirs
        assert same, field.name


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
    rewritten(path, header={"schema": 1, "layers": [1]})
    with pytest.raises(CalibError, match="not a whole direction file"):
        read_direction(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("layers", [-1, 4]), ("layers", ["a", 4]), ("layers", [4, 1]), ("layers", []),
        ("unit", "norm"), ("strength", "big"), ("auroc", [0.5]), ("auroc", [2.0, 0.5]),
        ("checkpoint", 3), ("revision", {}), ("auroc_pairs", 0), ("chosen_layer", 1.5),
    ],
)  # fmt: skip
def test_headers_that_cannot_be_meant(tmp_path, direction, name, value):
    path = tmp_path / "d.safetensors"
    write_direction(path, dataclasses.replace(direction, **{name: value}))
    with pytest.raises(CalibError, match=f"as '{name}' in its header"):
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
    write_direction(path, dataclasses.replace(direction, layers=[1, 2, 3], auroc=[]))
    with pytest.raises(CalibError, match="names 3 layers but holds tensors of shape"):
        read_direction(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"site": "heads"}, "site 'heads'"),
        ({"operator": "ablate"}, "operator 'ablate'"),
        ({"vectors": torch.eye(7)[:2]}, "has width 7; mini-internvl has width 128"),
        ({"layers": [1, 40]}, r"has layers \[40\]; mini-internvl ends at layer 5"),
        ({"fingerprint": "0000"}, r"was read from mini-internvl \(0000\), not from"),
    ],
)
def test_a_direction_of_another_model_is_refused(vlm, direction, change, message):
    require_match(direction, vlm, "d.safetensors")
    with pytest.raises(CalibError, match=message):
        require_match(dataclasses.replace(direction, **change), vlm, "d.safetensors")


def test_layers_the_model_does_not_have(vlm):
    assert checked_layers(vlm, "all") == [0, 1, 2, 3, 4, 5]
    assert checked_layers(vlm, 3) == [3]
    assert checked_layers(vlm, [4, 1, 4]) == [1, 4]
    with pytest.raises(CalibError, match="layer 6 does not exist: mini-internvl has layers 0 to 5"):
        checked_layers(vlm, [2, 6])


def test_fitting_without_one_side_or_with_an_unknown_estimator(vlm, mixed_examples):
    some = mixed_examples[:1]
    with pytest.raises(CalibError, match="no negative training examples"):
        fit_direction(vlm, (some, []), ([], []), contrast="safety", layers=[0])
    with pytest.raises(CalibError, match="Did you mean 'mean_difference'"):
        fit_direction(
            vlm, (some, some), ([], []), contrast="safety", layers=[0], estimator="mean_diference"
        )
