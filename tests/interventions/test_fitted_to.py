"""The notes of methods on the examples that they were fitted to."""

import importlib
import re

import pytest
from composing import composed

from calib.config.method import Modality, Revision, Sampled

CASES = [
    ("vti", Sampled("vti", samples="safety"), "safety"),
    ("vti", Sampled("vti", samples="responses"), "responses"),
    ("iar_layer", Revision("iar_layer", samples="modality"), "modality"),
    ("iar_head", Revision("iar_head", samples="safety"), "safety"),
    ("shiftdc", composed("sweep", "method=shiftdc").method, "safety"),
]


def notes(world, file, config):
    return importlib.import_module(f"calib.methods.{file}").method(world.fitting, config).notes


@pytest.mark.parametrize(("file", "config", "contrast"), CASES)
def test_a_note_has_the_numbers_of_both_sides(world, file, config, contrast):
    sides = world.fitting.sides(contrast)
    groups = len({*sides.positive_groups, *sides.negative_groups})
    clusters = len({e.cluster for e in (*sides.positive, *sides.negative)})
    expected = [groups, len(sides.positive), len(sides.negative), clusters]
    note = notes(world, file, config)[-1]
    assert note.startswith(f"{file}: ")
    assert list(map(int, re.findall(r"[0-9]+", note))) == expected


def test_the_shift_of_pictures(world):
    pictured = [e for e in world.examples if e.split == "train" and e.picture]
    (note,) = notes(world, "cmrm", Modality("cmrm"))
    expected = [len(pictured), len({e.cluster for e in pictured})]
    assert list(map(int, re.findall(r"[0-9]+", note))) == expected
    (note,) = notes(world, "cmrm", Modality("cmrm", per_example=True))
    assert not re.search("[0-9]", note)
