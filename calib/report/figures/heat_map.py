"""The figure ``heat_map``: SRA and its cost at every layer and strength of a method."""

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

from calib.report.figures.io import COLUMN_INCHES, NotDrawn, figure_style
from calib.report.figures.style import (
    BLACK,
    BLUE,
    draw_legend,
    rows_of_panels,
    short_name,
    write_title,
)
from calib.report.verdict import KL_DIRECTIONS, kl_metric
from calib.runs.run import Run
from calib.scoring.intervals import Interval
from calib.scoring.results import ALL
from calib.scoring.tradeoff import Point, baseline_of, points_of


class LayerMap(NamedTuple):
    """One metric of a method at every layer and strength."""

    metric: str
    uncalibrated: float
    layers: list[int]
    strengths: list[str]
    """Column names; empty if each layer has its own strengths."""
    cells: Mapping[tuple[int, int], tuple[float, Interval]]
    """Strength and value by layer and column."""
    chosen: tuple[int, float] | None
    """Layer and strength of the operating point; None if the uncalibrated model was kept."""


def layer_maps(run: Run, chosen: Mapping[str, Any], split: str, cost: str) -> list[LayerMap]:
    """Return the maps of SRA and of ``cost``, if measured; none for a method with one layer.

    ``chosen`` is the method's record in operating_points.json.
    """
    points = points_of(run.results, split)
    own = [p for p in points if p.method == chosen["method"] and p.layer is not None]
    layers = sorted({p.layer for p in own if p.layer is not None})
    if len(layers) < 2:
        return []
    baseline = baseline_of(points)
    side = (
        "SRA" if baseline.sra_u.n and baseline.sra_s.n else "SRA_u" if baseline.sra_u.n else "SRA_s"
    )
    rates: dict[str, tuple[float, list[Interval | None]]] = {
        side: (baseline.sra.value, [p.sra for p in own])
    }
    if cost == "KL":
        kl = kl_metric(run.results)
        rates[KL_DIRECTIONS[kl]] = (0.0, [_kl(run, p, split, kl) for p in own])
    elif baseline.utility is not None:
        rates["utility"] = (baseline.utility.value, [p.utility for p in own])
    names, column = _columns(own)
    # Strength 0 is the uncalibrated model.
    operating_point = (chosen["layer"], chosen["strength"]) if chosen["strength"] else None
    maps = []
    for metric, (uncalibrated, values) in rates.items():
        cells = {
            (p.layer, column[p.layer, p.strength]): (p.strength, rate)
            for p, rate in zip(own, values, strict=True)
            if p.layer is not None and rate is not None and rate.n
        }
        if cells:
            maps.append(LayerMap(metric, uncalibrated, layers, names, cells, operating_point))
    return maps


def _columns(points: Sequence[Point]) -> tuple[list[str], dict[tuple[int | None, float], int]]:
    """Return the names of the columns, and the column of each layer and strength.

    If strengths differ between layers, as those of equal KL do, a column holds each layer's first,
    second ... strength, and has no name.
    """
    by_layer: dict[int | None, list[float]] = defaultdict(list)
    for p in points:
        by_layer[p.layer].append(p.strength)
    every = sorted({p.strength for p in points})
    most = max(map(len, by_layer.values()))
    shared = len(every) <= 1.5 * most
    column = {
        (layer, strength): every.index(strength) if shared else k
        for layer, strengths in by_layer.items()
        for k, strength in enumerate(sorted(strengths))
    }
    return ([f"{s:g}" for s in every] if shared else [""] * most), column


def _kl(run: Run, point: Point, split: str, metric: str) -> Interval | None:
    total = (split, "utility", ALL, ALL, metric)
    for r in run.results:
        if r.key == point.key and (r.split, r.dataset, r.variant, r.category, r.metric) == total:
            return r.interval
    return None


# Blue is worse than the uncalibrated model, yellow is better. The lightness rises from worst to
# best, so that the order survives printing in grey.
_WORSE_TO_BETTER = LinearSegmentedColormap.from_list(
    "worse to better", ["#001f3d", BLUE, "#b5b5b5", "#f2dc6b", "#fffbe0"]
)
_WIDEST = 0.2
"""Largest distance from the uncalibrated model that the colours of a rate distinguish."""
_ON_LIGHT, _ON_DARK = "#010101", "#fefefe"
"""Colours of numbers, which stay in dark mode as the cells do; see calib.report.page.colours."""
_MIN_CELL = 0.19, 0.11
"""Smallest width and height of a cell, in inches, that fit a number of two digits."""
_MAX_HEIGHT = 3.2
"""Maximum height of a map in inches; with many layers, rows become narrower."""


def draw(
    runs: Sequence[Run], columns: int, split: str = "validation", cost: str = "utility"
) -> Figure:
    """Draw SRA and ``cost`` ("utility" or "KL") at every layer and strength of each method.

    Only methods that were swept over several layers are shown; the operating point is framed. The
    default split is validation, on which all layers are measured. Raises NotDrawn if no method has
    several layers on ``split``.
    """
    maps_by_method = {
        (k, str(record["method"])): maps
        for k, run in enumerate(runs)
        for record in run.operating_points
        if (maps := layer_maps(run, record, split, cost))
    }
    if not maps_by_method:
        raise NotDrawn(
            "missing-value",
            f"No method of these runs has results at several layers on the {split} split. Run "
            "calib.sweep with method.layers=all or a list of layers.",
        )
    with figure_style():
        figure, panels = _panels(columns, list(maps_by_method.values()))
        models = dict.fromkeys(runs[k].model_name for k, _ in maps_by_method)
        write_title(figure, f"Layers and strengths, {split} split", list(models))
        several_runs = len({k for k, _ in maps_by_method}) > 1
        for ((k, method), maps), row in zip(maps_by_method.items(), panels, strict=True):
            name = short_name(method, 8 + 6 * columns)
            if several_runs:
                name += f" ({short_name(runs[k].name, 4 + 6 * columns)})"
            for axes, layer_map in zip(row, maps, strict=True):
                baseline = f"uncalibrated {_value_text(layer_map, layer_map.uncalibrated)}"
                axes.set_title(f"{name}: {layer_map.metric} ({baseline})", fontsize=7)
                _draw_map(axes, layer_map)
        all_maps = [layer_map for maps in maps_by_method.values() for layer_map in maps]
        draw_legend(figure, [], notes=_notes(all_maps))
        figure.draw_without_rendering()  # fixes the size of the cells
        for row, maps in zip(panels, maps_by_method.values(), strict=True):
            for axes, layer_map in zip(row, maps, strict=True):
                _write_values(axes, layer_map)
    return figure


def _panels(columns: int, methods: Sequence[Sequence[LayerMap]]) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure and the axes of each method's maps, side by side over two columns."""
    wide = columns == 2 and any(len(maps) > 1 for maps in methods)
    heights = [
        [min(_MAX_HEIGHT, max(0.7, 0.15 * len(each.layers))) for each in maps] for maps in methods
    ]
    return rows_of_panels(heights, wide, COLUMN_INCHES[columns], title=0.45, labels=0.62)


def _value_text(layer_map: LayerMap, value: float) -> str:
    return f"{value:.2g}" if layer_map.metric.startswith("KL") else f"{100 * value:z.0f}%"


def _scale(layer_map: LayerMap) -> Normalize:
    """Return a colour scale with the uncalibrated model in the middle.

    Rates are shown to _WIDEST on both sides, so that one strength that breaks the model does not
    make all others look alike; the bar has a pointed end where values lie beyond.
    """
    values = [rate.value for _, rate in layer_map.cells.values()]
    distance = max(0.01, *(abs(value - layer_map.uncalibrated) for value in values))
    if not layer_map.metric.startswith("KL"):
        distance = min(distance, _WIDEST)
    return Normalize(layer_map.uncalibrated - distance, layer_map.uncalibrated + distance)


def _colours(layer_map: LayerMap) -> LinearSegmentedColormap:
    reverse: LinearSegmentedColormap = _WORSE_TO_BETTER.reversed()
    return reverse if layer_map.metric.startswith("KL") else _WORSE_TO_BETTER


def _draw_map(axes: Axes, layer_map: LayerMap) -> None:
    scale = _scale(layer_map)
    values = np.full((len(layer_map.layers), len(layer_map.strengths)), np.nan)
    for (layer, column), (_, rate) in layer_map.cells.items():
        values[layer_map.layers.index(layer), column] = rate.value
    axes.imshow(values, cmap=_colours(layer_map), norm=scale, aspect="auto", origin="lower")
    axes.set_facecolor("white")
    for spine in axes.spines.values():
        spine.set_visible(True)
    axes.grid(visible=False)
    axes.set(
        ylabel="layer", xlabel="strength" if any(layer_map.strengths) else "each layer's strengths"
    )
    axes.set_xticks(range(len(layer_map.strengths)), layer_map.strengths, fontsize=7)
    every = -(-len(layer_map.layers) // 14)
    rows = range(0, len(layer_map.layers), every)
    axes.set_yticks(rows, [str(layer_map.layers[row]) for row in rows], fontsize=7)
    for (layer, column), (strength, _) in layer_map.cells.items():
        if (layer, strength) == layer_map.chosen:
            corner = (column - 0.5, layer_map.layers.index(layer) - 0.5)
            for width, colour in ((3.2, "white"), (1.6, BLACK)):
                axes.add_patch(Rectangle(corner, 1, 1, fill=False, linewidth=width,
                                         edgecolor=colour, clip_on=False, zorder=3))  # fmt: skip
    _draw_bar(axes, layer_map, scale)


def _draw_bar(axes: Axes, layer_map: LayerMap, scale: Normalize) -> None:
    figure = axes.get_figure(root=True)
    assert figure is not None
    values = [layer_map.uncalibrated, *(rate.value for _, rate in layer_map.cells.values())]
    below, above = _beyond(layer_map, scale)
    bar = figure.colorbar(
        ScalarMappable(scale, _colours(layer_map)), ax=axes, pad=0.02,
        extend="both" if below and above else "min" if below else "max" if above else "neither",
        aspect=min(32, max(9, len(layer_map.layers))),
        format=None if layer_map.metric.startswith("KL") else PercentFormatter(1, decimals=0),
    )  # fmt: skip
    if layer_map.metric.startswith("KL"):  # no value is below that of the uncalibrated model
        bar.ax.set_ylim(min(values), max(values) if max(values) > min(values) else None)
    else:
        low, high = _ends(scale)
        bar.ax.set_ylim(max(0.0, low), min(1.0, high))
    bar.ax.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    bar.ax.tick_params(labelsize=7)
    bar.ax.axhline(layer_map.uncalibrated, color=BLACK, linewidth=1.4)


def _beyond(layer_map: LayerMap, scale: Normalize) -> tuple[bool, bool]:
    """Whether values lie below and above the scale, by more than rounding."""
    values = [rate.value for _, rate in layer_map.cells.values()]
    low, high = _ends(scale)
    return min(values) < low - 1e-9, max(values) > high + 1e-9


def _ends(scale: Normalize) -> tuple[float, float]:
    assert scale.vmin is not None and scale.vmax is not None
    return scale.vmin, scale.vmax


def _write_values(axes: Axes, layer_map: LayerMap) -> None:
    """Write the values into the cells if these are large enough."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    box = axes.get_window_extent()
    width = box.width / figure.dpi / len(layer_map.strengths)
    height = box.height / figure.dpi / len(layer_map.layers)
    own_strengths = not any(layer_map.strengths)
    if width < _MIN_CELL[0] * (3 if own_strengths else 1) or height < _MIN_CELL[1]:
        return
    scale, colours = _scale(layer_map), _colours(layer_map)
    for (layer, column), (strength, rate) in layer_map.cells.items():
        red, green, blue, _ = colours(scale(rate.value))
        light = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
        value = _value_text(layer_map, rate.value).removesuffix("%")
        text = f"{value} ({strength:.2g})" if own_strengths else value
        axes.text(column, layer_map.layers.index(layer), text, ha="center", va="center", fontsize=6,
                  color=_ON_LIGHT if light else _ON_DARK, zorder=4)  # fmt: skip


def _notes(maps: Sequence[LayerMap]) -> list[str]:
    notes = ["Line in the colour bar: the uncalibrated model."]
    if any(any(_beyond(layer_map, _scale(layer_map))) for layer_map in maps):
        notes.append("Pointed end of a bar: values lie beyond it.")
    for metric in dict.fromkeys(layer_map.metric for layer_map in maps):
        rates = [
            rate
            for layer_map in maps
            if layer_map.metric == metric
            for _, rate in layer_map.cells.values()
        ]
        n = "-".join(str(n) for n in sorted({min(r.n for r in rates), max(r.n for r in rates)}))
        halves = [(r.high - r.low) / 2 for r in rates if r.high == r.high]
        unit = 1 if metric.startswith("KL") else 100
        half = f", 95% intervals about ±{unit * median(halves):.2g}" if halves else ""
        points = "" if metric.startswith("KL") or not half else " points"
        notes.append(f"{metric}: n = {n} per cell{half}{points}.")
    if any(layer_map.chosen for layer_map in maps):
        notes.append("Framed: the operating point.")
    if any(not layer_map.chosen for layer_map in maps):
        notes.append("No frame: no setting was better than the uncalibrated model.")
    if not all(any(layer_map.strengths) for layer_map in maps):
        notes.append("In brackets: the strength, which differs between layers.")
    if any(
        len(layer_map.cells) < len(layer_map.layers) * len(layer_map.strengths)
        for layer_map in maps
    ):
        notes.append("White: not run.")
    return notes
