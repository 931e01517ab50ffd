"""The gallery: every figure by name, and ``draw`` for notebooks."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from calib.config.checks import one_of
from calib.report.figures import (
    calibration_against_utility,
    categories,
    heat_map,
    layers,
    methods,
    perturbations,
    projections,
    sra_plane,
    trade_off,
    vscbench_grid,
)
from calib.report.figures.io import COLUMN_INCHES, Draw
from calib.runs.run import Run
from calib.util.errors import CalibError

FIGURES: dict[str, Draw] = {
    "trade_off": trade_off.draw,
    "calibration_against_utility": calibration_against_utility.draw,
    "sra_plane": sra_plane.draw,
    "methods": methods.draw,
    "vscbench_grid": vscbench_grid.draw,
    "heat_map": heat_map.draw,
    "layers": layers.draw,
    "categories": categories.draw,
    "perturbations": perturbations.draw,
    "projections": projections.draw,
}

NATURAL_COLUMNS: dict[str, int] = {
    "trade_off": 2,
    "calibration_against_utility": 2,
    "sra_plane": 1,
    "methods": 2,
    "vscbench_grid": 2,
    "heat_map": 2,
    "layers": 1,
    "categories": 2,
    "perturbations": 2,
    "projections": 2,
}
"""Number of paper columns that calib.plot draws each figure over."""
SCREEN_DPI = 130
"""Resolution at which a figure for paper is readable on a screen."""


def draw(figure: str, *runs: str | Path, columns: int | None = None, **choices: Any) -> Figure:
    """Draw a figure (see docs/figures.md) of the finished runs in the given folders.

    ``columns`` is its width in columns of a paper, 1 or 2; None is the width that calib.plot uses.
    ``choices`` are options of the figure itself, e.g. layer=3 of projections. Raises CalibError for
    an unknown figure, a folder without a finished run, and runs that lack the figure's results.
    """
    one_of("figure", figure, tuple(FIGURES))
    wide = NATURAL_COLUMNS[figure] if columns is None else columns
    if wide not in COLUMN_INCHES:
        raise CalibError("invalid-setting", f"columns must be 1 or 2, not {wide}.")
    draw_figure: Any = FIGURES[figure]  # Draw does not declare the figures' own options
    drawn: Figure = draw_figure(Run.load_many(runs), wide, **choices)
    drawn.set_dpi(SCREEN_DPI)
    return drawn
