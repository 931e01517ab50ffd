"""The figure ``projections``: overlap of the two sides of a contrast along a direction."""

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
    FittedDirection,
    direction_names,
    fitted_directions,
    models_of,
    side_names,
)
from calib.report.figures.io import COLUMN_INCHES, NotDrawn, figure_style
from calib.report.figures.style import BLUE, VERMILION, draw_legend, write_title
from calib.report.sentences import count_text
from calib.runs.run import Run
from calib.scoring.intervals import clustered_rate

_SIDE_STYLES: tuple[tuple[Side, str, Literal["-", "--"], str], ...] = (
    ("negative", BLUE, "--", ""),
    ("positive", VERMILION, "-", "/////"),
)
"""Colour, line and hatch of each side; distinguishable in grey too."""
_BINS = (10, 40)
"""Minimum and maximum number of bins."""

Array = NDArray[np.float64]


def draw(
    runs: Sequence[Run],
    columns: int,
    *,
    direction: str | None = None,
    layer: int | None = None,
) -> Figure:
    """Draw a histogram of validation examples along each direction, with a curve per side.

    It shows the means, the AUROC, and the share of each side that lies on the wrong side of 0. The
    layer is ``layer``, or the layer of the run's operating point, or else the one with the largest
    AUROC. ``direction`` is the name of a direction's file without its suffix; None draws all.
    Raises NotDrawn without recorded projections of held-out examples, and CalibError for a layer
    without any.
    """
    fitted = fitted_directions(runs)
    selected = [each for each in fitted if direction in (None, each.name)]
    shown = [each for each in selected if each.projections and each.direction.auroc]
    if not shown:
        raise _missing(selected, direction)
    with figure_style():
        width = COLUMN_INCHES[columns]
        across = min(3, len(shown)) if columns == 2 else 1 + (len(shown) > 3)
        down = math.ceil(len(shown) / across)
        height = 0.6 + (2.0 if across == 1 else 2.3) * down
        figure = Figure(figsize=(width, height), layout="constrained")
        grid = figure.subplots(down, across, squeeze=False)
        all_axes: list[Axes] = list(grid.flat)
        write_title(figure, "Held-out examples along the direction", models_of(shown))
        legend = dict(zip(SIDES[::-1], _sides(shown), strict=True))
        for axes, each, name in zip(all_axes, shown, direction_names(shown, 24), strict=False):
            _draw_panel(axes, each, name, layer, width / across, legend)
        for axes in all_axes[len(shown) :]:
            axes.set_axis_off()
        for axes in grid[:, 0]:
            axes.set_ylabel("share of side")
        for axes in all_axes[max(0, len(shown) - across) : len(shown)]:
            axes.set_xlabel("projection, in gap units")
        draw_legend(figure, all_axes[:1], notes=_notes(shown, len(selected) - len(shown)))
        return figure


def _missing(selected: Sequence[FittedDirection], direction: str | None) -> NotDrawn:
    if not selected:
        return NotDrawn(
            "unknown-name",
            f"The runs have no direction '{direction}'. Give the name of a file in their "
            "directions folder, without its suffix.",
        )
    if any(each.projections for each in selected):
        return NotDrawn(
            "missing-value",
            "No direction of these runs was measured on held-out examples. Fit one on data with "
            "twins in the validation split.",
        )
    return NotDrawn(
        "missing-value",
        "These runs have no recorded projections of examples on their directions: the directions "
        "were given as files (method.direction), or fitted by a version of calib that did not "
        "record them. Run calib.extract, or delete the run's directions folder and run its command "
        "again.",
    )


def _draw_panel(
    axes: Axes,
    fitted: FittedDirection,
    name: str,
    layer: int | None,
    inches: float,
    legend: Mapping[Side, str],
) -> None:
    layer, reason = _layer(fitted, layer)
    projections, row = fitted.projections, fitted.direction.row(layer)
    assert projections is not None
    by_side = {side: projections.at(layer, side, "validation") for side, *_ in _SIDE_STYLES}
    edges = _edges(np.concatenate(list(by_side.values())))
    names = dict(zip(by_side, side_names(fitted.direction.contrast), strict=True))
    for side, colour, line, hatch in _SIDE_STYLES:
        along = by_side[side]
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
    low, high = fitted.direction.auroc_intervals[row]
    auroc = f"AUROC {fitted.direction.auroc[row]:.2f} ({low:.2f} to {high:.2f})"
    lines = [
        (f"{name}, layer {layer}", f"({reason})"),
        (auroc,),
        *(
            _misplaced(names[side], side, by_side[side], _clusters_of(fitted, side))
            for side in names
        ),
    ]
    # Above narrow axes, each part has its own line.
    separator, room = (" ", 80) if inches > 3 else ("\n", int(17 * inches))
    text = "\n".join(separator.join(parts) for parts in lines)
    wrapped = "\n".join(part for line in text.split("\n") for part in textwrap.wrap(line, room))
    title = axes.set_title(wrapped, loc="left", fontsize=6.5, pad=7)
    title.set_x(-0.35 / (inches - 0.6))  # aligned with the tick labels


def _sides(shown: Sequence[FittedDirection]) -> tuple[str, str]:
    """Return the names of the sides in the legend, which all panels share."""
    contrasts = {each.direction.contrast for each in shown}
    return side_names(contrasts.pop()) if len(contrasts) == 1 else ("first side named", "second")


def _layer(fitted: FittedDirection, layer: int | None) -> tuple[int, str]:
    """Return the layer to draw, and the reason for it."""
    if layer is not None:
        return layer, "as requested"
    direction = fitted.direction
    if fitted.chosen_layer in direction.layers:
        return int(fitted.chosen_layer or 0), "operating point"
    best = int(np.argmax(direction.auroc))
    return direction.layers[best], f"best AUROC of {len(direction.layers)} layers"


def _edges(along: Array) -> Array:
    """Return the edges of the bins: the rule of Freedman and Diaconis, limited to _BINS."""
    count = len(np.histogram_bin_edges(along, "fd")) - 1
    return np.histogram_bin_edges(along, int(np.clip(count, *_BINS)))


def _clusters_of(fitted: FittedDirection, side: Side) -> list[str]:
    """Return the cluster of each example shown; an example of no recorded cluster is its own."""
    assert fitted.projections is not None
    ids = fitted.projections.ids(side, "validation")
    return [fitted.clusters.get(id, f"{id} alone") for id in ids]


def _misplaced(name: str, side: Side, along: Array, clusters: list[str]) -> tuple[str, str]:
    """Describe a side with its n, and the share of it that lies on the wrong side of 0."""
    wrong = (along < 0) if side == "positive" else (along > 0)
    rate = clustered_rate(wrong.tolist(), clusters)
    value, low, high = rate[:3]
    where = "below" if side == "positive" else "above"
    share = f"{100 * value:.0f}% ({100 * low:.0f} to {100 * high:.0f}) {where} 0"
    return f"{name}, {count_text(rate)}:", share


def _notes(shown: Sequence[FittedDirection], missing: int) -> list[str]:
    known = all(each.clusters for each in shown)
    unit = "by cluster" if known else "over examples, without a record of their clusters"
    notes = [
        "0: halfway between the means of the training examples, which lie at -0.5 and 0.5.",
        f"Triangles: means of the examples shown. In brackets: 95% intervals, {unit}.",
    ]
    if missing:
        more = "directions are" if missing > 1 else "direction is"
        notes.append(f"{missing} more {more} without recorded projections.")
    return notes
