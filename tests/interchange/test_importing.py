"""Third-party vectors as a direction: strength 1 adds each vector as stored in its file."""

import dataclasses

import pytest
import torch
from raising import raises
from random_directions import direction_at
from safetensors.torch import save_file
from tiny_families import tiny
from tiny_parts import WIDTH

from calib.directions.direction import read_direction, write_direction
from calib.directions.fit import require_match
from calib.interchange.gguf import gguf_bytes
from calib.interchange.importing import IMPORTED, import_direction, origin
from calib.interchange.writing import write_direction_as
from calib.report.card import direction_card


def file_of(folder, vectors):
    path = folder / "v.safetensors"
    save_file({f"layer_{n}": vector for n, vector in vectors.items()}, path)
    return path


def test_strength_one_adds_the_stored_vector(tmp_path):
    vlm = tiny("internvl")
    given = {4: torch.randn(WIDTH) * 30, 1: torch.randn(WIDTH)}
    direction = import_direction(file_of(tmp_path, given), "safetensors", vlm).direction
    assert direction.layers == [1, 4]
    for layer, vector in given.items():
        assert torch.allclose(direction.at(layer, 1.0), vector, rtol=1e-6)
        assert torch.allclose(direction.at(layer, -2.0), -2 * vector, rtol=1e-6)
    assert torch.allclose(direction.gap, torch.stack([given[1], given[4]]).norm(dim=-1))
    assert torch.allclose(direction.vectors.norm(dim=-1), torch.ones(2), atol=1e-6)


def test_an_imported_direction_fits_the_model_and_names_its_origin(tmp_path):
    vlm = tiny("internvl")
    imported = import_direction(file_of(tmp_path, {2: torch.ones(WIDTH)}), "safetensors", vlm)
    write_direction(tmp_path / "d.safetensors", imported.direction)
    again = read_direction(tmp_path / "d.safetensors")
    require_match(again, vlm, "d")
    assert (again.estimator, again.contrast) == (IMPORTED, "unknown")
    assert (again.read_positions, again.operator, again.strength) == ("unknown", "add", 1.0)
    assert (again.site, again.positions, again.auroc) == ("residual", "", [])
    card = direction_card(again, [], "d.safetensors", note=origin(imported))
    assert r"Imported from v.safetensors \(safetensors, SHA-256" in card
    assert "| unit of strength | times the stored vector, whose length is 6.928 |" in card
    assert "| fitted on | unknown pairs |" in card
    assert "| held-out AUROC | not measured |" in card


def test_shift_is_added_to_the_files_layers(tmp_path):
    path = file_of(tmp_path, {1: torch.ones(WIDTH), 4: torch.ones(WIDTH)})
    imported = import_direction(path, "safetensors", tiny("internvl"), shift=-1)
    assert imported.direction.layers == [0, 3]
    assert "-1" in origin(imported)
    with raises("mismatch", path, [5], "shift=1", "tiny-internvl", "layers 0 to 4"):
        import_direction(path, "safetensors", tiny("internvl"), shift=1)


@pytest.mark.parametrize(
    ("vectors", "code", "values"),
    [
        ({5: torch.ones(WIDTH)}, "mismatch", ([5], "tiny-internvl", "layers 0 to 4")),
        ({1: torch.ones(WIDTH + 1)}, "mismatch", (WIDTH + 1, "tiny-internvl", WIDTH)),
        ({1: torch.zeros(WIDTH)}, "invalid-content", ("length 0", "layer 1")),
        ({1: torch.full((WIDTH,), 3e38)}, "invalid-content", ("length 2.07846e+39", "layer 1")),
        ({1: torch.full((WIDTH,), float("nan"))}, "not-finite", ("layer 1",)),
        ({1: torch.full((WIDTH,), float("inf"))}, "not-finite", ("layer 1",)),
        ({1: torch.full((WIDTH,), 1e300, dtype=torch.float64)}, "not-finite", ("layer 1",)),
    ],
)
def test_vectors_that_do_not_fit_the_model(tmp_path, vectors, code, values):
    with raises(code, *values):
        import_direction(file_of(tmp_path, vectors), "safetensors", tiny("internvl"))


def test_layers_are_sorted(tmp_path):
    # repeng writes the last layer first.
    given = {n: torch.randn(WIDTH) for n in (4, 1, 3)}
    path = tmp_path / "v.gguf"
    path.write_bytes(gguf_bytes({}, {f"direction.{n}": v for n, v in given.items()}))
    direction = import_direction(path, "gguf", tiny("internvl")).direction
    assert direction.layers == [1, 3, 4]
    for layer, vector in given.items():
        assert torch.allclose(direction.at(layer, 1.0), vector, rtol=1e-6)


def test_a_file_without_vectors(tmp_path):
    path = tmp_path / "v.gguf"
    path.write_bytes(gguf_bytes({}, {}))
    with raises("invalid-content", path):
        import_direction(path, "gguf", tiny("internvl"))


@pytest.mark.parametrize("name", ["gguf", "repeng", "easysteer"])
def test_an_exported_direction_can_be_imported(tmp_path, name):
    vlm = tiny("internvl")
    direction = direction_at(vlm, [1, 2, 4], strength=-1.5)
    path = tmp_path / "v.gguf"
    write_direction_as(direction, name, path, lambda: vlm, "all")
    back = import_direction(path, "gguf", vlm).direction
    assert back.layers == direction.layers
    assert torch.allclose(back.vectors, direction.vectors, atol=1e-6)
    assert torch.allclose(back.gap, direction.gap, rtol=1e-6)
    again = tmp_path / "again.gguf"
    same = dataclasses.replace(back, strength=-1.5, estimator=direction.estimator)
    write_direction_as(same, name, again, lambda: vlm, "all")
    assert import_direction(again, "gguf", vlm).direction.layers == direction.layers


def test_a_vector_of_denormals_keeps_its_direction(tmp_path):
    vector = torch.zeros(WIDTH)
    vector[0], vector[1] = 3e-30, 4e-30
    direction = import_direction(
        file_of(tmp_path, {1: vector}), "safetensors", tiny("internvl")
    ).direction
    assert direction.vectors[0, :2].tolist() == pytest.approx([0.6, 0.8])
