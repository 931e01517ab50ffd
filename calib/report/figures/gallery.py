"""The gallery: every figure by name, and ``draw`` for notebooks."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from calib.config.checks import one_of
from calib.directions.direction import Direction
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
from calib.runs.distinct_models import with_distinct_models
from calib.runs.run import Run
from calib.util.errors import CalibError, did_you_mean

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


def draw(
    figure: str, *runs: str | Path | Run | Direction, columns: int | None = None, **choices: Any
) -> Figure:
    """Draw a figure (see docs/figures.md) of finished runs, given as folders or as calib.Run.

    A calib.Direction in memory is drawn as a run that fitted it: figure="layers".

    ``columns`` is its width in columns of a paper, 1 or 2; None is the width that calib.plot uses.
    ``choices`` are options of the figure itself, e.g. layer=3 of projections. Raises CalibError for
    an unknown figure or option, a folder without a finished run, what is no run, and runs that lack
    the figure's results.
    """
    one_of("figure", figure, tuple(FIGURES))
    wide = NATURAL_COLUMNS[figure] if columns is None else columns
    if not isinstance(wide, int) or wide not in COLUMN_INCHES:
        raise CalibError("invalid-setting", f"columns must be 1 or 2, not {wide!r:.80}.")
    draw_figure: Any = FIGURES[figure]  # Draw does not declare the figures' own options
    known = list(inspect.signature(draw_figure).parameters)[2:]
    for name in choices:
        if name not in known:
            raise CalibError(
                "unknown-setting",
                f"The figure '{figure}' has no option '{name}'.{did_you_mean(name, known)} It has "
                f"{', '.join(known) or 'none'}.",
            )
    drawn: Figure = draw_figure(_loaded(runs), wide, **choices)
    drawn.set_dpi(SCREEN_DPI)
    return drawn


def _loaded(given: Sequence[Any]) -> list[Run]:
    """The runs, in order; a direction is a run that fitted only this."""
    if not given:
        raise CalibError(
            "missing-setting", "There is nothing to draw. Give folders of runs, runs or directions."
        )
    for one in given:
        if not isinstance(one, str | Path | Run | Direction):
            raise CalibError(
                "invalid-value",
                f"A value of type {type(one).__name__} cannot be drawn. Give the folder of a run, "
                "a calib.Run, or a calib.Direction.",
            )
    folders = [one for one in given if isinstance(one, str | Path)]
    loaded = iter(Run.load_many(folders) if folders else [])
    return with_distinct_models(
        [
            _of_direction(one, number)
            if isinstance(one, Direction)
            else one
            if isinstance(one, Run)
            else next(loaded)
            for number, one in enumerate(given, start=1)
        ]
    )


def _of_direction(direction: Direction, number: int) -> Run:
    return Run(
        Path(f"direction {number}"),
        directions={f"direction {number}": direction},
        projections={},
        operating_points=[],
        results=[],
        examples={},
        checkpoint=direction.checkpoint,
    )
