"""One measure at every layer and strength of a method: what a heat map is drawn from."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter

from calib.report.figures.io import COLUMN_INCHES, NotDrawn, own_style
from calib.report.figures.style import BLACK, BLUE, draw_legend, shown_name, write_title
from calib.runs.run import Run
from calib.scoring.intervals import Interval
from calib.scoring.results import ALL
from calib.scoring.tradeoff import Point, baseline_of, points_of


class LayerMap(NamedTuple):
    """One measure of a method at every layer and strength."""

    measure: str
    uncalibrated: float
    layers: list[int]
    strengths: list[str]
    """What the columns are called."""
    cells: Mapping[tuple[int, int], tuple[float, Interval]]
    """Strength and rate by layer and column."""
    chosen: tuple[int, float] | None
    """Layer and strength of the operating point; None where no setting was better."""


def maps_of(run: Run, chosen: Mapping[str, Any], split: str, cost: str) -> list[LayerMap]:
    """SRA, and ``cost`` where it was measured; none of a method with one layer."""
    points = points_of(run.results, split)
    own = [p for p in points if p.method == chosen["method"] and p.layer is not None]
    layers = sorted({p.layer for p in own if p.layer is not None})
    if len(layers) < 2:
        return []
    before = baseline_of(points)
    side = "SRA" if before.sra_u.n and before.sra_s.n else "SRA_u" if before.sra_u.n else "SRA_s"
    rates: dict[str, tuple[float, list[Interval | None]]] = {
        side: (before.sra.value, [p.sra for p in own])
    }
    if cost == "KL":
        rates["KL"] = (0.0, [_kl(run, p, split) for p in own])
    elif before.utility is not None:
        rates["utility"] = (before.utility.value, [p.utility for p in own])
    names, column = _columns(own)
    # Strength 0 is the uncalibrated model: no setting was better.
    place = (chosen["layer"], chosen["strength"]) if chosen["strength"] else None
    maps = []
    for measure, (uncalibrated, values) in rates.items():
        cells = {
            (p.layer, column[p.layer, p.strength]): (p.strength, rate)
            for p, rate in zip(own, values, strict=True)
            if p.layer is not None and rate is not None and rate.n
        }
        if cells:
            maps.append(LayerMap(measure, uncalibrated, layers, names, cells, place))
    return maps


def _columns(points: Sequence[Point]) -> tuple[list[str], dict[tuple[int | None, float], int]]:
    """What the columns are called, and the column of each layer and strength.

    Where strengths differ between layers, as those of equal KL do, a column holds each layer's
    first, second ... strength.
    """
    of_layer: dict[int | None, list[float]] = defaultdict(list)
    for p in points:
        of_layer[p.layer].append(p.strength)
    every = sorted({p.strength for p in points})
    most = max(map(len, of_layer.values()))
    shared = len(every) <= 1.5 * most
    column = {
        (layer, strength): every.index(strength) if shared else k
        for layer, strengths in of_layer.items()
        for k, strength in enumerate(sorted(strengths))
    }
    return ([f"{s:g}" for s in every] if shared else [""] * most), column


def _kl(run: Run, point: Point, split: str) -> Interval | None:
    place = (point.method, point.layer, point.strength, split, "utility", ALL, ALL, "KL")
    found = (
        r.interval for r in run.results
        if (r.method, r.layer, r.strength, r.split, r.dataset, r.variant, r.category, r.metric)
        == place
    )  # fmt: skip
    return next(found, None)


# Blue where a setting is worse than the uncalibrated model, yellow where it is better, and ever
# lighter from worst to best, so that grey print keeps the order.
_WORSE_TO_BETTER = LinearSegmentedColormap.from_list(
    "worse to better", ["#001f3d", BLUE, "#b5b5b5", "#f2dc6b", "#fffbe0"]
)
_LEAST_CELL = 0.19, 0.11
"""Width and height in inches that a cell needs for a number of two digits."""
_TALLEST = 3.2
"""Inches of a map; more layers make its rows narrower."""


def draw(
    runs: Sequence[Run], columns: int, split: str = "validation", cost: str = "utility"
) -> Figure:
    """SRA and ``cost`` ("utility" or "KL") at every layer and strength, for each method that was
    swept over several layers; the operating point is framed.

    All layers are measured on validation alone. Raises NotDrawn when no method has several layers
    on ``split``.
    """
    found = {
        (run, str(one["method"])): maps
        for run in range(len(runs))
        for one in runs[run].operating_points
        if (maps := maps_of(runs[run], one, split, cost))
    }
    if not found:
        raise NotDrawn(
            f"No method of these runs has results at several layers on the {split} split. Run "
            "calib.sweep with method.layers=all or a list of layers."
        )
    with own_style():
        figure, panels = _panels(columns, list(found.values()))
        models = dict.fromkeys(runs[run].checkpoint for run, _ in found)
        write_title(figure, f"Layers and strengths, {split} split", list(models))
        several = len({run for run, _ in found}) > 1
        for (run, method), maps, row in zip(found, found.values(), panels, strict=True):
            name = shown_name(method, 8 + 6 * columns)
            if several:
                name += f" ({shown_name(runs[run].name, 4 + 6 * columns)})"
            for axes, one in zip(row, maps, strict=True):
                before = f"uncalibrated {_shown(one, one.uncalibrated)}"
                axes.set_title(f"{name}: {one.measure} ({before})", fontsize=7)
                _draw_map(axes, one)
        draw_legend(figure, [], notes=_notes([one for maps in found.values() for one in maps]))
        figure.draw_without_rendering()  # only now is it known how large the cells are
        for row, maps in zip(panels, found.values(), strict=True):
            for axes, one in zip(row, maps, strict=True):
                _write_values(axes, one)
    return figure


def _panels(columns: int, found: Sequence[Sequence[LayerMap]]) -> tuple[Figure, list[list[Axes]]]:
    """A figure and the axes of each method's maps: side by side over two columns."""
    heights = [min(_TALLEST, max(0.7, 0.15 * len(maps[0].layers))) for maps in found]
    wide = columns == 2 and any(len(maps) > 1 for maps in found)
    if not wide:
        heights = [h for h, maps in zip(heights, found, strict=True) for _ in maps]
    size = (COLUMN_INCHES[columns], 0.45 + sum(height + 0.62 for height in heights))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(
        len(heights), 2 if wide else 1, squeeze=False, height_ratios=[h + 0.1 for h in heights]
    )
    if not wide:
        rest = iter(grid[:, 0])
        return figure, [[next(rest) for _ in maps] for maps in found]
    for row, maps in zip(grid, found, strict=True):
        for axes in row[len(maps) :]:
            axes.remove()
    return figure, [list(row[: len(maps)]) for row, maps in zip(grid, found, strict=True)]


def _shown(one: LayerMap, value: float) -> str:
    return f"{value:.2g}" if one.measure == "KL" else f"{100 * value:z.0f}%"


def _scale(one: LayerMap) -> Normalize:
    """Equal differences from the uncalibrated model are equally far from the middle."""
    values = [rate.value for _, rate in one.cells.values()]
    far = max(0.01, *(abs(value - one.uncalibrated) for value in values))
    return Normalize(one.uncalibrated - far, one.uncalibrated + far)


def _colours(one: LayerMap) -> LinearSegmentedColormap:
    reverse: LinearSegmentedColormap = _WORSE_TO_BETTER.reversed()
    return reverse if one.measure == "KL" else _WORSE_TO_BETTER


def _draw_map(axes: Axes, one: LayerMap) -> None:
    scale = _scale(one)
    values = np.full((len(one.layers), len(one.strengths)), np.nan)
    for (layer, column), (_, rate) in one.cells.items():
        values[one.layers.index(layer), column] = rate.value
    axes.imshow(values, cmap=_colours(one), norm=scale, aspect="auto", origin="lower")
    axes.set_facecolor("white")
    for spine in axes.spines.values():
        spine.set_visible(True)
    axes.grid(visible=False)
    axes.set(ylabel="layer", xlabel="strength" if any(one.strengths) else "each layer's strengths")
    axes.set_xticks(range(len(one.strengths)), one.strengths, fontsize=7)
    every = -(-len(one.layers) // 14)
    rows = range(0, len(one.layers), every)
    axes.set_yticks(rows, [str(one.layers[row]) for row in rows], fontsize=7)
    for (layer, column), (strength, _) in one.cells.items():
        if (layer, strength) == one.chosen:
            corner = (column - 0.5, one.layers.index(layer) - 0.5)
            for width, colour in ((3.2, "white"), (1.6, BLACK)):
                axes.add_patch(Rectangle(corner, 1, 1, fill=False, linewidth=width,
                                         edgecolor=colour, clip_on=False, zorder=3))  # fmt: skip
    _draw_bar(axes, one, scale)


def _draw_bar(axes: Axes, one: LayerMap, scale: Normalize) -> None:
    figure = axes.get_figure(root=True)
    assert figure is not None
    bar = figure.colorbar(
        ScalarMappable(scale, _colours(one)), ax=axes, pad=0.02,
        aspect=min(32, max(9, len(one.layers))),
        format=None if one.measure == "KL" else PercentFormatter(1, decimals=0),
    )  # fmt: skip
    values = [one.uncalibrated, *(rate.value for _, rate in one.cells.values())]
    # Only what is there: the other half of the scale may be beyond 100%.
    bar.ax.set_ylim(min(values), max(values) if max(values) > min(values) else None)
    bar.ax.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    bar.ax.tick_params(labelsize=7)
    bar.ax.axhline(one.uncalibrated, color=BLACK, linewidth=1.4)


def _write_values(axes: Axes, one: LayerMap) -> None:
    """Numbers in the cells, where they are large enough for them."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    box = axes.get_window_extent()
    width = box.width / figure.dpi / len(one.strengths)
    height = box.height / figure.dpi / len(one.layers)
    own = not any(one.strengths)
    if width < _LEAST_CELL[0] * (3 if own else 1) or height < _LEAST_CELL[1]:
        return
    scale, colours = _scale(one), _colours(one)
    for (layer, column), (strength, rate) in one.cells.items():
        red, green, blue, _ = colours(scale(rate.value))
        light = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
        shown = _shown(one, rate.value).removesuffix("%")
        text = f"{shown} ({strength:.2g})" if own else shown
        axes.text(column, one.layers.index(layer), text, ha="center", va="center", fontsize=6,
                  color=BLACK if light else "white", zorder=4)  # fmt: skip


def _notes(maps: Sequence[LayerMap]) -> list[str]:
    notes = ["Line in the colour bar: the uncalibrated model."]
    for measure in dict.fromkeys(one.measure for one in maps):
        rates = [rate for one in maps if one.measure == measure for _, rate in one.cells.values()]
        n = "-".join(str(n) for n in sorted({min(r.n for r in rates), max(r.n for r in rates)}))
        halves = [(r.high - r.low) / 2 for r in rates if r.high == r.high]
        unit = 1 if measure == "KL" else 100
        half = f", 95% intervals about ±{unit * median(halves):.2g}" if halves else ""
        points = "" if measure == "KL" or not half else " points"
        notes.append(f"{measure}: n = {n} per cell{half}{points}.")
    if any(one.chosen for one in maps):
        notes.append("Framed: the operating point.")
    if any(not one.chosen for one in maps):
        notes.append("No frame: no setting was better than the uncalibrated model.")
    if not all(any(one.strengths) for one in maps):
        notes.append("In brackets: the strength, which each layer has its own of.")
    if any(len(one.cells) < len(one.layers) * len(one.strengths) for one in maps):
        notes.append("White: not run.")
    return notes
