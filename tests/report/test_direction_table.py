"""The table of a direction: numbers of every layer, columns, and hostile names."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch

from calib.directions.direction import Direction
from calib.directions.parts import PartSeparation
from calib.report.direction_table import direction_table

FILES = {"direction": Path("runs/x/direction.safetensors"), "figure": Path("runs/x/auroc.png")}


@pytest.fixture
def direction():
    return Direction(
        vectors=torch.eye(3),
        gap=torch.tensor([2.0, 31234.5, 0.00123]),
        midpoint=torch.zeros(3),
        norm=torch.tensor([8.0, 62469.0, 1.0]),
        layers=[1, 4, 31],
        checkpoint="some/model",
        revision=None,
        fingerprint="abc",
        site="mlp",
        estimator="paired_mean_difference",
        contrast="modality",
        pairs=150,
        auroc=[0.8, 1.0, 0.25],
        auroc_pairs=50,
        pair_cosine=[0.125, -0.25, math.nan],
        effect=[0.123, -1.0, math.nan],
        effect_strength=[1.25, 100.0, math.nan],
        effect_kl=0.1,
        effect_n=40,
    )


def cells(table):
    """The head and the rows, with single spaces between cells."""
    lines = [" ".join(line.split()) for line in table.splitlines()]
    start = next(k for k, line in enumerate(lines) if line.startswith("-----"))
    return lines[start - 1], lines[start + 1 : start + 4]


def test_every_number_of_every_layer(direction):
    head, rows = cells(direction_table(direction, FILES))
    assert head == (
        "layer held-out AUROC (95% CI, n=50 a side) pair cos gap gap/norm strength effect"
    )
    # The interval of 0.8 with 50 a side is 0.712 to 0.888.
    assert rows[0] == "1 0.800 (0.712 to 0.888) 0.125 2 0.250 +1.25 +12.3"
    assert rows[1].startswith("4 1.000 (")
    assert rows[1].endswith(" to 1.000) -0.250 3.123e+04 0.500 +100 -100.0")
    assert rows[2].startswith("31 0.250 (") and rows[2].endswith(") - 0.00123 0.001 - -")


def test_the_separation_by_part_is_a_second_table(direction):
    parts = [
        PartSeparation(fitted, measured, 4, auroc, auroc - 0.1, auroc + 0.1, 40, 20, cosine, 30)
        for fitted, measured, auroc, cosine in (
            ("all", "all", 0.8, 1.0), ("image_centric", "all", 0.7, 0.9),
            ("all", "image_centric", 0.75, 0.9), ("image_centric", "image_centric", 0.85, 1.0),
        )
    ]  # fmt: skip
    lines = [
        " ".join(line.split()) for line in direction_table(direction, FILES, parts).split("\n")
    ]
    assert "all 0.80 (0.70 to 0.90) 0.75 (0.65 to 0.85)" in lines
    assert "image_centric 0.70 (0.60 to 0.80) 0.85 (0.75 to 0.95)" in lines
    assert "n (clusters) 40 (20) 40 (20)" in lines
    assert "cos image_centric +0.90 +1.00" in lines
    assert max(map(len, direction_table(direction, FILES, parts).split("\n"))) <= 100


def test_unmeasured_quantities_have_no_column(direction):
    plain = dataclasses.replace(
        direction, auroc=[], auroc_pairs=0, pair_cosine=[], effect=[], effect_strength=[],
        effect_kl=None, effect_n=0,
    )  # fmt: skip
    table = direction_table(plain, FILES)
    head, rows = cells(table)
    assert head.endswith(" a side) gap gap/norm") and "Effect" not in table
    assert rows[0] == "1 not measured (no validation pairs) 2 0.250"


def test_table_names_the_direction_and_the_files(direction):
    table = " ".join(direction_table(direction, FILES).split())
    assert (
        "Model some/model Direction paired_mean_difference, with the picture against without, "
        "mlp read at last_prompt, fitted on 150 pairs Effect"
    ) in table
    assert "within 0.1 nats of KL at the first token (n = 40)" in table
    assert table.endswith("direction runs/x/direction.safetensors figure runs/x/auroc.png")
    responses = " ".join(
        direction_table(dataclasses.replace(direction, contrast="responses"), FILES).split()
    )
    assert "fitted on 150 examples of the smaller side" in responses


def test_table_is_narrow_and_safe_for_a_terminal(direction):
    wide = dataclasses.replace(
        direction, checkpoint="m" * 300 + "\x1b[31m", estimator="e\x1b[31m", contrast="c\n" * 60,
        auroc_pairs=100000,
    )  # fmt: skip
    table = direction_table(wide, FILES)
    assert max(map(len, table.splitlines())) <= 100
    assert "\x1b" not in table
