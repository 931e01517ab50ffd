"""The figure of projections: how far the two sides of a contrast overlap along a direction."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from calib.directions.projections import SIDES, Side
from calib.report.figures.fitted import (
    Fitted,
    fitted_directions,
    models_of,
    names,
    sides_called,
)
from calib.report.figures.io import COLUMN_INCHES, NotDrawn, own_style
from calib.report.figures.style import BLUE, VERMILION, draw_legend, write_title
from calib.runs.run import Run
from calib.scoring.intervals import wilson

_LOOKS: tuple[tuple[Side, str, Literal["-", "--"], str], ...] = (
    ("negative", BLUE, "--", ""),
    ("positive", VERMILION, "-", "/////"),
)
"""Colour, line and hatch of each side, told apart in grey too."""
_BINS = (10, 40)
"""Fewest and most."""

Array = NDArray[np.float64]


def draw(
    runs: Sequence[Run],
    columns: int,
    *,
    direction: str | None = None,
    layer: int | None = None,
) -> Figure:
    """A histogram of the validation examples along each direction, the two sides apart, with their
    means, the AUROC, and the share of each side on the other's side of 0.

    The layer is ``layer``, or that of the run's operating point, or else that of the largest
    AUROC. ``direction`` is the name of a direction's file without its ending; None draws all.
    Raises NotDrawn without a direction whose held-out projections are on record, CalibError for a
    layer that none are on record at.
    """
    fitted = fitted_directions(runs)
    asked = [one for one in fitted if direction in (None, one.name)]
    shown = [one for one in asked if one.projections and one.direction.auroc]
    if not shown:
        raise NotDrawn(_why_none(asked, direction))
    with own_style():
        width = COLUMN_INCHES[columns]
        across = min(3, len(shown)) if columns == 2 else 1 + (len(shown) > 3)
        down = math.ceil(len(shown) / across)
        height = 0.6 + (2.0 if across == 1 else 2.3) * down
        figure = Figure(figsize=(width, height), layout="constrained")
        grid = figure.subplots(down, across, squeeze=False)
        all_axes: list[Axes] = list(grid.flat)
        write_title(figure, "Held-out examples along the direction", models_of(shown))
        legend = dict(zip(SIDES[::-1], _sides(shown), strict=True))
        for axes, one, name in zip(all_axes, shown, names(shown, 24), strict=False):
            _draw_panel(axes, one, name, layer, width / across, legend)
        for axes in all_axes[len(shown) :]:
            axes.set_axis_off()
        for axes in grid[:, 0]:
            axes.set_ylabel("share of side")
        for axes in all_axes[max(0, len(shown) - across) : len(shown)]:
            axes.set_xlabel("projection, in gaps")
        draw_legend(figure, all_axes[:1], notes=_notes(len(asked) - len(shown)))
        return figure


def _why_none(asked: Sequence[Fitted], direction: str | None) -> str:
    if not asked:
        return (
            f"The runs have no direction '{direction}'. Give the name of a file in their "
            "directions folder, without its ending."
        )
    if any(one.projections for one in asked):
        return (
            "No direction of these runs was measured on held-out examples. Fit one with pairs in "
            "the validation split: raise data.limit, or choose more data.parts."
        )
    return (
        "Where examples lie along the directions of these runs is not on record: they were given "
        "as files (method.direction), or fitted before calib kept it. Fit one: run calib.extract, "
        "or delete the run's directions folder and give its command again."
    )


def _draw_panel(
    axes: Axes,
    one: Fitted,
    name: str,
    layer: int | None,
    inches: float,
    legend: Mapping[Side, str],
) -> None:
    layer, why = _layer(one, layer)
    projections, row = one.projections, one.direction.row(layer)
    assert projections is not None
    found = {side: projections.at(layer, side, "validation") for side, *_ in _LOOKS}
    edges = _edges(np.concatenate(list(found.values())))
    called = dict(zip(found, sides_called(one.direction.contrast), strict=True))
    for side, colour, line, hatch in _LOOKS:
        along = found[side]
        shares = np.histogram(along, edges)[0] / len(along)
        axes.stairs(shares, edges, fill=True, facecolor=to_rgba(colour, 0.25), hatch=hatch,
                    edgecolor=to_rgba(colour, 0.5), linewidth=0, label=legend[side])  # fmt: skip
        axes.stairs(shares, edges, color=colour, linestyle=line, linewidth=1.2)
        axes.axvline(float(along.mean()), color=colour, linestyle=line, linewidth=1)
        axes.plot(along.mean(), 1, marker="v", markersize=5, color=colour, clip_on=False,
                  transform=axes.get_xaxis_transform(), linestyle="none")  # fmt: skip
    axes.axvline(0, color="0.4", linestyle=":", linewidth=1)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_locator(MaxNLocator(6 if inches > 3 else 4, steps=[1, 2, 5, 10]))
    low, high = one.direction.auroc_intervals[row]
    measured = f"AUROC {one.direction.auroc[row]:.2f} ({low:.2f} to {high:.2f})"
    lines = [
        (f"{name}, layer {layer}", f"({why})"),
        (measured,),
        *(_beyond(called[side], side, found[side]) for side in called),
    ]
    # Above narrow axes each part has a line of its own.
    between, room = (" ", 80) if inches > 3 else ("\n", int(17 * inches))
    text = "\n".join(between.join(parts) for parts in lines)
    shown = "\n".join(part for line in text.split("\n") for part in textwrap.wrap(line, room))
    title = axes.set_title(shown, loc="left", fontsize=6.5, pad=7)
    title.set_x(-0.35 / (inches - 0.6))  # from the left of the tick labels on


def _sides(shown: Sequence[Fitted]) -> tuple[str, str]:
    """What the legend calls the sides, which is one for all panels."""
    contrasts = {one.direction.contrast for one in shown}
    return sides_called(contrasts.pop()) if len(contrasts) == 1 else ("side named first", "second")


def _layer(one: Fitted, layer: int | None) -> tuple[int, str]:
    """The layer that is drawn, and why that one."""
    if layer is not None:
        return layer, "as asked"
    if one.chosen_layer in one.direction.layers:
        return int(one.chosen_layer or 0), "operating point"
    best = int(np.argmax(one.direction.auroc))
    return one.direction.layers[best], f"best AUROC of {len(one.direction.layers)}"


def _edges(along: Array) -> Array:
    """Bins of Freedman and Diaconis, not too few and not too many."""
    count = len(np.histogram_bin_edges(along, "fd")) - 1
    return np.histogram_bin_edges(along, int(np.clip(count, *_BINS)))


def _beyond(called: str, side: Side, along: Array) -> tuple[str, str]:
    """A side with its n, and the share of it that lies on the other's side of 0."""
    wrong = int((along < 0).sum() if side == "positive" else (along > 0).sum())
    value, low, high, n = wilson(wrong, len(along))
    where = "below" if side == "positive" else "above"
    share = f"{100 * value:.0f}% ({100 * low:.0f} to {100 * high:.0f}) {where} 0"
    return f"{called}, n = {n}:", share


def _notes(missing: int) -> list[str]:
    notes = [
        "0: halfway between the means of the train examples, which lie at -0.5 and 0.5.",
        "Triangles: means of the examples shown. In brackets: 95% intervals.",
    ]
    if missing:
        more = "directions are" if missing > 1 else "direction is"
        notes.append(f"{missing} more {more} without projections on record.")
    return notes
