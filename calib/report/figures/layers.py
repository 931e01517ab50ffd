"""The figure ``layers``: separation of the two sides of a contrast, and effect, by layer."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from calib.directions.direction import Direction
from calib.report.figures.fitted import (
    FittedDirection,
    direction_names,
    fitted_directions,
    models_of,
    side_names,
)
from calib.report.figures.io import COLUMN_INCHES, NotDrawn, figure_style
from calib.report.figures.style import CURVE_STYLES, draw_legend, write_title
from calib.runs.run import Run

_INCHES = {"auroc": 1.5, "effect": 1.3, "pair_cosine": 0.8}
"""Height of each panel."""

Array = NDArray[np.float64]


class _Curve(NamedTuple):
    """A direction, the x coordinates of its layers, its label and its number in the figure."""

    direction: Direction
    x: Array  # [layers]
    label: str
    number: int


def draw(runs: Sequence[Run], columns: int) -> Figure:
    """Draw the held-out AUROC of each direction by layer, with 95% intervals.

    Panels below show the effect of steering and the cosine between differences of pairs, if these
    were measured. Models of different depth are drawn against relative depth. Raises NotDrawn
    without a direction that was measured on held-out examples.
    """
    fitted = [each for each in fitted_directions(runs) if each.direction.auroc]
    if not fitted:
        raise NotDrawn(
            "missing-value",
            "No direction of these runs was measured on held-out examples. Fit one on data with "
            "twins in the validation split.",
        )
    last = _last_layers(fitted)
    relative = len(set(last.values())) > 1
    counts = {each.direction.auroc_pairs for each in fitted}
    curves = [
        _Curve(each.direction, _x_coordinates(each.direction, last, relative), label, number)
        for number, (each, label) in enumerate(zip(fitted, _labels(fitted, counts), strict=True))
    ]
    panels = ["auroc"] + [
        name
        for name in ("effect", "pair_cosine")
        if any(np.isfinite(getattr(each.direction, name)).any() for each in fitted)
    ]
    with figure_style():
        heights = [_INCHES[name] for name in panels]
        figure = Figure(figsize=(COLUMN_INCHES[columns], sum(heights) + 0.7), layout="constrained")
        all_axes: list[Axes] = list(
            figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        )
        write_title(figure, _title(fitted), models_of(fitted))
        drawers = {"auroc": _draw_auroc, "effect": _draw_effect, "pair_cosine": _draw_cosine}
        for name, axes in zip(panels, all_axes, strict=True):
            drawers[name](axes, curves)
        _mark_chosen(all_axes, fitted, last, relative)
        _name_layers(all_axes[-1], None if relative else max(last.values()))
        figure.align_ylabels(all_axes)
        draw_legend(figure, all_axes, notes=_notes(fitted, counts, panels))
        return figure


def _name_layers(axes: Axes, last: int | None) -> None:
    """Set a tick per layer up to ``last`` if there is room; None means relative depth."""
    if last is None:
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.set_xlabel("relative depth (0: first layer, 1: last)")
        return
    room = int(axes.get_figure(root=True).get_figwidth() / 0.35)  # type: ignore[union-attr]
    axes.xaxis.set_major_locator(MaxNLocator(min(last + 2, room), integer=True, min_n_ticks=1))
    axes.set_xlabel("layer")


def _last_layers(fitted: Sequence[FittedDirection]) -> dict[str, int]:
    """Return the last layer of any direction of each model, by fingerprint."""
    last: dict[str, int] = {}
    for each in fitted:
        d = each.direction
        last[d.fingerprint] = max(last.get(d.fingerprint, 0), *d.layers)
    return last


def _x_coordinates(direction: Direction, last: dict[str, int], relative: bool) -> Array:
    return np.array(direction.layers) / (last[direction.fingerprint] or 1 if relative else 1)


def _title(fitted: Sequence[FittedDirection]) -> str:
    contrasts = {each.direction.contrast for each in fitted}
    if len(contrasts) > 1:
        return "Directions of several contrasts, by layer"
    return f"The direction from {' to '.join(side_names(contrasts.pop()))}, by layer"


def _labels(fitted: Sequence[FittedDirection], counts: set[int]) -> list[str]:
    labels = direction_names(fitted, 24)
    if len(counts) == 1:
        return labels
    return [
        f"{label} (n = {each.direction.auroc_pairs})"
        for each, label in zip(fitted, labels, strict=True)
    ]


def _draw_auroc(axes: Axes, curves: Sequence[_Curve]) -> None:
    lowest = 0.5
    for curve in curves:
        low, high = np.array(curve.direction.auroc_intervals).T
        _draw_curve(axes, curve, curves, np.array(curve.direction.auroc), low, high)
        lowest = min(lowest, *low)
    axes.axhline(0.5, color="0.4", linestyle=":", linewidth=1, zorder=1)
    axes.annotate("chance", (1, 0.5), (-2, 2), xycoords=("axes fraction", "data"),
                  textcoords="offset points", ha="right", fontsize=7, color="0.3")  # fmt: skip
    axes.set(ylabel="held-out AUROC", ylim=(lowest - 0.04, 1.02))


def _draw_effect(axes: Axes, curves: Sequence[_Curve]) -> None:
    for curve in curves:
        d = curve.direction
        if d.effect:
            bounds = (d.effect_low, d.effect_high) if d.effect_low else (d.effect, d.effect)
            value, low, high = 100 * np.array([d.effect, *bounds])
            _draw_curve(axes, curve, curves, value, low, high)
    axes.axhline(0, color="0.4", linestyle=":", linewidth=1, zorder=1)
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:+z.0f}" if value else "0")
    )
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.margins(y=0.1)
    axes.set_ylabel("effect, points")


def _draw_cosine(axes: Axes, curves: Sequence[_Curve]) -> None:
    for curve in curves:
        if curve.direction.pair_cosine:
            value = np.array(curve.direction.pair_cosine)
            _draw_curve(axes, curve, curves, value, value, value)
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.margins(y=0.15)
    axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
    axes.set_ylabel("pair cosine")


def _draw_curve(
    axes: Axes, curve: _Curve, curves: Sequence[_Curve], value: Array, low: Array, high: Array
) -> None:
    colour, marker, line = CURVE_STYLES[curve.number % len(CURVE_STYLES)]
    face = colour if curve.number < len(CURVE_STYLES) else "white"
    axes.plot(curve.x, value, color=colour, marker=marker, linestyle=line, label=curve.label,
              markerfacecolor=face, markersize=4 if len(value) <= 16 else 2.5)  # fmt: skip
    # Shift the intervals so that none hides another.
    step = min((np.diff(each.x).min() for each in curves if len(each.x) > 1), default=1.0)
    x = curve.x + step * 0.3 * (curve.number - (len(curves) - 1) / 2) / len(curves)
    axes.vlines(x, low, high, color=colour, alpha=0.6, linewidth=1)


def _mark_chosen(
    all_axes: Sequence[Axes],
    fitted: Sequence[FittedDirection],
    last: dict[str, int],
    relative: bool,
) -> None:
    """Mark the layer of the operating point in all panels, if all directions share it."""
    chosen = {each.chosen_layer for each in fitted}
    layer = chosen.pop() if len(chosen) == 1 else None
    if layer is None or relative:
        return
    for axes in all_axes:
        axes.axvline(layer, color="0.6", linewidth=4, alpha=0.35, zorder=0.5,
                     label="layer of the operating point")  # fmt: skip


def _notes(fitted: Sequence[FittedDirection], counts: set[int], panels: Sequence[str]) -> list[str]:
    n = f", n = {counts.copy().pop()} a side" if len(counts) == 1 else " (n a side)"
    notes = [f"AUROC: validation examples along the direction{n}."]
    if "effect" in panels:
        tried = [each.direction for each in fitted if each.direction.effect]
        budgets = sorted({d.effect_kl for d in tried if d.effect_kl is not None})
        sizes = sorted({d.effect_n for d in tried})
        notes.append(
            "Effect: rise of refusals from the negative to the positive strength that costs "
            f"{' or '.join(f'{kl:g}' for kl in budgets)} nats of KL, "
            f"n = {' or '.join(map(str, sizes))}."
        )
        unknown = any(not d.effect_low for d in tried)
        notes.append("Bars: 95% intervals" + (" (of AUROC only)." if unknown else "."))
    else:
        notes.append("Bars: 95% intervals.")
    return notes
