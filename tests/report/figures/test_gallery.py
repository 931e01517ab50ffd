"""The figures by name: all ten, each its module's own, each with a width."""

import importlib
import re

from calib.config.schemas import CONF
from calib.report.figures.gallery import FIGURES, NATURAL_COLUMNS
from calib.report.figures.io import COLUMN_INCHES

NAMES = [
    "trade_off", "calibration_against_utility", "sra_plane", "methods", "vscbench_grid",
    "heat_map", "layers", "categories", "perturbations", "projections",
]  # fmt: skip


def test_each_figure_is_drawn_by_the_module_of_its_name():
    assert list(FIGURES) == NAMES
    for name, draw in FIGURES.items():
        assert draw is importlib.import_module(f"calib.report.figures.{name}").draw


def test_each_has_a_width():
    assert list(NATURAL_COLUMNS) == NAMES
    assert set(NATURAL_COLUMNS.values()) <= set(COLUMN_INCHES)


def test_help_lists_each():
    listed = re.findall(r"^        (\w+) {2,}\w", (CONF / "plot.yaml").read_text(), re.MULTILINE)
    assert listed == NAMES
