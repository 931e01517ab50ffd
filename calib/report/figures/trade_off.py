"""The figures: what steering does to each side of safety, and what it costs in helpfulness.

Drawn from results alone, without pyplot and without the user's matplotlibrc, so that equal
results give equal bytes. Names from datasets and checkpoints are shown as they are, never parsed
as mathematics. Every function writes OUT_STEM.png and OUT_STEM.pdf and returns their paths.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from calib.data.parts import PAIRED_QUERIES
from calib.errors import CalibError
from calib.report.figures.drawing import own_style, save
from calib.report.figures.labelling import label_strengths
from calib.report.figures.style import (
    BLACK,
    BLUE,
    CURVE_STYLES,
    GREEN,
    ORANGE,
    VERMILION,
    YELLOW,
    draw_legend,
    shown_name,
    write_title,
)
from calib.report.terminal import printable
from calib.scoring.intervals import Interval
from calib.scoring.results import ALL, BASELINE, RunResults
from calib.scoring.tradeoff import (
    Coordinates,
    Point,
    baseline_of,
    choose_layer,
    pareto_front,
    place_of,
    plane_of,
    points_of,
    sra_s_and_sra_u,
    utility_and_sra,
)

_UTILITY = ("utility", "utility questions answered right", GREEN, "^", "-.")
_RATES = (
    ("SRA_u", "SRA_u: unsafe queries handled safely", VERMILION, "o", "-"),
    ("SRA_s", "SRA_s: safe queries answered", BLUE, "s", "--"),
    _UTILITY,
)
_DUAL_USE_RATES = (
    ("RR_h", "RR_h: harmful pictures refused or warned of", VERMILION, "o", "-"),
    ("SCR", "SCR: harmful pictures described with a warning", ORANGE, "v", ":"),
    ("DAR_b", "DAR_b: benign pictures described", BLUE, "s", "--"),
    _UTILITY,
)
_PANELS = {
    "image_centric": "Image-centric queries",
    "text_centric": "Text-centric queries",
    "dual_use": "Dual-use pictures",
}

_AXES: dict[Coordinates, tuple[str, str]] = {
    utility_and_sra: ("utility", "SRA"),
    sra_s_and_sra_u: ("SRA_s", "SRA_u"),
}
_TITLES: dict[Coordinates, str] = {
    utility_and_sra: "Calibration against utility",
    sra_s_and_sra_u: "Unsafe against safe queries",
}


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
    with own_style():
        figure = Figure(figsize=(6.4, 5.2), layout="constrained")
        axes = figure.subplots()
        models = dict.fromkeys(run.model for run in runs)
        write_title(figure, f"{_plane_title(curves)}, {shown_name(split, 20)} split", list(models))
        _draw_plane(axes, curves)
        draw_legend(figure, numbers=True)
        label_strengths(axes, _labelled(curves), _plane(curves))
        return save(figure, out_stem)


def steering_curves(run: RunResults, out_stem: Path, split: str = "test") -> list[Path]:
    """SRA_u, SRA_s and utility against strength, a panel for each part of the benchmark.

    Bands are 95% Wilson intervals. Layers and errors as in calibration_against_utility.
    """
    return _draw_run(run, out_stem, split, with_plane=False)


def trade_off(run: RunResults, out_stem: Path, split: str = "test", axis: str = "") -> list[Path]:
    """Both figures of one run side by side: the steering curves, and SRA against utility.

    ``axis`` says what strength means.
    """
    return _draw_run(run, out_stem, split, with_plane=True, axis=axis)


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


def _draw_run(
    run: RunResults, out_stem: Path, split: str, with_plane: bool, axis: str = ""
) -> list[Path]:
    curves = _curves(run, split)
    measured = {result.dataset for result in run.results if result.split == split}
    paired = [part for part in PAIRED_QUERIES if part in measured]
    parts = paired or [part for part in _PANELS if part in measured]
    if len(curves) > 1 or not parts:
        raise CalibError(
            f"Run '{printable(run.run)}' holds {len(curves)} curves over {len(parts)} parts of the "
            "benchmark; draw one method at a time, with its validation results if it has several "
            "layers, on image_centric, text_centric or dual_use."
        )
    curve = curves[0]
    panels = len(parts) + with_plane
    with own_style():
        figure = Figure(figsize=(0.4 + 3.5 * panels, 4.1), layout="constrained")
        all_axes = figure.subplots(1, panels, squeeze=False)[0]
        write_title(figure, f"{_curve_name(curve)}, {shown_name(split, 20)} split", [run.model])
        for axes, part in zip(all_axes, parts, strict=False):
            _draw_strengths(axes, curve, part, split)
            axes.set_xlabel(f"strength {axis}".strip())
        all_axes[0].set_ylabel("share of responses")
        if with_plane:
            _draw_plane(all_axes[-1], curves)
            all_axes[-1].set_title(_plane_title(curves))
        draw_legend(figure, numbers=with_plane)
        if with_plane:
            label_strengths(all_axes[-1], _labelled(curves), _plane(curves))
        return save(figure, out_stem)


def _draw_strengths(axes: Axes, curve: _Curve, part: str, split: str) -> None:
    for metric, label, colour, marker, line in _DUAL_USE_RATES if part == "dual_use" else _RATES:
        rates = _by_strength(curve, "utility" if metric == "utility" else part, metric, split)
        if not rates:
            continue
        strengths = sorted(rates)
        value, low, high = np.array([rates[strength][:3] for strength in strengths]).T
        axes.fill_between(strengths, low, high, color=colour, alpha=0.18, linewidth=0)
        axes.plot(strengths, value, color=colour, marker=marker, linestyle=line, label=label)
    axes.axvline(0, color="0.6", linewidth=0.8, zorder=0.5)
    axes.set(title=_PANELS[part], ylim=(-0.03, 1.03))
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
        colour, marker, line = CURVE_STYLES[k % len(CURVE_STYLES)]
        label = name if names.count(name) == 1 else f"{name} ({shown_name(curve.run.run, 24)})"
        x, y = np.array([plane(point) for point in curve.points]).transpose(1, 2, 0)[:, :3]
        axes.plot(x[0], y[0], color=colour, marker=marker, linestyle=line, label=label)
        axes.hlines(y[0], x[1], x[2], color=colour, alpha=0.35, linewidth=0.9)
        axes.vlines(x[0], y[1], y[2], color=colour, alpha=0.35, linewidth=0.9)
    for k, (model, of_model) in enumerate(models.items()):
        name = f"uncalibrated {shown_name(model, 24)}" if len(models) > 1 else "uncalibrated"
        starts = dict.fromkeys(place_of(curve.baseline, plane) for curve in of_model)
        axes.plot(*zip(*starts, strict=True), marker="*", linestyle="none", label=name,
                  markersize=13, markeredgecolor=BLACK, zorder=4,
                  markerfacecolor=(YELLOW, "white", "0.6", "0.3")[k % 4])  # fmt: skip
    x_name, y_name = _AXES.get(plane, ("SRA", "SRA"))
    axes.set(xlabel=x_name, ylabel=y_name)
    axes.margins(0.1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1))
    (left, _), (bottom, _) = axes.get_xlim(), axes.get_ylim()
    axes.autoscale(False)
    for k, of_model in enumerate(models.values()):
        everything = [point for curve in of_model for point in (curve.baseline, *curve.points)]
        front = [place_of(point, plane) for point in pareto_front(everything, plane)]
        x, y = zip(*front, strict=True)
        # From the left edge along the front down to the lower edge: all below it is dominated.
        axes.step([left, *x, x[-1]], [y[0], *y, bottom], where="pre", color="0.45", linewidth=1,
                  linestyle=(0, (2, 2)), zorder=1, label=None if k else "Pareto front")  # fmt: skip


def _labelled(curves: Sequence[_Curve]) -> list[Point]:
    return [p for curve in curves for p in curve.points if p.method != BASELINE]


def _plane(curves: Sequence[_Curve]) -> Coordinates:
    points = [point for curve in curves for point in (curve.baseline, *curve.points)]
    # Runs in one figure share a plane: the one that all of them have.
    planes = [plane_of(point) for point in points]
    return next((plane for plane in planes if plane is not utility_and_sra), utility_and_sra)


def _plane_title(curves: Sequence[_Curve]) -> str:
    return _TITLES.get(_plane(curves), "Calibration on one side, without utility")


def _curve_name(curve: _Curve, with_model: bool = False) -> str:
    if curve.method == BASELINE:
        return "uncalibrated"
    layer = "" if curve.layer is None else f", layer {curve.layer}"
    model = f"{shown_name(curve.run.model, 24)}: " if with_model else ""
    return f"{model}{shown_name(curve.method, 16)}{layer}"
