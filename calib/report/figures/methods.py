"""The figure of several methods: each at its operating point, side by side with the uncalibrated
model."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from calib.errors import CalibError
from calib.report.comparison import area_of
from calib.report.figures.drawing import own_style, save
from calib.report.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    VERMILION,
    draw_legend,
    shown_name,
    write_title,
)
from calib.scoring.intervals import Interval
from calib.scoring.results import RunResults
from calib.scoring.tradeoff import Point, baseline_of, points_of

Places = Mapping[str, tuple[int | None, float]]
"""Layer and strength of each method's operating point; the baseline's where none was better."""

_MARKS = {
    "SRA": (BLACK, "D", 0.0),
    "SRA_u": (VERMILION, "o", -0.15),
    "SRA_s": (BLUE, "s", 0.15),
    "utility": (GREEN, "^", 0.0),
}
"""Colour, marker and vertical offset of each rate."""
_PANELS = (("SRA",), ("SRA_u", "SRA_s"), ("utility",))


def methods_figure(
    run: RunResults, chosen: Places, layers: Mapping[str, int | None], out_stem: Path,
    split: str = "test",
) -> list[Path]:  # fmt: skip
    """SRA, its two sides and utility of each method on ``split``, with 95% intervals.

    Ranked by hypervolume at ``layers``, as the table is. Dashed lines are the uncalibrated model; a
    method that was no better than that on validation stands on them, hollow. Writes OUT_STEM.png
    and OUT_STEM.pdf and returns their paths. Raises CalibError for a run without SRA there.
    """
    points = points_of(run.results, split)
    if not points:
        raise CalibError(f"Run '{run.run}' has no SRA on split '{split}' to draw.")
    baseline = baseline_of(points)
    areas = {name: area_of(points, baseline, name, layers[name]) for name in chosen}
    ranked = sorted(chosen, key=lambda name: (-round(areas[name], 9), name))
    at = {(p.method, p.layer, p.strength): p for p in points}
    panels = [names for names in _PANELS if names != ("utility",) or baseline.utility is not None]
    with own_style():
        figure = Figure(figsize=(7.0, 1.5 + 0.23 * len(ranked)), layout="constrained")
        all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        write_title(figure, f"Methods at their operating points, {split} split", [run.model])
        for axes, names in zip(all_axes, panels, strict=True):
            for name in names:
                axes.axvline(
                    _rate(baseline, name).value, color=_MARKS[name][0], linewidth=0.9,
                    linestyle=(0, (3, 2)), zorder=1,
                )  # fmt: skip
                for row, method in enumerate(ranked):
                    point = at.get((method, *chosen[method]))
                    _draw(axes, row, name, point or baseline, kept=point is None)
            axes.set_title(" and ".join(names))
            axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
            axes.grid(axis="y", visible=False)
        all_axes[0].set_yticks(range(len(ranked)), [shown_name(name, 20) for name in ranked])
        all_axes[0].set_ylim(len(ranked) - 0.4, -0.6)
        draw_legend(figure, numbers=False)
        return save(figure, out_stem)


def _draw(axes: Axes, row: int, name: str, point: Point, kept: bool) -> None:
    colour, marker, offset = _MARKS[name]
    value, low, high = _rate(point, name)[:3]
    axes.hlines(row + offset, low, high, color=colour, linewidth=1.0, zorder=2)
    axes.plot(
        value, row + offset, marker=marker, color=colour, linestyle="none", zorder=3,
        markerfacecolor="white" if kept else colour, label=name if row == 0 else None,
    )  # fmt: skip


def _rate(point: Point, name: str) -> Interval:
    rates = {
        "SRA": point.sra, "SRA_u": point.sra_u, "SRA_s": point.sra_s, "utility": point.utility,
    }  # fmt: skip
    found = rates[name]
    assert found is not None, "drawn only where utility was measured"
    return found
