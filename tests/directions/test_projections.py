"""Projections on a direction: their unit, and their file."""

import numpy as np
import pytest
import torch
from raising import raises
from random_contrasts import twins
from random_directions import direction_at

from calib.directions.estimators import mean_difference
from calib.directions.projections import (
    Projections,
    project_groups,
    projections_path,
    read_projections,
    write_projections,
)

HOSTILE = [
    "=1+1",
    "'-2",
    "a,b",
    'say "hi"',
    "two\nlines",
    "a\rb",
    "c\r\nd",
    "",
    "ünï \u202e",
    "x\x00y",
]


def example_projections(examples=("a", "b", "a")):
    values = np.arange(2.0 * len(examples)).reshape(-1, 2) / 7 - 0.5
    sides = ["positive", "negative", "negative", *["positive"] * len(examples)][: len(examples)]
    splits = ["train", "train", "validation", *["test"] * len(examples)][: len(examples)]
    return Projections(list(examples), sides, splits, [1, 4], values)


def test_the_class_means_lie_half_a_gap_from_0_and_strength_1_moves_by_1(vlm):
    samples = twins()
    fit = mean_difference(samples)
    layers = dict(layers=[0, 1], vectors=fit.vectors, gap=fit.gap, midpoint=fit.midpoint)
    direction = direction_at(vlm, **layers)
    moved = samples.negative + torch.stack([direction.at(layer, 1.0) for layer in (0, 1)])
    ids = list(samples.positive_groups)
    projections = project_groups(
        direction,
        [
            ("train", "positive", ids, samples.positive),
            ("train", "negative", ids, samples.negative),
            ("validation", "negative", ids, moved),
        ],
    )
    assert projections.examples == ids * 3
    assert (projections.layers, projections.values.shape) == ([0, 1], (3 * len(ids), 2))
    for layer in (0, 1):
        positive = projections.at(layer, "positive", "train")
        negative = projections.at(layer, "negative", "train")
        moved_by_1 = projections.at(layer, "negative", "validation")
        assert positive.mean() == pytest.approx(0.5, abs=1e-5)
        assert negative.mean() == pytest.approx(-0.5, abs=1e-5)
        assert moved_by_1 == pytest.approx(negative + 1, abs=1e-4)
        assert not projections.at(layer, "positive", "test").size
    product = samples.positive[3, 1].double() @ fit.vectors[1].double()
    by_hand = (float(product) - float(fit.midpoint[1])) / float(fit.gap[1])
    assert projections.at(1, "positive", "train")[3] == pytest.approx(by_hand)
    with raises("invalid-value", "layer 2", [0, 1]):
        projections.at(2, "positive", "train")


def test_round_trip(tmp_path):
    path = projections_path(tmp_path / "safety-x.y.safetensors")
    assert path.name == "safety-x.y.projections.csv"
    written = example_projections(HOSTILE)
    write_projections(path, written)
    read = read_projections(path)
    assert (read.examples, read.sides, read.splits) == (HOSTILE, written.sides, written.splits)
    assert read.layers == [1, 4]
    assert np.abs(read.values - written.values).max() < 1e-6
    first = path.read_bytes()
    write_projections(path, read)
    assert path.read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_the_format_of_the_file(tmp_path):
    path = tmp_path / "x.projections.csv"
    projections = example_projections(["=a", "b"])
    projections.values[0, 0] = -1e-9
    write_projections(path, projections)
    assert path.read_bytes().decode().split("\r\n") == [
        "example,side,split,layer_1,layer_4",
        "'=a,positive,train,0.000000,-0.357143",
        "b,negative,train,-0.214286,-0.071429",
        "",
    ]


HEAD = "example,side,split,layer_0,layer_2\n"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "example,side,split\n",
        "example,split,side,layer_0\n",
        "example,side,split,layer_2,layer_0\n",
        "example,side,split,layer_0,layer_0\n",
        "example,side,split,layer_0,layer_x\n",
    ],
)
def test_invalid_columns(tmp_path, header):
    path = tmp_path / "x.projections.csv"
    path.write_text(header, encoding="utf-8")
    with raises("invalid-content", path, header.strip(), "example,side,split,layer_0,layer_1"):
        read_projections(path)


@pytest.mark.parametrize(
    ("number", "lines"),
    [
        (3, "a,positive,train,1,2\na,positive,train,1\n"),
        (2, "a,positive,train,1,2,3\n"),
        (2, "a,unsafe,train,1,2\n"),
        (2, "a,positive,dev,1,2\n"),
        (2, "a,positive,train,1,nan\n"),
        (2, "a,positive,train,1,inf\n"),
        (2, "a,positive,train,1,x\n"),
        (2, "a\n"),
    ],
)
def test_invalid_lines(tmp_path, number, lines):
    path = tmp_path / "x.projections.csv"
    path.write_text(HEAD + lines, encoding="utf-8")
    with raises("invalid-content", path, f"line {number}", lines.splitlines()[-1], "2 numbers"):
        read_projections(path)


def test_a_file_without_examples(tmp_path):
    path = tmp_path / "x.projections.csv"
    path.write_text(HEAD, encoding="utf-8")
    with raises("invalid-content", path):
        read_projections(path)


@pytest.mark.parametrize("rest", [b'a,positive,train,1,"2\n', b"\xff,positive,train,1,2\n"])
def test_unreadable_files(tmp_path, rest):
    path = tmp_path / "x.projections.csv"
    path.write_bytes(HEAD.encode() + rest)
    with raises("unreadable", path):
        read_projections(path)


def test_a_missing_file(tmp_path):
    with raises("not-found", "x.projections.csv"):
        read_projections(tmp_path / "x.projections.csv")
