"""The cards of the mini models, and the floors that their figures must meet."""

import csv
import shutil
from pathlib import Path

import pytest

from calib.config.model import ModelConfig
from calib.models.load import load, mini_folder
from calib.scoring.intervals import Interval
from experiments.mini_internvl import card
from experiments.mini_internvl.floors import KNOWLEDGE, PARTS, missed_floors

HELD_OUT = "held-out concepts"


FOLDERS = {"first": mini_folder(), "second": mini_folder("mini-internvl-2")}


@pytest.mark.parametrize(("recipe", "folder"), FOLDERS.items())
def test_the_card_of_a_shipped_model_follows_from_its_figures(
    recipe: str, folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "README.md").unlink()
    template, figures, packaged = card.FILES[recipe]
    assert packaged == folder
    card.main(template, figures, tmp_path / "copy")
    made = (tmp_path / "copy" / "README.md").read_text(encoding="utf-8")
    assert made == (folder / "README.md").read_text(encoding="utf-8")


def of(value: float) -> Interval:
    return Interval(value, 0, 1, 10, 10)


def good() -> dict[str, Interval]:
    """Figures that meet every floor."""
    figures = {name: of(0.97) for name in KNOWLEDGE}
    figures[f"knowledge danger | {HELD_OUT}"] = of(0.9)
    for part in PARTS:
        for metric, before, after in (("SRA_u", 0.6, 0.9), ("SRA_s", 0.7, 0.3)):
            figures[f"{metric} {part} | system=none"] = of(before)
            figures[f"{metric} {part} | system=caution"] = of(after)
        for other in PARTS:
            figures[f"AUROC probe, {part} -> {other} | {HELD_OUT}"] = of(0.85)
    return figures


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("utility", 0.94),
        ("SRA_u image_centric | system=none", 0.4),
        ("SRA_s text_centric | system=none", 0.4),
        ("SRA_u text_centric | system=caution", 0.65),
        ("SRA_s image_centric | system=caution", 0.75),
        (f"knowledge danger | {HELD_OUT}", 0.99),
        (f"AUROC probe, text_centric -> text_centric | {HELD_OUT}", 0.97),
        (f"AUROC probe, image_centric -> text_centric | {HELD_OUT}", 0.6),
    ],
)
def test_a_figure_below_its_floor_is_missed(name: str, value: float) -> None:
    assert missed_floors(good(), holds_out_concepts=True) == []
    (missed,) = missed_floors({**good(), name: of(value)}, holds_out_concepts=True)
    assert missed
    only_second = HELD_OUT in name
    first = missed_floors({**good(), name: of(value)}, holds_out_concepts=False)
    assert bool(first) != only_second


@pytest.mark.parametrize(("recipe", "folder"), FOLDERS.items())
def test_a_shipped_model_meets_the_floors(recipe: str, folder: Path) -> None:
    with card.FILES[recipe][1].open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    figures = {row["figure"]: of(float(row["value"])) for row in rows}
    assert missed_floors(figures, holds_out_concepts=recipe == "second") == []
    name = None if recipe == "first" else "mini-internvl-2"
    vlm = load(ModelConfig(name="internvl", checkpoint=name))
    assert {row["fingerprint"] for row in rows} == {vlm.fingerprint}
