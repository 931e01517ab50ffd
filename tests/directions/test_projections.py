"""Projections of examples on a direction: their unit, and their file, read back with care."""

import numpy as np
import pytest
import torch
from random_contrasts import twins
from random_directions import direction_at

from calib.directions.estimators import mean_difference
from calib.directions.projections import (
    Projections,
    projections_file,
    projections_of,
    read_projections,
    write_projections,
)
from calib.util.errors import CalibError

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


def made_up(examples=("a", "b", "a")):
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
    found = projections_of(
        direction,
        [
            ("train", "positive", ids, samples.positive),
            ("train", "negative", ids, samples.negative),
            ("validation", "negative", ids, moved),
        ],
    )
    assert found.examples == ids * 3
    assert (found.layers, found.values.shape) == ([0, 1], (3 * len(ids), 2))
    for layer in (0, 1):
        negative = found.at(layer, "negative", "train")
        assert found.at(layer, "positive", "train").mean() == pytest.approx(0.5, abs=1e-5)
        assert negative.mean() == pytest.approx(-0.5, abs=1e-5)
        assert found.at(layer, "negative", "validation") == pytest.approx(negative + 1, abs=1e-4)
        assert not found.at(layer, "positive", "test").size
    one = samples.positive[3, 1].double() @ fit.vectors[1].double()
    by_hand = (float(one) - float(fit.midpoint[1])) / float(fit.gap[1])
    assert found.at(1, "positive", "train")[3] == pytest.approx(by_hand)
    with pytest.raises(CalibError, match=r"no projections at layer 2, only at layers \[0, 1\]"):
        found.at(2, "positive", "train")


def test_what_is_written_is_read_again(tmp_path):
    path = projections_file(tmp_path / "safety-x.y.safetensors")
    assert path.name == "safety-x.y.projections.csv"
    given = made_up(HOSTILE)
    write_projections(path, given)
    found = read_projections(path)
    assert (found.examples, found.sides, found.splits) == (HOSTILE, given.sides, given.splits)
    assert found.layers == [1, 4]
    assert np.abs(found.values - given.values).max() < 1e-6
    first = path.read_bytes()
    write_projections(path, found)
    assert path.read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_the_file_is_plain(tmp_path):
    path = tmp_path / "x.projections.csv"
    given = made_up(["=a", "b"])
    given.values[0, 0] = -1e-9
    write_projections(path, given)
    assert path.read_bytes().decode().split("\r\n") == [
        "example,side,split,layer_1,layer_4",
        "'=a,positive,train,0.000000,-0.357143",
        "b,negative,train,-0.214286,-0.071429",
        "",
    ]


HEAD = "example,side,split,layer_0,layer_2\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has the columns '', not those of projections"),
        ("example,side,split\n", "not those of projections"),
        ("example,split,side,layer_0\n", "not those of projections"),
        ("example,side,split,layer_2,layer_0\n", "not those of projections"),
        ("example,side,split,layer_0,layer_0\n", "not those of projections"),
        ("example,side,split,layer_0,layer_x\n", "not those of projections"),
        (HEAD, "holds no example"),
        (HEAD + "a,positive,train,1,2\na,positive,train,1\n", "line 3: 'a,positive,train,1'"),
        (HEAD + "a,positive,train,1,2,3\n", "line 2: .* and 2 numbers"),
        (HEAD + "a,unsafe,train,1,2\n", "line 2"),
        (HEAD + "a,positive,dev,1,2\n", "line 2"),
        (HEAD + "a,positive,train,1,nan\n", "line 2"),
        (HEAD + "a,positive,train,1,inf\n", "line 2"),
        (HEAD + "a,positive,train,1,x\n", "line 2"),
        (HEAD + "a\n", "line 2"),
        (HEAD + 'a,positive,train,1,"2\n', "cannot be read: "),
        (HEAD.encode() + b"\xff,positive,train,1,2\n", "cannot be read: "),
    ],
)
def test_a_damaged_file_is_explained(tmp_path, text, message):
    path = tmp_path / "x.projections.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CalibError, match=message) as error:
        read_projections(path)
    assert "Delete it and the direction beside it" in str(error.value)


def test_a_missing_file_is_explained(tmp_path):
    with pytest.raises(CalibError, match="x.projections.csv cannot be read: "):
        read_projections(tmp_path / "x.projections.csv")
