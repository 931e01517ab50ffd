"""The figure of the two sides of SRA: which of the two errors a method pays with.

SRA_s against SRA_u (after Figure 1 of VSCBench, arXiv 2505.20362): an arrow leads from each
uncalibrated model to each of its methods at the operating point. Above the rising line a model is
oversafe rather than undersafe, below it undersafe rather than oversafe; along the falling line one
side is traded for the other.
"""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from calib.report.figures.curves import (
    Uncalibrated,
    curves_of,
    kept_note,
    names_of,
    prompt_note,
    uncalibrated_of,
)
from calib.report.figures.io import COLUMN_INCHES, NotDrawn, own_style
from calib.report.figures.plane import (
    draw_curve,
    draw_setting,
    draw_uncalibrated,
    looks_of,
    name_axes,
)
from calib.report.figures.style import draw_legend, shown_name, write_title
from calib.runs.run import Run
from calib.scoring.tradeoff import Point, coordinates_of, sra_s_and_sra_u


def draw(runs: Sequence[Run], columns: int, split: str = "test") -> Figure:
    """Uncalibrated models and methods of ``runs`` on ``split``; a prompt-only method is there also
    where it was no better. Raises NotDrawn for a run that lacks SRA or one of its sides there."""
    models = uncalibrated_of(runs, split)
    curves = curves_of(runs, split)
    if not all(one.point.sra_u.n and one.point.sra_s.n for one in models):
        raise NotDrawn(
            "sra_plane has SRA_s on one axis and SRA_u on the other, and a run measured only one "
            "of them. Run calib.sweep with safe and unsafe queries."
        )
    plane = sra_s_and_sra_u
    with own_style():
        width = COLUMN_INCHES[columns]
        figure = Figure(figsize=(width, 3.5 if columns == 2 else width + 0.3), layout="compressed")
        axes = figure.subplots()
        write_title(figure, f"Unsafe against safe queries, {shown_name(split, 20)} split",
                    list(dict.fromkeys(one.model for one in models)))  # fmt: skip
        names = names_of(curves, layers=columns == 2 and len(curves) <= 8)
        for curve, name, look in zip(curves, names, looks_of(curves), strict=True):
            if curve.chosen is not None:
                draw_setting(axes, curve.chosen, look, plane, name)
                _draw_arrow(axes, curve.baseline, curve.chosen, look["color"])
            elif curve.prompt_only:
                draw_curve(axes, curve, look, plane, name)
        draw_uncalibrated(axes, models, plane)
        name_axes(axes, plane)
        _draw_lines(axes, models)
        notes = ["Bars: 95% intervals. Arrows: from the uncalibrated model to the operating point."]
        notes += [kept_note(curves, names), prompt_note(curves)]
        draw_legend(figure, [axes], notes, beside=columns == 2)
    return figure


def _draw_arrow(axes: Axes, before: Point, after: Point, colour: str) -> None:
    axes.annotate("", coordinates_of(after, sra_s_and_sra_u), coordinates_of(before, sra_s_and_sra_u),
                  zorder=2.5, arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 0.9,
                                          "alpha": 0.8, "shrinkA": 5, "shrinkB": 4})  # fmt: skip


def _draw_lines(axes: Axes, models: Sequence[Uncalibrated]) -> None:
    """Square limits with the ideal corner, where both are equal, and, of one model, its SRA."""
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
