"""The figure ``methods``: several methods at their operating points and the uncalibrated model."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from calib.report.figures.curves import (
    Curve,
    curves_of,
    prompt_note,
    swept_runs,
    uncalibrated_models,
)
from calib.report.figures.io import COLUMN_INCHES, NotDrawn, figure_style
from calib.report.figures.method_styles import mark_methods, method_style
from calib.report.figures.style import RATE_STYLES, draw_legend, short_name, write_title
from calib.report.joint import joined_if_possible
from calib.report.verdict import plain_name, rate_at
from calib.runs.run import Run
from calib.scoring.tradeoff import Point

_PANELS = (("SRA",), ("SRA_u", "SRA_s"), ("utility",))
_OFFSETS = {"SRA_u": -0.15, "SRA_s": 0.15}
"""Vertical offset, in rows, of rates that share a panel."""


def draw(runs: Sequence[Run], columns: int, split: str = "test") -> Figure:
    """Draw SRA, its two sides and utility of each method, with 95% intervals.

    Several runs are drawn as one, if they have one uncalibrated model; see calib.report.joint.

    Methods are ranked by the change of SRA, as in the terminal. Dashed lines are the uncalibrated
    model; a method that kept it is drawn hollow at its rates. Raises NotDrawn for runs of different
    models or data, for fewer than two methods besides the reference, and for a run without SRA on
    ``split``.
    """
    run = _one_run(swept_runs(runs))
    runs = [run]
    curves = curves_of(runs, split)
    own = [curve for curve in curves if not curve.reference]
    if len(own) < 2:
        raise NotDrawn(
            "unsupported",
            f"The figure 'methods' compares methods; given: {len(own)} besides the reference. Give "
            "a run of several methods, such as one of experiment=all_methods, or several runs of "
            "one model.",
        )
    baseline = uncalibrated_models(runs, split)[0].point
    ranked = sorted(curves, key=_rank)
    panels = [names for names in _PANELS if names != ("utility",) or baseline.utility is not None]
    with figure_style():
        size = COLUMN_INCHES[columns], 0.8 + 0.17 * len(ranked)
        figure = Figure(figsize=size, layout="constrained")
        all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        title = f"Methods at their operating points, {short_name(split, 20)} split"
        write_title(figure, title, [run.model_name])
        for axes, names in zip(all_axes, panels, strict=True):
            for name in names:
                _draw_baseline(axes, name, baseline)
                for row, curve in enumerate(ranked):
                    kept = curve.chosen is None
                    _draw_method(axes, row, name, curve.chosen or baseline, kept)
            axes.set_title(",\n".join(plain_name(name) for name in names), fontsize=7)
            axes.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{100 * rate:.4g}%"))
            ticks = 4 if columns == 2 else 2
            axes.xaxis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 5, 10], min_n_ticks=2))
            axes.tick_params(labelsize=7)
            axes.tick_params(axis="y", left=axes is all_axes[0])
            axes.grid(axis="y", visible=False)
        row_names = [short_name(c.method, 16) + "*" * c.prompt_only for c in ranked]
        all_axes[0].set_yticks(range(len(ranked)), row_names)
        all_axes[0].set_ylim(len(ranked) - 0.4, -0.6)
        mark_methods(
            all_axes[0],
            {row: method_style(c.method, c.prompt_only) for row, c in enumerate(ranked)},
        )
        notes = ["Bars: 95% intervals. Dashed: uncalibrated."]
        if any(curve.chosen is None for curve in curves):
            notes.append("Hollow: no better than uncalibrated on validation.")
        draw_legend(figure, all_axes, [*notes, prompt_note(curves)])
    return figure


def _one_run(runs: Sequence[Run]) -> Run:
    joint, apart = joined_if_possible(runs)
    if apart:
        raise NotDrawn("unsupported", f"The figure 'methods' has one uncalibrated model. {apart}")
    return joint.run if joint else runs[0]


def _rank(curve: Curve) -> tuple[bool, float, str]:
    """Order by SRA at the operating point; methods that kept the uncalibrated model come last."""
    sra = curve.baseline.sra if curve.chosen is None else curve.chosen.sra
    return curve.chosen is None, -round(sra.value, 9), curve.method


def _draw_baseline(axes: Axes, name: str, baseline: Point) -> None:
    rate = rate_at(baseline, name)
    assert rate is not None
    axes.axvline(
        rate.value, color=RATE_STYLES[name][0], linewidth=0.9, linestyle=(0, (3, 2)), zorder=1
    )


def _draw_method(axes: Axes, row: int, name: str, point: Point, kept: bool) -> None:
    colour, marker, _ = RATE_STYLES[name]
    rate = rate_at(point, name)
    assert rate is not None
    y = row + _OFFSETS.get(name, 0.0)
    axes.hlines(y, rate.low, rate.high, color=colour, linewidth=1.0, zorder=2)
    axes.plot(
        rate.value, y, marker=marker, color=colour, linestyle="none", zorder=3,
        markerfacecolor="white" if kept else colour,
    )  # fmt: skip
    if row == 0:  # filled in the legend, even if the first method is drawn hollow
        axes.plot([], [], marker=marker, color=colour, linestyle="none", label=plain_name(name))
