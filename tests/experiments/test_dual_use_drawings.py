"""Drawings to describe: both twins in every variant, and a table that calib.sweep reads."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from calib.config.choices import PERTURBATIONS
from calib.config.data import PairsData
from calib.data.benchmarks import load_benchmark
from experiments.smolvlm_emoji.drawings import Drawings
from experiments.smolvlm_emoji.dual_use import STYLES, TABLE, VARIANTS, dual_use_rows

TWINS = {"weapon": {"bomb": "balloon"}, "animal": {"rat": "chocolate"}}


def drawings() -> Drawings:
    names = ("bomb", "balloon", "bomb", "balloon", "rat", "chocolate")
    pixels = np.zeros((len(names), 64, 64, 4), np.uint8)
    pixels[:, 16:48, 16:48, 3] = 255
    pixels[:, 16:48, 16:32, 0] = 40 * np.arange(1, len(names) + 1)[:, None, None]
    return Drawings(names, ("",) * len(names), ("google",) * len(names), pixels)


def test_every_thing_and_its_twin_are_in_every_variant(tmp_path: Path) -> None:
    rows = list(dual_use_rows(drawings(), TWINS, tmp_path))
    counts = Counter((row["cluster"], row["safety"], row["variant"]) for row in rows)
    assert set(counts.values()) == {STYLES} and len(counts) == 2 * 2 * len(VARIANTS)
    assert set(VARIANTS) - {"original"} <= set(PERTURBATIONS)
    assert len({row["query"] for row in rows}) == 1

    def pixels(variant: str, safety: str = "unsafe") -> np.ndarray:
        of = [row for row in rows if (row["variant"], row["safety"]) == (variant, safety)]
        return np.asarray(Image.open(tmp_path / of[0]["image"]).convert("RGB"))

    original = pixels("original")
    assert all((pixels(variant) != original).any() for variant in VARIANTS if variant != "original")
    # Twins share the background, of which the corner is a part.
    assert (pixels("real_background")[0] == pixels("real_background", "safe")[0]).all()
    again = {path: path.read_bytes() for path in (tmp_path / "pictures").iterdir()}
    list(dual_use_rows(drawings(), TWINS, tmp_path))
    assert again == {path: path.read_bytes() for path in (tmp_path / "pictures").iterdir()}


def test_a_sweep_reads_the_table_as_dual_use_pictures(tmp_path: Path) -> None:
    rows = list(dual_use_rows(drawings(), TWINS, tmp_path))
    with (tmp_path / TABLE).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    config = PairsData(file=str(tmp_path / TABLE), train=0, validation=0)
    examples = load_benchmark(config).examples
    assert len(examples) == len(rows)
    assert {example.dataset for example in examples} == {"dual_use"}
    assert {example.split for example in examples} == {"test"}
    assert {example.variant for example in examples} == set(VARIANTS)
