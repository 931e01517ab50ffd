"""Every figure by its name, how it is drawn, and how it is saved."""

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
"""Columns of a paper that each figure is drawn over."""


SCREEN_DPI = 130
"""At which the lettering of a figure for paper can be read on a screen."""


def draw(figure: str, *runs: str | Path, columns: int | None = None, **choices: Any) -> Figure:
    """The figure of that name (docs/figures.md) of the finished runs in these folders, over 1 or 2
    columns of a paper; None is as calib.plot draws it. ``choices`` are the figure's own, e.g.
    layer=3 of projections.

    Raises CalibError for an unknown figure, a folder that holds no finished run, and runs that
    have nothing to show in it.
    """
    one_of("figure", figure, tuple(FIGURES))
    wide = NATURAL_COLUMNS[figure] if columns is None else columns
    if wide not in COLUMN_INCHES:
        raise CalibError(f"columns: {wide} is not 1 or 2, the columns of a paper.")
    draws: Any = FIGURES[figure]  # which may have choices beyond what Draw says
    drawn: Figure = draws(Run.load_many(runs), wide, **choices)
    drawn.set_dpi(SCREEN_DPI)
    return drawn
