"""The figures: what steering does to each side of safety, and what it costs in helpfulness.

Drawn from results alone, without pyplot and without the user's matplotlibrc, so that equal
results give equal bytes. Names from datasets and checkpoints are shown as they are, never parsed
as mathematics. Every function writes OUT_STEM.png and OUT_STEM.pdf and returns their paths.
"""

import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator, PercentFormatter
from matplotlib.transforms import Affine2D
from numpy.typing import NDArray

from calib.errors import CalibError
from calib.report.terminal import printable
from calib.scoring.intervals import Interval
from calib.scoring.metrics import ALL, BASELINE, RunResults
from calib.scoring.tradeoff import (
    Coordinates,
    Point,
    baseline_of,
    choose_layer,
    pareto_front,
    points_of,
    sra_s_and_sra_u,
    utility_and_sra,
)

# Okabe & Ito's eight colours, told apart under the common forms of colour blindness.
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
_CURVE_STYLES = (
    (PURPLE, "D", "-"),
    (SKY, "P", "--"),
    (ORANGE, "v", "-."),
    (BLACK, "X", ":"),
    (BLUE, "o", (0, (5, 1))),
    (VERMILION, "s", (0, (3, 1, 1, 1))),
    (GREEN, "^", (0, (1, 1))),
    (YELLOW, "p", (0, (7, 2))),
)
_RATES = (
    ("SRA_u", "SRA_u: unsafe queries handled safely", VERMILION, "o", "-"),
    ("SRA_s", "SRA_s: safe queries answered", BLUE, "s", "--"),
    ("utility", "utility questions answered right", GREEN, "^", "-."),
)
_DIRECTIONS = np.array([(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)])
_PANELS = {"image_centric": "Image-centric queries", "text_centric": "Text-centric queries"}
_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "legend.frameon": False,
    "legend.fontsize": 8,
    "legend.handlelength": 3.2,
    "lines.linewidth": 1.4,
    "lines.markersize": 5,
    "pdf.fonttype": 42,
}


Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Curve:
    run: RunResults
    method: str
    layer: int | None
    baseline: Point
    points: list[Point]
    """By strength; the uncalibrated model stands in for a missing strength 0."""


def calibration_against_utility(
    runs: Sequence[RunResults], out_stem: Path, split: str = "test"
) -> list[Path]:
    """SRA against utility on ``split``: a curve per run and method, points labelled by strength.

    Where a method was run at several layers, its curve is the layer chosen on the validation
    results. Without utility results the plane is SRA_u against SRA_s. Raises CalibError when a
    run lacks the uncalibrated model or when there is nothing to draw.
    """
    curves = [curve for run in runs for curve in _curves(run, split)]
    with _own_style():
        figure = Figure(figsize=(6.4, 5.2), layout="constrained")
        axes = figure.subplots()
        models = dict.fromkeys(run.model for run in runs)
        _title(figure, f"{_plane_title(curves)}, {_shown(split, 20)} split", list(models))
        _draw_plane(axes, curves)
        _legend(figure, numbers=True)
        _label_strengths(axes, curves)
        return _save(figure, out_stem)


def steering_curves(run: RunResults, out_stem: Path, split: str = "test") -> list[Path]:
    """SRA_u, SRA_s and utility against strength, a panel for each part of the benchmark.

    Bands are 95% Wilson intervals. Layers and errors as in calibration_against_utility.
    """
    return _draw_run(run, out_stem, split, with_plane=False)


def trade_off(run: RunResults, out_stem: Path, split: str = "test") -> list[Path]:
    """Both figures of one run side by side: the steering curves, and SRA against utility."""
    return _draw_run(run, out_stem, split, with_plane=True)


def layer_separability(
    auroc: Mapping[int, float],
    model: str,
    out_stem: Path,
    intervals: Mapping[int, tuple[float, float]] | None = None,
) -> list[Path]:
    """Held-out AUROC of safe against unsafe pairs by layer (0-based), with bounds where given."""
    if not auroc:
        raise CalibError("There is no layer to draw; give the AUROC of at least one.")
    layers = sorted(auroc)
    with _own_style():
        figure = Figure(figsize=(4.6, 3.2), layout="constrained")
        axes = figure.subplots()
        _title(figure, "Where safe and unsafe come apart", [model])
        values = np.array([auroc[layer] for layer in layers])
        bounds = [(intervals or {}).get(layer, (auroc[layer],) * 2) for layer in layers]
        axes.plot(layers, values, color=BLUE, marker="o")
        low, high = np.array(bounds).T
        axes.vlines(layers, low, high, color=BLUE, alpha=0.5)
        axes.axhline(0.5, color="0.4", linestyle=":", linewidth=1)
        axes.annotate("chance", (1, 0.5), (-2, 3), xycoords=("axes fraction", "data"),
                      textcoords="offset points", ha="right", fontsize=8, color="0.3")  # fmt: skip
        axes.set(xlabel="layer", ylabel="held-out AUROC", ylim=(min(0.45, *low) - 0.02, 1.02))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return _save(figure, out_stem)


def _curves(run: RunResults, split: str) -> list[_Curve]:
    points = points_of(run.results, split)
    if not points:
        raise CalibError(
            f"Run '{printable(run.run)}' has no SRA on split '{printable(split)}' to draw; "
            "score safe and unsafe queries of that split first."
        )
    baseline = baseline_of(points)
    methods: dict[str, dict[int | None, list[Point]]] = defaultdict(lambda: defaultdict(list))
    for point in points:
        if point.method != BASELINE:
            methods[point.method][point.layer].append(point)
    curves = []
    for method, layers in methods.items():
        for layer in _layers_drawn(run, method, list(layers)):
            unsteered = [] if any(p.strength == 0 for p in layers[layer]) else [baseline]
            by_strength = sorted([*unsteered, *layers[layer]], key=lambda point: point.strength)
            curves.append(_Curve(run, method, layer, baseline, by_strength))
    return curves or [_Curve(run, BASELINE, None, baseline, [baseline])]


def _layers_drawn(run: RunResults, method: str, layers: list[int | None]) -> list[int | None]:
    validation = points_of(run.results, "validation")
    candidates = [point for point in validation if point.method == method and point.layer in layers]
    if len(layers) < 2 or not any(point.layer is not None for point in candidates):
        return layers
    return [choose_layer(candidates, baseline_of(validation)).layer]


def _draw_run(run: RunResults, out_stem: Path, split: str, with_plane: bool) -> list[Path]:
    curves = _curves(run, split)
    measured = {result.dataset for result in run.results if result.split == split}
    parts = [part for part in _PANELS if part in measured]
    if len(curves) > 1 or not parts:
        raise CalibError(
            f"Run '{printable(run.run)}' holds {len(curves)} curves over {len(parts)} parts of the "
            "benchmark; draw one method at a time, with its validation results if it has several "
            "layers, on image_centric or text_centric."
        )
    curve = curves[0]
    panels = len(parts) + with_plane
    with _own_style():
        figure = Figure(figsize=(0.4 + 3.5 * panels, 4.1), layout="constrained")
        all_axes = figure.subplots(1, panels, squeeze=False)[0]
        _title(figure, f"{_curve_name(curve)}, {_shown(split, 20)} split", [run.model])
        for axes, part in zip(all_axes, parts, strict=False):
            _draw_strengths(axes, curve, part, split)
        all_axes[0].set_ylabel("share of responses")
        if with_plane:
            _draw_plane(all_axes[-1], curves)
            all_axes[-1].set_title(_plane_title(curves))
        _legend(figure, numbers=with_plane)
        if with_plane:
            _label_strengths(all_axes[-1], curves)
        return _save(figure, out_stem)


def _draw_strengths(axes: Axes, curve: _Curve, part: str, split: str) -> None:
    for metric, label, colour, marker, line in _RATES:
        rates = _by_strength(curve, "utility" if metric == "utility" else part, metric, split)
        if not rates:
            continue
        strengths = sorted(rates)
        value, low, high = np.array([rates[strength][:3] for strength in strengths]).T
        axes.fill_between(strengths, low, high, color=colour, alpha=0.18, linewidth=0)
        axes.plot(strengths, value, color=colour, marker=marker, linestyle=line, label=label)
    axes.axvline(0, color="0.6", linewidth=0.8, zorder=0.5)
    axes.set(title=_PANELS[part], xlabel="strength", ylim=(-0.03, 1.03))
    axes.yaxis.set_major_formatter(PercentFormatter(1))


def _by_strength(curve: _Curve, dataset: str, metric: str, split: str) -> dict[float, Interval]:
    place = (split, dataset, ALL, ALL, metric)
    totals = [
        r for r in curve.run.results
        if (r.split, r.dataset, r.variant, r.category, r.metric) == place
    ]  # fmt: skip
    rates = {r.strength: r.interval for r in totals if r.method == BASELINE}
    own = (curve.method, curve.layer)
    return rates | {r.strength: r.interval for r in totals if (r.method, r.layer) == own}


def _draw_plane(axes: Axes, curves: Sequence[_Curve]) -> None:
    """Curves with error bars both ways, the uncalibrated models, and each model's Pareto front."""
    plane = _plane(curves)
    models: dict[str, list[_Curve]] = defaultdict(list)
    for curve in curves:
        models[curve.run.model].append(curve)
    names = [_curve_name(curve, with_model=len(models) > 1) for curve in curves]
    for k, (curve, name) in enumerate(zip(curves, names, strict=True)):
        if curve.method == BASELINE:
            continue
        colour, marker, line = _CURVE_STYLES[k % len(_CURVE_STYLES)]
        label = name if names.count(name) == 1 else f"{name} ({_shown(curve.run.run, 24)})"
        x, y = np.array([plane(point) for point in curve.points]).transpose(1, 2, 0)[:, :3]
        axes.plot(x[0], y[0], color=colour, marker=marker, linestyle=line, label=label)
        axes.hlines(y[0], x[1], x[2], color=colour, alpha=0.35, linewidth=0.9)
        axes.vlines(x[0], y[1], y[2], color=colour, alpha=0.35, linewidth=0.9)
    for k, (model, of_model) in enumerate(models.items()):
        name = f"uncalibrated {_shown(model, 24)}" if len(models) > 1 else "uncalibrated"
        starts = dict.fromkeys(_place(curve.baseline, plane) for curve in of_model)
        axes.plot(*zip(*starts, strict=True), marker="*", linestyle="none", label=name,
                  markersize=13, markeredgecolor=BLACK, zorder=4,
                  markerfacecolor=(YELLOW, "white", "0.6", "0.3")[k % 4])  # fmt: skip
    x_name, y_name = ("utility", "SRA") if plane is utility_and_sra else ("SRA_s", "SRA_u")
    axes.set(xlabel=x_name, ylabel=y_name)
    axes.margins(0.1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1))
    (left, _), (bottom, _) = axes.get_xlim(), axes.get_ylim()
    axes.autoscale(False)
    for k, of_model in enumerate(models.values()):
        everything = [point for curve in of_model for point in (curve.baseline, *curve.points)]
        front = [_place(point, plane) for point in pareto_front(everything, plane)]
        x, y = zip(*front, strict=True)
        # From the left edge along the front down to the lower edge: all below it is dominated.
        axes.step([left, *x, x[-1]], [y[0], *y, bottom], where="pre", color="0.45", linewidth=1,
                  linestyle=(0, (2, 2)), zorder=1, label=None if k else "Pareto front")  # fmt: skip


def _label_strengths(axes: Axes, curves: Sequence[_Curve]) -> None:
    """Write each point's strength beside it, where it covers least of what is drawn already."""
    plane = _plane(curves)
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # settles the layout: only now does a pixel mean something
    points_per_pixel = 72 / figure.dpi
    to_points = axes.transData + Affine2D().scale(points_per_pixel)
    frame = np.array(axes.bbox.extents) * points_per_pixel
    drawn = [(to_points.transform(line.get_xydata()), line.get_markersize()) for line in axes.lines]
    rims = [corners + size / 2 * side for corners, size in drawn for side in _DIRECTIONS]
    occupied = np.vstack([*rims, *(_along(corners) for corners, _ in drawn)])
    for point in (p for curve in curves for p in curve.points if p.method != BASELINE):
        text = f"{point.strength:g}"
        half = np.array([2.3 * len(text) + 1, 4.5])  # points, at font size 7
        at = to_points.transform(_place(point, plane))
        offsets = [(reach + half) * side for reach in (3, 8, 14) for side in _DIRECTIONS]
        offset = min(
            offsets, key=lambda o: _covered(at + o, half, occupied, frame) + sum(o * o) / 90
        )
        axes.annotate(text, _place(point, plane), offset, textcoords="offset points", fontsize=7,
                      ha="center", va="center", zorder=5,
                      arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.5},
                      path_effects=[withStroke(linewidth=2, foreground="white")])  # fmt: skip
        x, y = (
            np.linspace(-1, 1, 9) * size + middle
            for size, middle in zip(half, at + offset, strict=True)
        )
        box = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
        occupied = np.vstack([occupied, box])


def _covered(centre: Array, half: Array, occupied: Array, frame: Array) -> float:
    outside = (centre - half < frame[:2]).any() or (centre + half > frame[2:]).any()
    return float((np.abs(occupied - centre) < half).all(axis=1).sum() + 1000 * outside)


def _along(corners: Array) -> Array:
    """Points two apart on the line through ``corners``: what a label should keep clear of."""
    if len(corners) < 2:
        return corners
    steps = np.hypot(*np.diff(corners, axis=0).T)
    travelled = np.concatenate([[0], np.cumsum(steps)])
    places = np.append(np.arange(0, travelled[-1], 2), travelled[-1])
    return np.stack([np.interp(places, travelled, side) for side in corners.T], axis=1)


def _plane(curves: Sequence[_Curve]) -> Coordinates:
    points = [point for curve in curves for point in (curve.baseline, *curve.points)]
    return utility_and_sra if all(point.utility for point in points) else sra_s_and_sra_u


def _plane_title(curves: Sequence[_Curve]) -> str:
    if _plane(curves) is utility_and_sra:
        return "Calibration against utility"
    return "Unsafe against safe queries"


def _place(point: Point, plane: Coordinates) -> tuple[float, float]:
    x, y = plane(point)
    return x.value, y.value


def _curve_name(curve: _Curve, with_model: bool = False) -> str:
    if curve.method == BASELINE:
        return "uncalibrated"
    layer = "" if curve.layer is None else f", layer {curve.layer}"
    model = f"{_shown(curve.run.model, 24)}: " if with_model else ""
    return f"{model}{_shown(curve.method, 16)}{layer}"


def _shown(name: str, width: int) -> str:
    # A backslash keeps matplotlib from reading what stands between two dollars as mathematics,
    # a space in front from leaving a name that starts with an underscore out of the legend.
    shown = printable(name, width).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def _title(figure: Figure, text: str, models: Sequence[str]) -> None:
    shown = _shown(", ".join(models), int(figure.get_figwidth() * 11))
    title = figure.suptitle(f"{text}\n{shown}", fontsize=10)
    room = 0.96 * figure.bbox.width / title.get_window_extent().width
    title.set_fontsize(10 * min(1, room))


def _legend(figure: Figure, numbers: bool) -> None:
    entries: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    longest = max(map(len, entries)) * 4.7 + 45  # points, at font size 8, with the handle
    columns = min(3, max(1, int(72 * figure.get_figwidth() / longest)))
    figure.legend(
        list(entries.values()),
        list(entries),
        loc="outside lower center",
        ncols=columns,
        title="Numbers beside points are strengths; bars are 95% intervals." if numbers else None,
        title_fontsize=8,
    )


@contextmanager
def _own_style() -> Iterator[None]:
    with matplotlib.style.context(["default", _STYLE]), warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; that is no reason to fail.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def _save(figure: Figure, stem: Path) -> list[Path]:
    png, pdf = (stem.with_name(stem.name + ending) for ending in (".png", ".pdf"))
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        # Without dates and versions the same results give the same bytes.
        figure.savefig(png, dpi=200, metadata={"Software": None})
        figure.savefig(pdf, metadata={"Creator": None, "Producer": None, "CreationDate": None})
    except OSError as error:
        raise CalibError(
            f"Cannot write the figure {png}: {error.strerror or error}. Free space or give another "
            "folder, then draw it again from the results."
        ) from error
    return [png, pdf]
