"""The figure ``categories``: both sides of safety by hazard category, before and after."""

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from calib.report.figures.io import COLUMN_INCHES, NotDrawn, figure_style
from calib.report.figures.method_styles import method_style
from calib.report.figures.operating_points import (
    ChosenSetting,
    measured,
    select_methods,
    setting_names,
    settings_by_model,
)
from calib.report.figures.style import draw_legend, rows_of_panels, short_name, write_title
from calib.runs.run import Run
from calib.scoring.intervals import Interval
from calib.scoring.metrics import shown_names
from calib.scoring.results import ALL, BASELINE

_PARTS = {
    "image_centric": ("image-centric", shown_names("categories", "queries")),
    "text_centric": ("text-centric", shown_names("categories", "queries")),
    "dual_use": ("dual-use", shown_names("categories", "dual_use")),
}
"""Name of each part, and the rates of its unsafe and its safe side."""
_HATCHES = ("", "////", "....", "xxxx")
"""Hatch of the first, second ... bar; its colour is its method's, white for uncalibrated."""
_OPACITY = 0.6
"""Opacity of bars, so that intervals in black are visible on each of them."""
_MOST = 3
"""Maximum number of methods besides the uncalibrated model whose bars can be distinguished."""


class _Panel(NamedTuple):
    model: str
    part: str
    metric: str
    settings: list[ChosenSetting]
    categories: list[str]
    """Categories from top to bottom."""


def draw(
    runs: Sequence[Run],
    columns: int,
    split: str = "test",
    methods: Sequence[str] | None = None,
) -> Figure:
    """Draw the rates of unsafe and safe queries in each category, with 95% intervals.

    Bars are the uncalibrated model and each of ``methods`` at its operating point; None draws the
    three methods with the highest SRA on validation, and notes so. Categories are ordered by the
    uncalibrated model's rates, the lowest first. Raises NotDrawn without results by category on
    ``split``.
    """
    models = {
        model: select_methods(settings, _MOST, methods)
        for model, settings in settings_by_model(runs, split).items()
    }
    rows = [
        row
        for model, (settings, _) in models.items()
        for part, (_, metrics) in _PARTS.items()
        if (row := _row(model, part, metrics, settings))
    ]
    if not rows:
        raise NotDrawn(
            "missing-value",
            f"These runs have no results by category on the {split} split. Run calib.sweep on data "
            "whose examples have a category.",
        )
    with figure_style():
        figure, panels = _panels(columns, rows)
        write_title(figure, f"Categories, {split} split", list(models))
        for row, axes_of_row in zip(rows, panels, strict=True):
            for axes, panel in zip(axes_of_row, row, strict=True):
                _draw_bars(axes, panel)
                name = f"{short_name(panel.model, 4 + 6 * columns)}: " if len(models) > 1 else ""
                axes.set_title(f"{name}{_PARTS[panel.part][0]}, {panel.metric}", fontsize=7)
            _name_rows(axes_of_row, row, columns)
        notes = ["Lines: 95% intervals. In brackets: n of each bar."]
        notes += dict.fromkeys(note for _, note in models.values())
        draw_legend(figure, figure.axes, notes)
    return figure


def _row(
    model: str, part: str, metrics: Sequence[str], settings: Sequence[ChosenSetting]
) -> list[_Panel]:
    """Return the panels of one part of one model: both sides, or the one that was measured."""
    own = [s for s in settings if s.total(part, metrics[0]) or s.total(part, metrics[1])]
    rates: dict[str, dict[str, float]] = {}
    for (dataset, variant, category, metric), rate in own[0].rates.items() if own else ():
        shown = (dataset, variant) == (part, ALL) and category != ALL and metric in metrics
        if shown and measured(rate):
            rates.setdefault(category, {})[metric] = rate.value
    order = sorted(rates, key=lambda name: (round(fmean(rates[name].values()), 9), name))
    return [
        _Panel(model, part, metric, own, [name for name in order if metric in rates[name]])
        for metric in metrics
        if any(metric in measured_rates for measured_rates in rates.values())
    ]


def _panels(columns: int, rows: Sequence[Sequence[_Panel]]) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure and the axes of each row of panels, side by side if there is room."""
    wide = max(map(len, rows)) > 1 and (columns == 2 or all(map(_share_categories, rows)))
    heights = [[_height(panel) for panel in row] for row in rows]
    return rows_of_panels(heights, wide, COLUMN_INCHES[columns], title=0.5, labels=0.5)


def _share_categories(row: Sequence[_Panel]) -> bool:
    """Whether the panels of a row have the same categories, so that one set of names is enough."""
    return all(panel.categories == row[0].categories for panel in row)


def _height(panel: _Panel) -> float:
    return len(panel.categories) * (0.06 + 0.085 * max(2, len(panel.settings)))


def _draw_bars(axes: Axes, panel: _Panel) -> None:
    thick = 0.8 / len(panel.settings)
    for k, (setting, name) in enumerate(
        zip(panel.settings, setting_names(panel.settings, 18), strict=True)
    ):
        hatch = _HATCHES[k % len(_HATCHES)]
        own = "#ffffff" if setting.method == BASELINE else method_style(setting.method).colour
        colour = to_rgba(own, _OPACITY)
        label: str | None = name
        for row, category in enumerate(panel.categories):
            rate = _rate(panel, setting, category)
            if rate is not None:
                y = row - 0.4 + (k + 0.5) * thick
                axes.barh(y, rate.value, thick, color=colour, hatch=hatch, edgecolor="0.25",
                          linewidth=0.6, label=label)  # fmt: skip
                label = None
                axes.hlines(y, rate.low, rate.high, color="black", linewidth=0.9)
    axes.set(ylim=(len(panel.categories) - 0.45, -0.55), xlim=(0, 1.02))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xticks([0, 0.5, 1])
    axes.grid(axis="y", visible=False)


def _name_rows(axes_of_row: Sequence[Axes], row: Sequence[_Panel], columns: int) -> None:
    """Name the categories, with the number of responses behind their bars."""
    shared = _share_categories(row)
    for k, (axes, panel) in enumerate(zip(axes_of_row, row, strict=True)):
        counted = row if shared else [panel]
        width = (16 if len(counted) > 1 else 20) if columns == 1 else (34 if shared else 24)
        labels = []
        for name in panel.categories:
            counts = dict.fromkeys(_counts(each, name) for each in counted)
            labels.append(f"{short_name(name, width)} ({', '.join(counts)})")
        axes.set_yticks(range(len(labels)), labels, fontsize=7)
        if shared and k:
            axes.tick_params(labelleft=False)


def _rate(panel: _Panel, setting: ChosenSetting, category: str) -> Interval | None:
    return measured(setting.rates.get((panel.part, ALL, category, panel.metric)))


def _counts(panel: _Panel, category: str) -> str:
    """Return the number of responses behind each bar, or their range if settings differ."""
    rates = [rate for s in panel.settings if (rate := _rate(panel, s, category))]
    return "-".join(str(n) for n in sorted({min(r.n for r in rates), max(r.n for r in rates)}))
