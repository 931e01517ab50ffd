"""The figure of DUAL-Bench's perturbations (arXiv 2510.10846): what they change in each metric."""

from collections.abc import Sequence
from math import isnan

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from calib.config.choices import PERTURBATIONS
from calib.report.figures.io import COLUMN_INCHES, NotDrawn, own_style
from calib.report.figures.operating_points import Chosen, by_model, measured, names, picked
from calib.report.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    VERMILION,
    draw_legend,
    shown_name,
    write_title,
)
from calib.report.terminal_tables import DUAL_USE_METRICS
from calib.runs.run import Run
from calib.scoring.intervals import Interval
from calib.scoring.results import ALL

_MARKS = (
    (BLACK, "o", "white"),
    (VERMILION, "D", VERMILION),
    (BLUE, "s", BLUE),
    (GREEN, "^", GREEN),
)
"""Colour, marker and its filling of the first, second ... setting."""
_MOST = 3
"""Methods beside the uncalibrated model that are still told apart."""
_IN_A_ROW = {1: 2, 2: 4}
"""Metrics side by side in a figure of one and of two columns."""


def draw(
    runs: Sequence[Run],
    columns: int,
    split: str = "test",
    methods: Sequence[str] | None = None,
) -> Figure:
    """The change of each dual-use metric from original pictures to the same ones perturbed, with
    paired intervals: of the uncalibrated model and of each method at its operating point.

    ``methods`` names those that are drawn; without it they are the three best on validation, as the
    figure then says. Raises NotDrawn when no perturbed pictures were measured on ``split``.
    """
    models = {
        model: picked([one for one in found if _variants(one)], _MOST, methods)
        for model, found in by_model(runs, split).items()
        if any(map(_variants, found))
    }
    if not models:
        raise NotDrawn(
            f"These runs have no perturbed dual-use pictures on the {split} split. Run calib.sweep "
            "data=dualbench, whose test split has them."
        )
    with own_style():
        wide = _IN_A_ROW[columns]
        bands = -(-len(DUAL_USE_METRICS) // wide)
        rows = max(len(_panel_rows(settings)) for settings, _ in models.values())
        most = max(len(settings) for settings, _ in models.values())
        band = 0.42 + 0.12 * (len(models) > 1) + rows * (0.07 + 0.075 * most)
        height = 0.6 + len(models) * bands * band
        figure = Figure(figsize=(COLUMN_INCHES[columns], height), layout="constrained")
        write_title(figure, f"Changes under perturbations, {split} split", list(models))
        grid = figure.subplots(len(models) * bands, wide, squeeze=False, sharex=True)
        for k, (model, (settings, _)) in enumerate(models.items()):
            panels = list(grid[k * bands : (k + 1) * bands].flat)
            for axes, metric in zip(panels, DUAL_USE_METRICS, strict=False):
                _draw_panel(axes, settings, metric)
                name = f"{shown_name(model, 18)}\n" if len(models) > 1 else ""
                axes.set_title(f"{name}{axes.get_title()}", fontsize=7)
            for axes in panels[len(DUAL_USE_METRICS) :]:
                axes.remove()
            for at, axes in enumerate(panels[: len(DUAL_USE_METRICS)]):
                axes.tick_params(
                    labelleft=at % wide == 0, labelbottom=at + wide >= len(DUAL_USE_METRICS)
                )
        notes = [
            "Change from the same pictures unperturbed, in percentage points, with its paired 95% "
            "interval; n: perturbed responses."
        ]
        draw_legend(figure, figure.axes, [*notes, *(note for _, note in models.values())])
    return figure


def _variants(setting: Chosen) -> list[str]:
    """The perturbations that were measured, in the paper's order."""
    found = {v for (dataset, v, _, metric), rate in setting.rates.items()
             if dataset == "dual_use" and metric.startswith("change_") and rate.n}  # fmt: skip
    return [variant for variant in PERTURBATIONS if variant in found]


def _panel_rows(settings: Sequence[Chosen]) -> list[str]:
    measured_by_any = {variant for one in settings for variant in _variants(one)}
    return [variant for variant in PERTURBATIONS if variant in measured_by_any]


def _draw_panel(axes: Axes, settings: Sequence[Chosen], metric: str) -> None:
    rows = _panel_rows(settings)
    counts = set()
    thick = 0.75 / len(settings)
    for k, (setting, name) in enumerate(zip(settings, names(settings, 18), strict=True)):
        colour, marker, filling = _MARKS[k % len(_MARKS)]
        for row, variant in enumerate(rows):
            change = _change(setting, variant, metric)
            if change is None:
                continue
            counts.add(change.n)
            y = row + (k - (len(settings) - 1) / 2) * thick
            if not isnan(change.low):
                axes.hlines(y, change.low, change.high, color=colour, linewidth=1)
            axes.plot(change.value, y, color=colour, marker=marker, markerfacecolor=filling,
                      markersize=3.5, linestyle="none")  # fmt: skip
        axes.plot([], [], color=colour, marker=marker, markerfacecolor=filling, linestyle="none",
                  markersize=3.5, label=name)  # fmt: skip
    axes.axvline(0, color="0.35", linewidth=0.8, zorder=1)
    n = "-".join(str(n) for n in sorted({min(counts), max(counts)})) if counts else "0"
    axes.set_title(f"{metric} (n = {n})")
    axes.set_yticks(range(len(rows)), [row.replace("_", " ") for row in rows], fontsize=7)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10], symmetric=True))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{100 * value:+z.0f}" if value else "0")
    )
    axes.tick_params(axis="x", labelsize=7)
    axes.grid(axis="y", visible=False)


def _change(setting: Chosen, variant: str, metric: str) -> Interval | None:
    return measured(setting.rates.get(("dual_use", variant, ALL, f"change_{metric}")))
