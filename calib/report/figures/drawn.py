"""A figure of finished runs by its name, for those who call calib from Python."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from calib.config_checks import one_of
from calib.errors import CalibError
from calib.report.figures.drawing import COLUMN_INCHES
from calib.report.figures.gallery import FIGURES, NATURAL_COLUMNS
from calib.runs.several import read_several

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
    drawn: Figure = draws(read_several([str(run) for run in runs]), wide, **choices)
    drawn.set_dpi(SCREEN_DPI)
    return drawn
