"""The figure of several methods: each at its operating point, side by side with the uncalibrated
model."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from calib.report.comparison import area_of
from calib.report.figures.curves import curves_of, prompt_note, swept, uncalibrated_of
from calib.report.figures.io import COLUMN_INCHES, NotDrawn, own_style
from calib.report.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    VERMILION,
    draw_legend,
    shown_name,
    write_title,
)
from calib.runs.run import Run
from calib.scoring.intervals import Interval
from calib.scoring.tradeoff import Point, points_of

_MARKS = {
    "SRA": (BLACK, "D", 0.0),
    "SRA_u": (VERMILION, "o", -0.15),
    "SRA_s": (BLUE, "s", 0.15),
    "utility": (GREEN, "^", 0.0),
}
"""Colour, marker and vertical offset of each rate."""
_PANELS = (("SRA",), ("SRA_u", "SRA_s"), ("utility",))


def draw(runs: Sequence[Run], columns: int, split: str = "test") -> Figure:
    """SRA, its two sides and utility of each method of one run on ``split``, with 95% intervals.

    Ranked by hypervolume, as the table is. Dashed lines are the uncalibrated model; a method that
    was no better than that on validation stands on them, hollow. Raises NotDrawn for several runs,
    for fewer than two methods beside the reference, and for a run without SRA there.
    """
    run, *more = swept(runs)
    curves = curves_of(runs, split)
    own = [curve for curve in curves if not curve.reference]
    if more or len(own) < 2:
        raise NotDrawn(
            f"methods ranks the methods of one run, and here are {1 + len(more)} run(s) with "
            f"{len(own)} method(s) in all. Give one run of several methods, as those of "
            "experiment=all_methods are, or draw calibration_against_utility."
        )
    baseline = uncalibrated_of(runs, split)[0].point
    points = points_of(run.results, split)
    area = {c.method: area_of(points, baseline, c.method, c.layer) for c in curves}
    ranked = sorted(curves, key=lambda curve: (-round(area[curve.method], 9), curve.method))
    panels = [names for names in _PANELS if names != ("utility",) or baseline.utility is not None]
    with own_style():
        size = COLUMN_INCHES[columns], 0.8 + 0.17 * len(ranked)
        figure = Figure(figsize=size, layout="constrained")
        all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        text = f"Methods at their operating points, {shown_name(split, 20)} split"
        write_title(figure, text, [run.checkpoint])
        for axes, names in zip(all_axes, panels, strict=True):
            for name in names:
                axes.axvline(
                    _rate(baseline, name).value, color=_MARKS[name][0], linewidth=0.9,
                    linestyle=(0, (3, 2)), zorder=1,
                )  # fmt: skip
                for row, curve in enumerate(ranked):
                    point = curve.chosen
                    _draw(axes, row, name, point or baseline, kept=point is None)
            axes.set_title(f"{names[0]}, {names[1]}" if len(names) > 1 else names[0])
            axes.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{100 * rate:.4g}%"))
            steps = 4 if columns == 2 else 2
            axes.xaxis.set_major_locator(MaxNLocator(steps, steps=[1, 2, 5, 10], min_n_ticks=2))
            axes.tick_params(labelsize=7)
            axes.tick_params(axis="y", left=axes is all_axes[0])
            axes.grid(axis="y", visible=False)
        shown = [shown_name(c.method, 16) + "*" * c.prompt_only for c in ranked]
        all_axes[0].set_yticks(range(len(ranked)), shown)
        all_axes[0].set_ylim(len(ranked) - 0.4, -0.6)
        notes = ["Bars: 95% intervals. Dashed: uncalibrated."]
        kept = any(curve.chosen is None for curve in curves)
        notes += ["Hollow: no better than uncalibrated on validation."] * kept
        draw_legend(figure, all_axes, [*notes, prompt_note(curves)])
    return figure


def _draw(axes: Axes, row: int, name: str, point: Point, kept: bool) -> None:
    colour, marker, offset = _MARKS[name]
    value, low, high = _rate(point, name)[:3]
    axes.hlines(row + offset, low, high, color=colour, linewidth=1.0, zorder=2)
    axes.plot(
        value, row + offset, marker=marker, color=colour, linestyle="none", zorder=3,
        markerfacecolor="white" if kept else colour,
    )  # fmt: skip
    if row == 0:  # the legend says what a marker is, whatever the first method does
        axes.plot([], [], marker=marker, color=colour, linestyle="none", label=name)


def _rate(point: Point, name: str) -> Interval:
    rates = {
        "SRA": point.sra, "SRA_u": point.sra_u, "SRA_s": point.sra_s, "utility": point.utility,
    }  # fmt: skip
    found = rates[name]
    assert found is not None, "drawn only where utility was measured"
    return found
