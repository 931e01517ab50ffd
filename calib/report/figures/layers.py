"""The figure of layers: at which a direction tells its two sides apart, and at which it moves
refusals."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from calib.directions.direction import Direction
from calib.report.figures.fitted import (
    Fitted,
    fitted_directions,
    models_of,
    names,
    sides_called,
)
from calib.report.figures.io import COLUMN_INCHES, NotDrawn, own_style
from calib.report.figures.style import CURVE_STYLES, draw_legend, write_title
from calib.runs.run import Run

_INCHES = {"auroc": 1.5, "effect": 1.3, "pair_cosine": 0.8}
"""Height of each panel."""

Array = NDArray[np.float64]


class _Curve(NamedTuple):
    """One direction: where its layers stand, and what tells it from others."""

    direction: Direction
    x: Array  # [layers]
    label: str
    number: int


def draw(runs: Sequence[Run], columns: int) -> Figure:
    """Held-out AUROC by layer, a curve for each direction, above its effect and the cosine of its
    pairs where these were measured, with 95% intervals.

    Models of different depth stand side by side at equal shares of their depth. Raises NotDrawn
    without a direction that was measured on held-out examples.
    """
    fitted = [one for one in fitted_directions(runs) if one.direction.auroc]
    if not fitted:
        raise NotDrawn(
            "No direction of these runs was measured on held-out examples. Fit one with pairs in "
            "the validation split: raise data.limit, or choose more data.parts."
        )
    last = _last_layers(fitted)
    relative = len(set(last.values())) > 1
    counts = {one.direction.auroc_pairs for one in fitted}
    curves = [
        _Curve(one.direction, _places(one.direction, last, relative), label, number)
        for number, (one, label) in enumerate(zip(fitted, _labels(fitted, counts), strict=True))
    ]
    panels = ["auroc"] + [
        name
        for name in ("effect", "pair_cosine")
        if any(np.isfinite(getattr(one.direction, name)).any() for one in fitted)
    ]
    with own_style():
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
    """A tick for each layer up to ``last`` where there is room; None: shares of the depth."""
    if last is None:
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.set_xlabel("relative depth (0: first layer, 1: last)")
        return
    room = int(axes.get_figure(root=True).get_figwidth() / 0.35)  # type: ignore[union-attr]
    axes.xaxis.set_major_locator(MaxNLocator(min(last + 2, room), integer=True, min_n_ticks=1))
    axes.set_xlabel("layer")


def _last_layers(fitted: Sequence[Fitted]) -> dict[str, int]:
    """The last layer on record of each model, by fingerprint."""
    last: dict[str, int] = {}
    for one in fitted:
        d = one.direction
        last[d.fingerprint] = max(last.get(d.fingerprint, 0), *d.layers)
    return last


def _places(direction: Direction, last: dict[str, int], relative: bool) -> Array:
    return np.array(direction.layers) / (last[direction.fingerprint] or 1 if relative else 1)


def _title(fitted: Sequence[Fitted]) -> str:
    contrasts = {one.direction.contrast for one in fitted}
    if len(contrasts) > 1:
        return "The directions of several contrasts, by layer"
    return f"The direction from {' to '.join(sides_called(contrasts.pop()))}, by layer"


def _labels(fitted: Sequence[Fitted], counts: set[int]) -> list[str]:
    labels = names(fitted, 24)
    if len(counts) == 1:
        return labels
    return [
        f"{label} (n = {one.direction.auroc_pairs})"
        for one, label in zip(fitted, labels, strict=True)
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
    # Beside each other, so that no interval hides another's.
    step = min((np.diff(one.x).min() for one in curves if len(one.x) > 1), default=1.0)
    x = curve.x + step * 0.3 * (curve.number - (len(curves) - 1) / 2) / len(curves)
    axes.vlines(x, low, high, color=colour, alpha=0.6, linewidth=1)


def _mark_chosen(
    all_axes: Sequence[Axes], fitted: Sequence[Fitted], last: dict[str, int], relative: bool
) -> None:
    """A line through all panels at the layer of the operating point, where there is just one."""
    chosen = {one.chosen_layer for one in fitted}
    layer = chosen.pop() if len(chosen) == 1 else None
    if layer is None or relative:
        return
    for axes in all_axes:
        axes.axvline(layer, color="0.6", linewidth=4, alpha=0.35, zorder=0.5,
                     label="layer of the operating point")  # fmt: skip


def _notes(fitted: Sequence[Fitted], counts: set[int], panels: Sequence[str]) -> list[str]:
    n = f", n = {counts.copy().pop()} a side" if len(counts) == 1 else " (n a side)"
    notes = [f"AUROC of validation examples along the direction{n}."]
    if "effect" in panels:
        tried = [one.direction for one in fitted if one.direction.effect]
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
