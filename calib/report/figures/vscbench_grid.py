"""The figure ``vscbench_grid``: calibration and helpfulness of one or several models.

The layout of several models follows Figure 5 of VSCBench (arXiv 2505.20362): one column per model,
calibration by dataset above, helpfulness below. A single model has both side by side, which leaves
room for the names of its methods once.
"""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from calib.report.figures.io import COLUMN_INCHES, NotDrawn, figure_style
from calib.report.figures.method_styles import MethodStyle, mark_methods, method_style
from calib.report.figures.operating_points import ChosenSetting, setting_names, settings_by_model
from calib.report.figures.style import (
    BLUE,
    GREEN,
    PURPLE,
    VERMILION,
    draw_legend,
    short_name,
    write_title,
)
from calib.report.verdict import RATES
from calib.runs.run import Run
from calib.scoring.intervals import Interval
from calib.scoring.results import ALL, BASELINE


class _Rate(NamedTuple):
    name: str
    dataset: str
    metrics: tuple[str, ...]
    """Candidates; the first that was measured is drawn."""
    colour: str
    marker: str


_SRA = ("SRA", "SRA_u", "SRA_s")
"""SRA, or the one side that a benchmark has."""
_PARTS = (
    _Rate("image-centric", "image_centric", _SRA, VERMILION, "o"),
    _Rate("text-centric", "text_centric", _SRA, BLUE, "s"),
)
_DUAL_USE = (_Rate("dual-use", ALL, _SRA, PURPLE, "D"),)
_UTILITY = (_Rate(RATES["utility"], "utility", ("utility",), GREEN, "^"),)
_SAFE_ANSWERED = (_Rate(f"{RATES['SRA_s']} (SRA_s)", ALL, ("SRA_s",), GREEN, "v"),)
_PER_ROW = {1: 2, 2: 4}
"""Number of models side by side in a figure of one and of two columns."""
_MIN_SPAN = 0.2
"""Smallest range of rates that a panel covers, so that small differences look small."""
_DASHED = (0, (3, 2))
_LINES = "Bars: 95% intervals. Dashed lines: the uncalibrated model."
_HOLLOW = "Hollow: no setting was better on validation; the uncalibrated model was kept."


def draw(runs: Sequence[Run], columns: int, split: str = "test") -> Figure:
    """Draw SRA by dataset and utility of each method at its operating point, by model.

    SRA_s is drawn in place of utility for a model whose utility was not measured. Dashed lines are
    the uncalibrated model, hollow markers are methods that kept it. Raises NotDrawn without SRA on
    ``split``.
    """
    models = settings_by_model(runs, split)
    all_settings = [setting for settings in models.values() for setting in settings]
    if not any(setting.total(ALL, metric) for setting in all_settings for metric in _SRA):
        raise NotDrawn(
            "missing-value",
            f"These runs have no SRA on the {split} split. Run calib.sweep with data that has safe "
            "or unsafe queries.",
        )
    width = 20 if columns == 1 else 28
    labels = {model: setting_names(settings, width) for model, settings in models.items()}
    rows = list(dict.fromkeys(name for names in labels.values() for name in names))
    wide = min(_PER_ROW[columns], len(models))
    title_width = _PER_ROW[columns] * (15 if columns == 1 else 20) // wide
    with figure_style():
        figure, panels = _panels(columns, len(models), len(rows))
        subtitle = list(models) if len(models) == 1 else [f"{len(models)} models"]
        write_title(figure, f"Calibration and helpfulness, {split} split", subtitle)
        for (model, settings), (above, below) in zip(models.items(), panels, strict=True):
            by_row = [
                (rows.index(name), setting)
                for name, setting in zip(labels[model], settings, strict=True)
            ]
            _draw_panel(above, by_row, _parts(settings), "SRA")
            _draw_panel(below, by_row, *_helpfulness(settings))
            if len(models) > 1:
                above.set_title(short_name(model, title_width), fontsize=7)
        for side in zip(*panels, strict=True):
            _share_rates(side, 2 if columns == 1 and len(models) > 1 else 3)
        first = panels[0][0]
        first.set_yticks(range(len(rows)), rows, fontsize=7)
        first.set_ylim(len(rows) - 0.4, -0.6)
        named = [
            (rows.index(name), setting.method)
            for model, settings in models.items()
            for name, setting in zip(labels[model], settings, strict=True)
        ]
        styles: dict[float, MethodStyle] = {
            k: method_style(name) for k, name in named if name != BASELINE
        }
        for axes in [first] if len(models) == 1 else [a for pair in panels[::wide] for a in pair]:
            mark_methods(axes, styles)
        kept = any(setting.kept for setting in all_settings)
        draw_legend(figure, figure.axes, notes=[_LINES, _HOLLOW if kept else ""])
    return figure


def _panels(columns: int, models: int, rows: int) -> tuple[Figure, list[tuple[Axes, Axes]]]:
    """Return a figure and two axes per model, one above the other; side by side for one model."""
    wide = min(_PER_ROW[columns], models)
    bands = -(-models // wide)
    high = 1 if models == 1 else 2 * bands
    size = (COLUMN_INCHES[columns], 0.4 + high * (0.6 + 0.165 * rows))
    figure = Figure(figsize=size, layout="constrained")
    if models == 1:
        left, right = figure.subplots(1, 2, sharey=True)
        return figure, [(left, right)]
    grid = figure.subplots(high, wide, squeeze=False, sharey=True)
    for unused in grid[-2:, (models - 1) % wide + 1 :].flat:
        unused.remove()
    return figure, [tuple(grid[k // wide * 2 : k // wide * 2 + 2, k % wide]) for k in range(models)]


def _share_rates(panels: Sequence[Axes], most_ticks: int) -> None:
    """Give all ``panels`` the same limits, which cover at least _MIN_SPAN."""
    spans = [axes.dataLim.intervalx for axes in panels if axes.has_data()]
    low = min((span[0] for span in spans), default=0.0)
    high = max((span[1] for span in spans), default=1.0)
    room = max(0.0, _MIN_SPAN - (high - low)) / 2
    low, high = max(0.0, low - room), min(1.0, high + room)
    for axes in panels:
        axes.set_xlim(low - 0.03, high + 0.03)
        axes.xaxis.set_major_locator(MaxNLocator(most_ticks, steps=[1, 2, 5, 10]))


def _parts(settings: Sequence[ChosenSetting]) -> list[_Rate]:
    return [
        rate
        for rate in (*_PARTS, *_DUAL_USE)
        if any(_rate_of(setting, rate) for setting in settings)
    ]


def _helpfulness(settings: Sequence[ChosenSetting]) -> tuple[tuple[_Rate, ...], str]:
    measured = [_rate_of(setting, _UTILITY[0]) is not None for setting in settings]
    if all(measured):
        return _UTILITY, "utility"
    return _SAFE_ANSWERED, "SRA_s: no utility" if not any(
        measured
    ) else "SRA_s: utility of some only"


def _rate_of(setting: ChosenSetting, rate: _Rate) -> Interval | None:
    if rate in _DUAL_USE and any(_rate_of(setting, part) for part in _PARTS):
        return None  # the total is over the other parts then, not over dual-use pictures
    totals = (setting.total(rate.dataset, metric) for metric in rate.metrics)
    return next((total for total in totals if total is not None), None)


def _draw_panel(
    axes: Axes, settings: Sequence[tuple[int, ChosenSetting]], rates: Sequence[_Rate], title: str
) -> None:
    """Draw the rates of each setting in its row, with intervals; ``title`` goes below."""
    counts = set()
    for k, rate in enumerate(rates):
        offset = 0.3 * (k - (len(rates) - 1) / 2)
        for row, setting in settings:
            interval = _rate_of(setting, rate)
            if interval is None:
                continue
            counts.add(interval.n)
            axes.hlines(row + offset, interval.low, interval.high, color=rate.colour, linewidth=1)
            axes.plot(interval.value, row + offset, color=rate.colour, marker=rate.marker,
                      markerfacecolor="white" if setting.kept else rate.colour,
                      linestyle="none", label="_")  # fmt: skip
            if setting.method == BASELINE:
                axes.axvline(interval.value, color=rate.colour, linewidth=0.8,
                             linestyle=_DASHED, zorder=1)  # fmt: skip
        if counts:
            axes.plot([], [], color=rate.colour, marker=rate.marker, linestyle="none",
                      label=rate.name)  # fmt: skip
    if not counts:
        axes.annotate("nothing measured", (0.5, 0.5), xycoords="axes fraction", ha="center")
    n = "-".join(str(count) for count in sorted({min(counts), max(counts)})) if counts else "0"
    axes.set_xlabel(f"{title}\nn = {n}", fontsize=7)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", labelsize=7)
