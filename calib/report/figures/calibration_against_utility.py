"""The figure ``calibration_against_utility``: gain in SRA and loss of utility of each method.

One panel shows every strength: the curves, and each model's Pareto front. The other shows the
operating points at a larger scale, since most lie close to the uncalibrated model. If there are
many methods, only some keep their curves, first those that reach the front. The uncalibrated model
and prompt-only methods are always shown.
"""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from calib.report.figures.curves import (
    Curve,
    UncalibratedModel,
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
    curve_styles,
    draw_curve,
    draw_fronts,
    draw_setting,
    draw_uncalibrated,
    front_of,
    label_axes,
    label_points,
    separate_labels,
    strength_labels,
    zoom_to,
)
from calib.report.figures.style import draw_legend, short_name, write_title
from calib.runs.run import Run
from calib.scoring.tradeoff import Plane, hypervolume

_CURVES = 6
"""Maximum number of curves that can be distinguished."""
_LABELLED = 2
"""Maximum number of curves whose strengths are written next to the points."""


def draw(runs: Sequence[Run], columns: int, split: str = "test") -> Figure:
    """Draw SRA against utility on ``split``, one curve per run and method.

    Without utility, SRA_u is drawn against SRA_s. Raises NotDrawn for a run without SRA on
    ``split``.
    """
    models = uncalibrated_models(runs, split)
    curves = curves_of(runs, split)
    plane = shared_plane(models)
    full = _full_curves(curves, models, plane)
    with figure_style():
        panels = 2 if full else 1
        across = panels if columns == 2 else 1
        size = COLUMN_INCHES[columns], 0.5 + 2.5 * panels / across
        figure = Figure(figsize=size, layout="constrained")
        all_axes = list(figure.subplots(panels // across, across, squeeze=False).flat)
        crowded = any(curve not in full and not curve.prompt_only for curve in curves)
        names = curve_names(curves, layers=not crowded)
        styled = list(zip(curves, names, curve_styles(curves), strict=True))
        checkpoints = list(dict.fromkeys(each.model for each in models))
        write_title(figure, f"{plane_title(plane)}, {short_name(split, 20)} split", checkpoints)
        for axes in all_axes:
            for curve, name, style in styled:
                is_full = curve in full and not (crowded and axes is all_axes[-1])
                if is_full or curve.prompt_only:
                    draw_curve(axes, curve, style, plane, name)
                elif curve.chosen is not None and axes is all_axes[-1]:
                    draw_setting(axes, curve.chosen, style, plane, name)
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
        notes = ["Bars: 95% intervals. Large, black rim: operating point chosen on validation."]
        notes += ["Numbers: strengths."] * labelled
        notes += [kept_note(curves, names), prompt_note(curves)]
        draw_legend(figure, all_axes, notes)
        if labelled:
            figure.draw_without_rendering()
            labels = strength_labels(full, plane)
            label_points(all_axes[1], separate_labels(all_axes[1], labels))
            # Each strength is written once, at the larger scale if its point is in view there.
            others = [label for label in labels if not _contains(all_axes[1], label[1])]
            label_points(all_axes[0], separate_labels(all_axes[0], others))
    return figure


def _contains(axes: Axes, point: tuple[float, float]) -> bool:
    return bool(axes.viewLim.contains(*point))


def _full_curves(
    curves: Sequence[Curve], models: Sequence[UncalibratedModel], plane: Plane
) -> list[Curve]:
    """Return the curves that are drawn in full: at most _CURVES, without prompt-only methods.

    Curves that reach a Pareto front come first, then those with the largest area.
    """
    candidates = [curve for curve in curves if not curve.prompt_only]
    if len(candidates) <= _CURVES:
        return candidates
    fronts = [point for model in models for point in front_of(model, curves, plane)]

    def rank(curve: Curve) -> tuple[bool, float]:
        reaches_front = any(point in fronts for point in curve.points)
        return not reaches_front, -hypervolume(curve.points, curve.baseline, plane)

    first = sorted(candidates, key=rank)[:_CURVES]
    return [curve for curve in candidates if curve in first]
