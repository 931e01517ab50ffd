"""The figure ``sra_plane``: SRA_u against SRA_s, after Figure 1 of VSCBench (arXiv 2505.20362).

An arrow leads from each uncalibrated model to each of its methods at the operating point. Above the
rising line a model is more oversafe than undersafe, below it the reverse. Along the falling line
one kind of error is traded for the other at equal SRA.
"""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from calib.report.figures.curves import (
    UncalibratedModel,
    curve_names,
    curves_of,
    kept_note,
    prompt_note,
    uncalibrated_models,
)
from calib.report.figures.io import COLUMN_INCHES, NotDrawn, figure_style
from calib.report.figures.plane import (
    curve_styles,
    draw_setting,
    draw_uncalibrated,
    label_axes,
)
from calib.report.figures.style import draw_legend, short_name, write_title
from calib.runs.run import Run
from calib.scoring.tradeoff import Point, coordinates_of, sra_s_and_sra_u


def draw(runs: Sequence[Run], columns: int, split: str = "test") -> Figure:
    """Draw the uncalibrated models and the operating points of ``runs`` on ``split``.

    Prompt-only methods that kept the uncalibrated model are drawn at their weakest setting. Raises
    NotDrawn for a run that lacks SRA or one of its sides on ``split``.
    """
    models = uncalibrated_models(runs, split)
    curves = curves_of(runs, split)
    if not all(each.point.sra_u.n and each.point.sra_s.n for each in models):
        raise NotDrawn(
            "missing-value",
            "The figure 'sra_plane' needs SRA_u and SRA_s, and a run measured only one of them. "
            "Run calib.sweep with safe and unsafe queries.",
        )
    plane = sra_s_and_sra_u
    with figure_style():
        width = COLUMN_INCHES[columns]
        figure = Figure(figsize=(width, 3.5 if columns == 2 else width + 0.3), layout="compressed")
        axes = figure.subplots()
        write_title(figure, f"Unsafe against safe queries, {short_name(split, 20)} split",
                    list(dict.fromkeys(each.model for each in models)))  # fmt: skip
        names = curve_names(curves, layers=columns == 2 and len(curves) <= 8)
        for curve, name, style in zip(curves, names, curve_styles(curves), strict=True):
            if curve.chosen is not None:
                draw_setting(axes, curve.chosen, style, plane, name)
                _draw_arrow(axes, curve.baseline, curve.chosen, style["color"])
            elif curve.prompt_only:
                draw_setting(axes, curve.weakest, style, plane, name, large=False)
        draw_uncalibrated(axes, models, plane)
        label_axes(axes, plane)
        _draw_lines(axes, models)
        notes = ["Bars: 95% intervals."]
        if any(curve.chosen is not None for curve in curves):
            notes[0] += " Arrows: from the uncalibrated model to the operating point."
        if curves:
            notes += [kept_note(curves, names), prompt_note(curves)]
        draw_legend(figure, [axes], notes, beside=columns == 2)
    return figure


def _draw_arrow(axes: Axes, before: Point, after: Point, colour: str) -> None:
    start, end = (coordinates_of(point, sra_s_and_sra_u) for point in (before, after))
    axes.annotate("", end, start, zorder=2.5,
                  arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 0.9,
                                          "alpha": 0.8, "shrinkA": 5, "shrinkB": 4})  # fmt: skip


def _draw_lines(axes: Axes, models: Sequence[UncalibratedModel]) -> None:
    """Set square limits; draw the ideal corner, equal rates and, for one model, equal SRA."""
    lowest = min(axes.get_xlim()[0], axes.get_ylim()[0])
    low = max(-0.04, math.floor(20 * lowest) / 20)
    axes.set(xlim=(low, 1.04), ylim=(low, 1.04), aspect="equal")
    axes.plot([low, 1], [low, 1], color="0.6", linewidth=0.8, zorder=1, label="SRA_u = SRA_s")
    if len(models) == 1:
        total = models[0].point.sra_u.value + models[0].point.sra_s.value
        ends = np.array([max(low, total - 1), min(1.0, total - low)])
        axes.plot(ends, total - ends, color="0.6", linewidth=0.8, linestyle=(0, (4, 2)), zorder=1,
                  label="SRA as uncalibrated")  # fmt: skip
    axes.plot([1], [1], marker="o", markersize=9, markerfacecolor="none", markeredgecolor="0.3",
              linestyle="none", zorder=1, clip_on=False)  # fmt: skip
    axes.plot([1], [1], marker="+", markersize=9, color="0.3", linestyle="none", zorder=1,
              label="ideal")  # fmt: skip
