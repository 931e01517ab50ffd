"""The figure ``calibration_against_utility``: gain in SRA and loss of utility of each method.

One panel shows every strength: the curves, and each model's Pareto front. The other shows the
operating points at a larger scale, since most lie close to the uncalibrated model. If there are
many methods, operating points are numbered in the order of their change of SRA, the first ones keep
their curves, and prompt-only methods are shown at one setting each.
"""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from calib.report.figures.curves import (
    Curve,
    curve_names,
    curves_of,
    kept_note,
    plane_title,
    prompt_note,
    shared_plane,
    uncalibrated_models,
)
from calib.report.figures.io import COLUMN_INCHES, figure_style
from calib.report.figures.plane import (
    CurveStyle,
    curve_styles,
    draw_curve,
    draw_fronts,
    draw_setting,
    draw_uncalibrated,
    label_axes,
    label_points,
    separate_labels,
    strength_labels,
    zoom_to,
)
from calib.report.figures.style import draw_legend, short_name, write_title
from calib.runs.run import Run
from calib.scoring.tradeoff import Plane, coordinates_of

_CURVES = 6
"""Maximum number of curves that can be distinguished."""
_LABELLED = 2
"""Maximum number of curves whose strengths are written next to the points."""
_FAINT = 0.15
"""Opacity of intervals if there are many methods."""


def draw(runs: Sequence[Run], columns: int, split: str = "test") -> Figure:
    """Draw SRA against utility on ``split``, one curve per run and method.

    Without utility, SRA_u is drawn against SRA_s. Raises NotDrawn for a run without SRA on
    ``split``.
    """
    models = uncalibrated_models(runs, split)
    curves = curves_of(runs, split)
    plane = shared_plane(models)
    candidates = [curve for curve in curves if not curve.prompt_only]
    crowded = len(candidates) > _CURVES
    if crowded:
        curves = sorted(curves, key=_order)
        candidates = [curve for curve in curves if not curve.prompt_only]
    full = candidates[:_CURVES]
    with figure_style():
        panels = 2 if full else 1
        across = panels if columns == 2 else 1
        size = COLUMN_INCHES[columns], 0.5 + 2.5 * panels / across
        figure = Figure(figsize=size, layout="constrained")
        all_axes = list(figure.subplots(panels // across, across, squeeze=False).flat)
        names = list(dict.fromkeys(each.model for each in models))
        write_title(figure, f"{plane_title(plane)}, {short_name(split, 20)} split", names)
        names = curve_names(curves, layers=not crowded)
        labels = _numbered(curves, names) if crowded else names
        styled = list(zip(curves, labels, curve_styles(curves), strict=True))
        draw_panel = _draw_crowded if crowded else _draw_all
        for axes in all_axes:
            draw_panel(axes, styled, full if axes is all_axes[0] else [], plane)
            draw_uncalibrated(axes, models, plane)
            label_axes(axes, plane)
        if full:
            all_axes[0].set_title("every strength")
            all_axes[1].set_title("operating points" if crowded else "near the operating points")
            chosen = [curve.chosen for curve in curves if curve.chosen is not None]
            zoom_to(all_axes[1], [*(each.point for each in models), *chosen], plane)
        for axes in all_axes:
            draw_fronts(axes, models, curves, plane)
        labelled = 0 < len(full) <= _LABELLED
        notes = ["Bars: 95% intervals."]
        if any(curve.chosen is not None for curve in curves):
            notes[0] += " Large: operating point chosen on validation."
        notes += ["Numbers: strengths."] * labelled
        notes += ["Numbers: methods by change of SRA."] * crowded
        notes += [kept_note(curves, names), prompt_note(curves)] if curves else []
        # The panel of operating points has the methods in the order of their numbers.
        draw_legend(figure, all_axes[::-1] if crowded else all_axes, notes)
        if labelled:
            _write_strengths(figure, all_axes, full, plane)
        if crowded:
            figure.draw_without_rendering()
            numbers = [
                (label.split()[0], coordinates_of(curve.chosen, plane))
                for curve, label, _ in styled
                if curve.chosen is not None
            ]
            label_points(all_axes[1], numbers)
    return figure


Styled = tuple[Curve, str, CurveStyle]
"""A curve with its label and its style."""


def _draw_all(axes: Axes, styled: Sequence[Styled], _: Sequence[Curve], plane: Plane) -> None:
    for curve, label, style in styled:
        draw_curve(axes, curve, style, plane, label)


def _draw_crowded(
    axes: Axes, styled: Sequence[Styled], full: Sequence[Curve], plane: Plane
) -> None:
    """Draw the curves of ``full``; of the other methods, or of all if it is empty, one setting."""
    for curve, label, style in styled:
        setting = curve.chosen or curve.weakest
        if curve in full:
            draw_curve(axes, curve, style, plane, label, _FAINT)
        elif curve.prompt_only or (not full and curve.chosen is not None):
            large = curve.chosen is not None
            draw_setting(axes, setting, style, plane, label, large=large, opacity=_FAINT)


def _write_strengths(
    figure: Figure, all_axes: Sequence[Axes], curves: Sequence[Curve], plane: Plane
) -> None:
    figure.draw_without_rendering()
    labels = strength_labels(curves, plane)
    label_points(all_axes[1], separate_labels(all_axes[1], labels))
    # Each strength is written once, at the larger scale if its point is in view there.
    others = [label for label in labels if not _contains(all_axes[1], label[1])]
    label_points(all_axes[0], separate_labels(all_axes[0], others))


def _contains(axes: Axes, point: tuple[float, float]) -> bool:
    return bool(axes.viewLim.contains(*point))


def _numbered(curves: Sequence[Curve], names: Sequence[str]) -> list[str]:
    """Put the number of each method with an operating point before its name."""
    return [
        name if curve.chosen is None else f"{number} {name}"
        for number, (curve, name) in enumerate(zip(curves, names, strict=True), start=1)
    ]


def _order(curve: Curve) -> tuple[bool, float, str]:
    """Order by the change of SRA at the operating point, which was chosen on validation."""
    gain = 0.0 if curve.chosen is None else curve.chosen.sra.value - curve.baseline.sra.value
    return curve.chosen is None, -round(gain, 9), curve.method
