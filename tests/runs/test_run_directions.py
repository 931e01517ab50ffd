"""Directions and projections of a run, of a sweep and of an extraction."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_up_run import write_run
from raising import raises
from random_directions import direction_at

from calib.directions.direction import write_direction
from calib.directions.projections import Projections, projections_path, write_projections
from calib.runs.run import Run

NAME = "safety-mean_difference-last_prompt-residual"
EFFECTS = {"effect_kl": 0.1, "effect_n": 9, "effect": [0.5], "effect_strength": [2.0]}


@pytest.fixture
def direction(vlm):
    return direction_at(vlm, [1, 2, 3], auroc=[0.6, 0.7, 0.8], auroc_pairs=2)


@pytest.fixture
def projections():
    sides = ["positive", "positive", "negative", "negative", "negative", "positive"]
    splits = ["validation"] * 5 + ["train"]
    return Projections([*"abcdef"], sides, splits, [1, 2, 3], np.arange(18.0).reshape(6, 3))


def fitted(folder, direction, projections=None, name=NAME):
    path = folder / "directions" / f"{name}.safetensors"
    write_direction(path, direction)
    if projections is not None:
        write_projections(projections_path(path), projections)
    return path


def test_directions_and_projections_of_a_sweep(tmp_path, direction, projections):
    write_run(tmp_path)
    fitted(tmp_path, direction, projections)
    fitted(tmp_path, direction, name="steer-given")
    found = Run.load(tmp_path)
    assert list(found.directions) == [NAME, "steer-given"]
    assert list(found.projections) == [NAME]
    assert found.projections[NAME].values.tolist() == projections.values.tolist()
    assert found.checkpoint == "mini-internvl" and found.results
    assert found.operating_point("steer")["layer"] == 3


def test_an_extraction_has_no_results_and_its_effects_at_their_layers(
    tmp_path, direction, projections
):
    fitted(tmp_path, direction, projections)
    bounds = {"effect_low": [0.4], "effect_high": [0.6]}
    extracted = replace(direction.select_layers([2]), **EFFECTS, **bounds)
    write_direction(tmp_path / "direction.safetensors", extracted)
    found = Run.load(tmp_path)
    assert (found.results, found.operating_points) == ([], [])
    assert (found.name, found.checkpoint) == (tmp_path.name, direction.checkpoint)
    assert list(found.projections) == [NAME]
    (one,) = found.directions.values()
    assert (one.layers, one.auroc) == ([1, 2, 3], [0.6, 0.7, 0.8])
    nan = math.nan
    assert repr(one.effect) == repr([nan, 0.5, nan])
    assert repr(one.effect_low + one.effect_high) == repr([nan, 0.4, nan, nan, 0.6, nan])
    assert repr(one.effect_strength) == repr([nan, 2.0, nan])
    assert (one.effect_kl, one.effect_n) == (0.1, 9)


def test_extractions_without_intervals_or_without_effects(tmp_path, direction):
    fitted(tmp_path, direction)
    write_direction(
        tmp_path / "direction.safetensors", replace(direction.select_layers([2]), **EFFECTS)
    )
    (one,) = Run.load(tmp_path).directions.values()
    assert one.effect[1] == 0.5 and one.effect_low == one.effect_high == []
    write_direction(tmp_path / "direction.safetensors", direction.select_layers([2]))
    (one,) = Run.load(tmp_path).directions.values()
    assert one.layers == [1, 2, 3] and one.effect == []


def test_a_folder_with_a_direction_alone_is_an_extraction(tmp_path, direction):
    write_direction(tmp_path / "direction.safetensors", direction)
    found = Run.load(tmp_path)
    assert found.directions[NAME].vectors.equal(direction.vectors) and not found.projections


def test_a_folder_with_results_is_a_sweep(tmp_path, direction):
    write_run(tmp_path)
    write_direction(tmp_path / "direction.safetensors", direction)
    found = Run.load(tmp_path)
    assert found.results and not found.directions


def test_a_folder_without_a_run(tmp_path):
    with raises("unfinished-run", tmp_path, "results.csv"):
        Run.load(tmp_path)


@pytest.mark.parametrize("change", ["layers", "examples", "text", "vectors"])
def test_files_of_different_directions_are_refused(tmp_path, direction, projections, change):
    path = fitted(tmp_path, direction, projections)
    write_direction(tmp_path / "direction.safetensors", direction)
    code, value = "mismatch", projections_path(path)
    if change == "layers":
        other = replace(projections, layers=[1, 2, 4])
        write_projections(projections_path(path), other)
    elif change == "examples":
        write_direction(path, replace(direction, auroc_pairs=3))
    elif change == "text":
        projections_path(path).write_text("damaged", encoding="utf-8")
        code = "invalid-content"
    else:
        write_direction(path, replace(direction, gap=direction.gap * torch.nan))
        code, value = "invalid-content", path
    with raises(code, value):
        _ = Run.load(tmp_path).projections
