"""The separation of parts: its best layer, its sentence, and its file."""

import math
from pathlib import Path

import pytest
from raising import raises

from calib.directions.part_table import (
    COLUMNS,
    at_best_layer,
    disagreements,
    read_parts,
    sentence,
    write_parts,
)
from calib.directions.parts import PartSeparation

PATH = Path("directions/safety.parts.csv")


def separation(fitted_on, measured_on, auroc, spread=0.05, layer=2, cosine=0.2):
    low, high = round(auroc - spread, 6), round(auroc + spread, 6)
    aligned = 1.0 if fitted_on == measured_on else cosine
    return PartSeparation(fitted_on, measured_on, layer, auroc, low, high, 40, 20, aligned, 30)


def table(across, spread=0.05, layer=2):
    """Separations of two parts with AUROC 0.9 within, and ``across`` from words to images."""
    return [
        separation("all", "all", 0.8, layer=layer),
        separation("image_centric", "image_centric", 0.9, layer=layer),
        separation("text_centric", "text_centric", 0.9, layer=layer),
        separation("image_centric", "text_centric", 0.85, layer=layer),
        separation("text_centric", "image_centric", across, spread, layer=layer),
    ]


def test_the_best_layer_is_that_of_the_parts_own_directions():
    worse = [separation("all", "all", 0.99, layer=5), separation("a", "a", 0.6, layer=5)]
    assert {s.layer for s in at_best_layer([*worse, *table(0.5)]).values()} == {2}
    assert at_best_layer([]) == {}


def test_parts_disagree_where_the_other_direction_is_close_to_chance():
    for across in (0.2, 0.5, 0.64):
        ((other, own),) = disagreements(at_best_layer(table(across)))
        assert (other.fitted_on, other.measured_on, other.auroc) == (
            "text_centric", "image_centric", across,
        )  # fmt: skip
        assert own.fitted_on == own.measured_on == "image_centric"


def test_a_wide_interval_is_no_disagreement():
    assert disagreements(at_best_layer(table(0.7, spread=0.3))) == []
    assert disagreements(at_best_layer(table(0.5, spread=0.5))) == []
    assert disagreements(at_best_layer(table(0.7))) == []  # well above chance


def test_the_sentence_names_the_parts_that_disagree():
    text = sentence("safety direction", table(0.41), PATH)
    for shown in ("layer 2", "text_centric", "image_centric", "0.41 (0.36 to 0.46)", "20 clusters"):
        assert shown in text
    assert "disagree" in text


def test_the_sentence_of_parts_that_agree_has_the_lowest_auroc():
    text = sentence("safety direction", table(0.83), PATH)
    assert "disagree" not in text
    assert "0.90" in text and "0.83" in text and "+0.20" in text


def test_a_file_keeps_every_number(tmp_path):
    unknown = PartSeparation("=all", "all", 0, 1.0, 0.0, 1.0, 2, 1, math.nan, 9)
    path = tmp_path / "x.parts.csv"
    write_parts(path, [*table(0.123456), unknown])
    found = read_parts(path)
    assert found[:-1] == table(0.123456)
    assert repr(found[-1]) == repr(unknown)  # nan equals nan here
    assert path.read_text(encoding="utf-8").splitlines()[0] == ",".join(COLUMNS)


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "x.parts.csv"
    with raises("not-found", str(path)):
        read_parts(path)
    write_parts(path, table(0.5))
    text = path.read_text(encoding="utf-8")
    for damaged in (text.replace("auroc", "other", 1), text.replace("0.500000", "half", 1)):
        path.write_text(damaged, encoding="utf-8")
        with raises("invalid-content", str(path)):
            read_parts(path)


@pytest.mark.parametrize("layer", [0, 7])
def test_the_layer_of_the_sentence_is_that_of_the_table(layer):
    assert f"layer {layer}" in sentence("safety direction", table(0.4, layer=layer), PATH)
