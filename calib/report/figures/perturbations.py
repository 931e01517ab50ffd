"""The figure ``perturbations``: the effect of DUAL-Bench's perturbations (arXiv 2510.10846)."""

from collections.abc import Sequence
from math import isnan

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from calib.config.choices import PERTURBATIONS
from calib.report.figures.io import COLUMN_INCHES, NotDrawn, figure_style
from calib.report.figures.operating_points import (
    ChosenSetting,
    measured,
    select_methods,
    setting_names,
    settings_by_model,
)
from calib.report.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    VERMILION,
    draw_legend,
    short_name,
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
"""Colour, marker and filling of the first, second ... setting."""
_MOST = 3
"""Maximum number of methods besides the uncalibrated model that can be distinguished."""
_PER_ROW = {1: 2, 2: 4}
"""Number of metrics side by side in a figure of one and of two columns."""


def draw(
    runs: Sequence[Run],
    columns: int,
    split: str = "test",
    methods: Sequence[str] | None = None,
) -> Figure:
    """Draw the change of each dual-use metric from original to perturbed pictures.

    Changes have paired 95% intervals. Shown are the uncalibrated model and each of ``methods`` at
    its operating point; None draws the three methods with the highest SRA on validation, and notes
    so. Raises NotDrawn without perturbed pictures on ``split``.
    """
    models = {
        model: select_methods([s for s in settings if _variants(s)], _MOST, methods)
        for model, settings in settings_by_model(runs, split).items()
        if any(map(_variants, settings))
    }
    if not models:
        raise NotDrawn(
            "missing-value",
            f"These runs have no perturbed dual-use pictures on the {split} split. Run calib.sweep "
            "with data=dualbench, whose test split has them.",
        )
    with figure_style():
        wide = _PER_ROW[columns]
        bands = -(-len(DUAL_USE_METRICS) // wide)
        rows = max(len(_panel_rows(settings)) for settings, _ in models.values())
        most = max(len(settings) for settings, _ in models.values())
        band = 0.42 + 0.12 * (len(models) > 1) + rows * (0.07 + 0.075 * most)
        height = 0.6 + len(models) * bands * band
        figure = Figure(figsize=(COLUMN_INCHES[columns], height), layout="constrained")
        write_title(figure, f"Changes under perturbations, {split} split", list(models))
        grid = figure.subplots(len(models) * bands, wide, squeeze=False, sharex=True)
        for row, (model, (settings, _)) in enumerate(models.items()):
            panels = list(grid[row * bands : (row + 1) * bands].flat)
            for axes, metric in zip(panels, DUAL_USE_METRICS, strict=False):
                _draw_panel(axes, settings, metric)
                name = f"{short_name(model, 18)}\n" if len(models) > 1 else ""
                axes.set_title(f"{name}{axes.get_title()}", fontsize=7)
            for axes in panels[len(DUAL_USE_METRICS) :]:
                axes.remove()
            for k, axes in enumerate(panels[: len(DUAL_USE_METRICS)]):
                axes.tick_params(
                    labelleft=k % wide == 0, labelbottom=k + wide >= len(DUAL_USE_METRICS)
                )
        notes = [
            "Change from the same pictures unperturbed, in percentage points, with paired 95% "
            "intervals; n: responses to perturbed pictures."
        ]
        draw_legend(figure, figure.axes, [*notes, *(note for _, note in models.values())])
    return figure


def _variants(setting: ChosenSetting) -> list[str]:
    """Return the perturbations that were measured, in the paper's order."""
    variants = {v for (dataset, v, _, metric), rate in setting.rates.items()
             if dataset == "dual_use" and metric.startswith("change_") and rate.n}  # fmt: skip
    return [variant for variant in PERTURBATIONS if variant in variants]


def _panel_rows(settings: Sequence[ChosenSetting]) -> list[str]:
    variants = {variant for setting in settings for variant in _variants(setting)}
    return [variant for variant in PERTURBATIONS if variant in variants]


def _draw_panel(axes: Axes, settings: Sequence[ChosenSetting], metric: str) -> None:
    rows = _panel_rows(settings)
    counts = set()
    thick = 0.75 / len(settings)
    for k, (setting, name) in enumerate(zip(settings, setting_names(settings, 18), strict=True)):
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


def _change(setting: ChosenSetting, variant: str, metric: str) -> Interval | None:
    return measured(setting.rates.get(("dual_use", variant, ALL, f"change_{metric}")))
