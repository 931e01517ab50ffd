"""The figure of models side by side, laid out after VSCBench's Figure 5 (arXiv 2505.20362):
calibration by dataset above, helpfulness below, a column per model."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from calib.report.figures.io import COLUMN_INCHES, NotDrawn, own_style
from calib.report.figures.operating_points import Chosen, by_model, names
from calib.report.figures.style import (
    BLUE,
    GREEN,
    PURPLE,
    VERMILION,
    draw_legend,
    shown_name,
    write_title,
)
from calib.runs.run import Run
from calib.scoring.intervals import Interval
from calib.scoring.results import ALL, BASELINE


class _Rate(NamedTuple):
    name: str
    dataset: str
    metrics: tuple[str, ...]
    """The first of these that was measured."""
    colour: str
    marker: str


_SRA = ("SRA", "SRA_u", "SRA_s")
"""A benchmark of one side has that side alone."""
_PARTS = (
    _Rate("image-centric", "image_centric", _SRA, VERMILION, "o"),
    _Rate("text-centric", "text_centric", _SRA, BLUE, "s"),
)
_DUAL_USE = (_Rate("dual-use", ALL, _SRA, PURPLE, "D"),)
_UTILITY = (_Rate("utility questions answered right", "utility", ("utility",), GREEN, "^"),)
_SAFE_ANSWERED = (_Rate("safe queries answered (SRA_s)", ALL, ("SRA_s",), GREEN, "v"),)
_IN_A_ROW = {1: 2, 2: 4}
"""Models side by side in a figure of one and of two columns; more stand below."""
_LEAST_SHOWN = 0.2
"""Rates closer than this are not spread over the whole width."""
_DASHED = (0, (3, 2))
_READ = "Bars are 95% intervals, dashed lines the uncalibrated model."
_HOLLOW = "Hollow: no better setting on validation, so uncalibrated."


def draw(runs: Sequence[Run], columns: int, split: str = "test") -> Figure:
    """SRA by dataset and, below, utility of each method at its operating point, a column per model.

    Where a model's utility was not measured, the share of safe queries it answers stands there.
    Dashed lines are the uncalibrated model, hollow markers methods that were no better on
    validation. Raises NotDrawn without results of a sweep on ``split``.
    """
    models = by_model(runs, split)
    if not any(one.total(ALL, metric) for found in models.values() for one in found
               for metric in _SRA):  # fmt: skip
        raise NotDrawn(f"These runs have no SRA on the {split} split. Run calib.sweep with data "
                       "of safe and unsafe queries.")  # fmt: skip
    labels = {model: names(found, 20 if columns == 1 else 28) for model, found in models.items()}
    rows = list(dict.fromkeys(name for found in labels.values() for name in found))
    with own_style():
        figure, panels = _panels(columns, len(models), len(rows))
        told = list(models) if len(models) == 1 else [f"{len(models)} models"]
        write_title(figure, f"Calibration and helpfulness, {split} split", told)
        for (model, settings), (above, below) in zip(models.items(), panels, strict=True):
            at = [
                (rows.index(name), one) for name, one in zip(labels[model], settings, strict=True)
            ]
            _draw_panel(above, at, _parts(settings), "SRA")
            _draw_panel(below, at, *_helpfulness(settings))
            if len(models) > 1:
                above.set_title(shown_name(model, 15 if columns == 1 else 20), fontsize=7)
        for side in zip(*panels, strict=True):
            _share_rates(side, 2 if columns == 1 and len(models) > 1 else 3)
        first = panels[0][0]
        first.set_yticks(range(len(rows)), rows, fontsize=7)
        first.set_ylim(len(rows) - 0.4, -0.6)
        kept = any(one.kept for found in models.values() for one in found)
        draw_legend(figure, figure.axes, notes=[_READ, _HOLLOW if kept else ""])
    return figure


def _panels(columns: int, models: int, rows: int) -> tuple[Figure, list[tuple[Axes, Axes]]]:
    """A figure and two axes for each model: one above the other, of one model side by side."""
    wide = min(_IN_A_ROW[columns], models)
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
    """The same rates in the same place of all ``panels``, and no difference drawn too large."""
    spans = [axes.dataLim.intervalx for axes in panels if axes.has_data()]
    low = min((span[0] for span in spans), default=0.0)
    high = max((span[1] for span in spans), default=1.0)
    room = max(0.0, _LEAST_SHOWN - (high - low)) / 2
    low, high = max(0.0, low - room), min(1.0, high + room)
    for axes in panels:
        axes.set_xlim(low - 0.03, high + 0.03)
        axes.xaxis.set_major_locator(MaxNLocator(most_ticks, steps=[1, 2, 5, 10]))


def _parts(settings: Sequence[Chosen]) -> list[_Rate]:
    return [rate for rate in (*_PARTS, *_DUAL_USE) if any(_of(one, rate) for one in settings)]


def _helpfulness(settings: Sequence[Chosen]) -> tuple[tuple[_Rate, ...], str]:
    measured = [_of(one, _UTILITY[0]) is not None for one in settings]
    if all(measured):
        return _UTILITY, "utility"
    return _SAFE_ANSWERED, "SRA_s: no utility" if not any(measured) else "SRA_s: utility of some"


def _of(setting: Chosen, rate: _Rate) -> Interval | None:
    if rate in _DUAL_USE and any(_of(setting, part) for part in _PARTS):
        return None  # the total is over those parts, then
    found = (setting.total(rate.dataset, metric) for metric in rate.metrics)
    return next((one for one in found if one is not None), None)


def _draw_panel(
    axes: Axes, settings: Sequence[tuple[int, Chosen]], rates: Sequence[_Rate], title: str
) -> None:
    """The rates of settings, each in its row, with intervals; ``title`` goes below."""
    counts = set()
    for k, rate in enumerate(rates):
        offset = 0.3 * (k - (len(rates) - 1) / 2)
        for row, setting in settings:
            found = _of(setting, rate)
            if found is None:
                continue
            counts.add(found.n)
            axes.hlines(row + offset, found.low, found.high, color=rate.colour, linewidth=1)
            axes.plot(found.value, row + offset, color=rate.colour, marker=rate.marker,
                      markerfacecolor="white" if setting.kept else rate.colour,
                      linestyle="none", label="_")  # fmt: skip
            if setting.method == BASELINE:
                axes.axvline(found.value, color=rate.colour, linewidth=0.8,
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
