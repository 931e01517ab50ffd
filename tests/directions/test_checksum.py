"""A direction file has the checksums of the tables beside it."""

import random

import pytest
import torch
from raising import raises
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from calib.directions.checksum import CHECKSUM, TABLES
from calib.directions.direction import ORIGIN, Direction, read_direction, write_direction
from calib.directions.projections import Projections, projections_path, write_projections

LAYERS = [1, 2]


@pytest.fixture
def path(tmp_path):
    """A direction file with its projections."""
    path = tmp_path / "safety-x.y.safetensors"
    values = torch.randn(6, 2, generator=torch.Generator().manual_seed(0)).numpy()
    sides, splits = ["positive", "negative"] * 3, ["train"] * 6
    names = [f"e{k}" for k in range(6)]
    write_projections(projections_path(path), Projections(names, sides, splits, LAYERS, values))
    write_direction(path, direction())
    return path


def direction():
    gap, midpoint, norm = (torch.ones(len(LAYERS)) for _ in range(3))
    vectors = torch.eye(4)[: len(LAYERS)]
    return Direction(vectors, gap, midpoint, norm, LAYERS, "m", None, "f")


def test_a_flipped_bit_of_a_table_is_found(path):
    table = projections_path(path)
    data = table.read_bytes()
    assert read_direction(path).layers == LAYERS
    for bit in random.Random(0).sample(range(8 * len(data)), 30):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        table.write_bytes(damaged)
        with raises("invalid-content", table.name, path.name, "calib_tables"):
            read_direction(path)
    table.write_bytes(data)
    read_direction(path)


def test_a_direction_is_read_without_its_tables(path):
    """As after an export, or where a table was deleted."""
    projections_path(path).unlink()
    assert read_direction(path).layers == LAYERS


def test_directions_of_earlier_versions_name_no_table(path):
    projections_path(path).rename(path.with_name("later"))
    write_direction(path, direction())
    path.with_name("later").rename(projections_path(path))
    projections_path(path).write_text("damaged", encoding="utf-8")
    assert read_direction(path).layers == LAYERS


@pytest.mark.parametrize("key", [ORIGIN, TABLES])
@pytest.mark.parametrize("text", ["[", "[]", "5"])
def test_metadata_that_are_no_objects_are_refused(path, key, text):
    with safe_open(path, "pt") as file:
        metadata = file.metadata() | {key: text}
    del metadata[CHECKSUM]
    save_file(load_file(path), path, metadata)
    with raises("invalid-content", path):
        read_direction(path)
