"""The gallery lists every figure module, with a width and in the help."""

import importlib
import pkgutil
import re

from calib.config.schemas import CONF
from calib.report import figures
from calib.report.figures.gallery import FIGURES, NATURAL_COLUMNS
from calib.report.figures.io import COLUMN_INCHES


def test_each_module_with_a_draw_function_is_in_the_gallery():
    names = [module.name for module in pkgutil.iter_modules(figures.__path__)]
    modules = {name: importlib.import_module(f"{figures.__name__}.{name}") for name in names}
    drawn = {name: module.draw for name, module in modules.items() if name != "gallery"
             and hasattr(module, "draw")}  # fmt: skip
    assert drawn == FIGURES


def test_each_figure_has_a_width():
    assert list(NATURAL_COLUMNS) == list(FIGURES)
    assert set(NATURAL_COLUMNS.values()) <= set(COLUMN_INCHES)


def test_help_lists_each_figure():
    listed = re.findall(
        r"^        (\w+) {2,}\w", (CONF / "plot.yaml").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert listed == list(FIGURES)
