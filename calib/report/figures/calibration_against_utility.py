"""The figure of the trade-off: what each method gains in SRA and loses in utility.

One panel has every strength: the curves and each model's Pareto front. The other has the operating
points, which mostly lie close together near the uncalibrated model, at a larger scale. Of many
methods only those that reach the front keep their curve. The uncalibrated model and prompt-only
methods are always there.
"""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from calib.report.figures.curves import (
    Curve,
    Uncalibrated,
    curves_of,
    kept_note,
    names_of,
    prompt_note,
    shared_plane,
    title_of,
    uncalibrated_of,
)
from calib.report.figures.io import COLUMN_INCHES, own_style
from calib.report.figures.plane import (
    apart,
    draw_curve,
    draw_fronts,
    draw_setting,
    draw_uncalibrated,
    front_of,
    label_points,
    looks_of,
    name_axes,
    strengths_of,
    zoom_to,
)
from calib.report.figures.style import draw_legend, shown_name, write_title
from calib.runs.run import Run
from calib.scoring.tradeoff import Plane, hypervolume

_CURVES = 6
"""More than these cannot be told apart."""
_LABELLED = 2
"""With more curves than these, strengths beside points would cover each other."""


def draw(runs: Sequence[Run], columns: int, split: str = "test") -> Figure:
    """SRA against utility on ``split``, a curve a run and method; without utility SRA_u against
    SRA_s. Raises NotDrawn for a run without SRA there."""
    models = uncalibrated_of(runs, split)
    curves = curves_of(runs, split)
    plane = shared_plane(models)
    whole = _whole(curves, models, plane)
    with own_style():
        panels = 2 if whole else 1
        across = panels if columns == 2 else 1
        size = COLUMN_INCHES[columns], 0.5 + 2.5 * panels / across
        figure = Figure(figsize=size, layout="constrained")
        all_axes = list(figure.subplots(panels // across, across, squeeze=False).flat)
        crowded = any(curve not in whole and not curve.prompt_only for curve in curves)
        names = names_of(curves, layers=not crowded)
        named = list(zip(curves, names, looks_of(curves), strict=True))
        shown = list(dict.fromkeys(one.model for one in models))
        write_title(figure, f"{title_of(plane)}, {shown_name(split, 20)} split", shown)
        for axes in all_axes:
            for curve, name, look in named:
                own_way = curve in whole and not (crowded and axes is all_axes[-1])
                if own_way or curve.prompt_only:
                    draw_curve(axes, curve, look, plane, name)
                elif curve.chosen is not None and axes is all_axes[-1]:
                    draw_setting(axes, curve.chosen, look, plane, name)
            draw_uncalibrated(axes, models, plane)
            name_axes(axes, plane)
        if whole:
            all_axes[0].set_title("every strength")
            all_axes[1].set_title("operating points" if crowded else "near the operating points")
            chosen = [curve.chosen for curve in curves if curve.chosen is not None]
            zoom_to(all_axes[1], [*(one.point for one in models), *chosen], plane)
        for axes in all_axes:
            draw_fronts(axes, models, curves, plane)
        labelled = 0 < len(whole) <= _LABELLED
        notes = ["Bars: 95% intervals. Large, black rim: operating point chosen on validation."]
        notes += ["Numbers: strengths."] * labelled
        notes += [kept_note(curves, names), prompt_note(curves)]
        draw_legend(figure, all_axes, notes)
        if labelled:
            figure.draw_without_rendering()
            labels = strengths_of(whole, plane)
            near = apart(all_axes[1], labels)
            label_points(all_axes[1], near)
            # Each strength once: at the larger scale where it is in view there.
            far = [one for one in labels if not _contains(all_axes[1], one[1])]
            label_points(all_axes[0], apart(all_axes[0], far))
    return figure


def _contains(axes: Axes, place: tuple[float, float]) -> bool:
    return bool(axes.viewLim.contains(*place))


def _whole(
    curves: Sequence[Curve], models: Sequence[Uncalibrated], plane: Plane
) -> list[Curve]:
    """The curves drawn in full: all of a few, and of many those that reach the front first, then
    those that gain the largest area."""
    able = [curve for curve in curves if not curve.prompt_only]
    if len(able) <= _CURVES:
        return able
    fronts = [point for model in models for point in front_of(model, curves, plane)]

    def rank(curve: Curve) -> tuple[bool, float]:
        reaching = any(point in fronts for point in curve.points)
        return not reaching, -hypervolume(curve.points, curve.baseline, plane)

    first = sorted(able, key=rank)[:_CURVES]
    return [curve for curve in able if curve in first]
