"""Tables for the terminal: files written, agreement of judges, SRA by part, and dual-use rates."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from calib.config.choices import PERTURBATIONS
from calib.data.splits import PAIRED_QUERIES
from calib.report.paired import setting_name
from calib.report.sentences import count_cell
from calib.scoring.agreement import Agreement
from calib.scoring.intervals import Interval
from calib.scoring.metrics import shown_metrics, shown_names
from calib.scoring.results import ALL, Result
from calib.scoring.tradeoff import Point
from calib.util.terminal import WIDTH, columns, padded, terminal_safe

# Files

REPORT = "report"
"""The entry of the files written that is shown last, as the one to open."""


def file_list(files: Mapping[str, Path]) -> list[str]:
    """Return one line per file, by what it contains, and last "Open PATH" for the report."""
    others = {what: path for what, path in files.items() if what != REPORT}
    width = max((columns(terminal_safe(what)) for what in others), default=0)
    lines = [f"{padded(what, width)}  {terminal_safe(str(path))}" for what, path in others.items()]
    if REPORT not in files:
        return lines
    return [*lines, "", f"Open {terminal_safe(str(files[REPORT]))}"]


# Agreement of judges

_SIDE_WIDTH = 24


def confusion_text(agreement: Agreement, given: str = "judge", truth: str = "human") -> str:
    """Show n, accuracy and kappa with 95% intervals, the confusion matrix, precision and recall.

    ``given`` and ``truth`` name the two sides. Lines have at most 100 columns.
    """
    given, truth = terminal_safe(given, _SIDE_WIDTH), terminal_safe(truth, _SIDE_WIDTH)
    labels = list(agreement.confusion)
    lines = [
        f"n         {agreement.n}",
        f"accuracy  {_rate_text(agreement.accuracy)}",
        f"kappa     {_kappa(agreement)}",
    ]
    if not labels:
        return "\n".join(lines) + "\n"
    lines += ["", f"Rows: {truth}. Columns: {given}.", _confusion_row("", labels, labels, "total")]
    for label, row in agreement.confusion.items():
        lines.append(_confusion_row(label, labels, list(row.values()), sum(row.values())))
    totals = [sum(row[label] for row in agreement.confusion.values()) for label in labels]
    lines.append(_confusion_row("total", labels, totals, agreement.n))
    lines += ["", f"{'label':<16}{'precision (95% CI)':>28}{'recall (95% CI)':>28}"]
    for label in labels:
        precision, recall = agreement.precision[label], agreement.recall[label]
        lines.append(f"{label:<16}{_rate_text(precision):>28}{_rate_text(recall):>28}")
    return "\n".join(lines) + "\n"


def _confusion_row(
    name: str, labels: Sequence[str], cells: Sequence[str | int], total: str | int
) -> str:
    padded_cells = (
        f"{cell:>{max(len(label), 8) + 2}}" for label, cell in zip(labels, cells, strict=True)
    )
    return f"{name:<16}{''.join(padded_cells)}{total:>10}"


def _rate_text(rate: Interval) -> str:
    if rate.n == 0:
        return "-"
    return f"{100 * rate.value:.1f}% ({100 * rate.low:.1f} to {100 * rate.high:.1f})"


def _kappa(agreement: Agreement) -> str:
    value, low, high, n, _ = agreement.kappa
    if math.isnan(value):
        why = "there is no response" if n == 0 else "both sides gave a single label, the same one"
        return f"undefined: {why}"
    if math.isnan(low):
        return f"{value:.3f} (too few responses for an interval)"
    return f"{value:.3f} (95% CI {low:.3f} to {high:.3f})"


# SRA by part, variant and category

BREAKDOWN_METRICS = shown_names("breakdown")
_BREAKDOWN_OF_PAPER = [f"paper_{m.name}" for m in shown_metrics("breakdown") if m.per_mapping]
_NAME_WIDTH = 36
_BREAKDOWN_NAME_WIDTH = 34
_MAX_LINES = 40
"""Lines per setting; results.csv has all."""

_PAPER_MAPPING = (
    "as VSCBench's released code counts: an empty response is a refusal, and on safe queries an "
    "irrelevant one is right and one with a warning wrong. warned_s: safe queries answered with a "
    "warning. In percent; intervals: results.csv"
)


def breakdown(results: Sequence[Result], points: Sequence[Point], split: str = "test") -> str:
    """Show SRA_u, SRA_s and SRA of each setting by part, variant and category, in percent.

    The rates under calib's label mapping come first, then those under VSCBench's; a run with
    mapping=paper has only the latter. Returns "" for a benchmark without image- or text-centric
    queries. Lines have at most 100 columns.
    """
    rates = [r for r in results if r.split == split and r.dataset in PAIRED_QUERIES]
    both_mappings = any(r.metric.startswith("paper_") for r in rates)
    names = [*BREAKDOWN_METRICS, *(_BREAKDOWN_OF_PAPER if both_mappings else ())]
    note = f"mapping=paper: {_PAPER_MAPPING}"
    if both_mappings:
        note = f"mapping=calib, and * mapping=paper: {_PAPER_MAPPING}"
    lines = [line for point in points for line in _breakdown_of(rates, point, names)]
    if not lines:
        return ""
    return "\n".join([*lines, "", *textwrap.wrap(note, WIDTH)])


def _breakdown_of(results: Sequence[Result], point: Point, names: Sequence[str]) -> list[str]:
    slices: dict[tuple[str, str, str], dict[str, Result]] = {}
    for r in results:
        if r.key == point.key:
            slices.setdefault((r.dataset, r.variant, r.category), {})[r.metric] = r
    if not slices:
        return []
    head = [name.replace("paper_", "") + "*" * name.startswith("paper_") for name in names]
    head.append("n (clusters)")
    widths = [max(7, len(name) + 1) for name in head]
    lines = ["", _breakdown_row(setting_name(point), head, widths)]
    lines.append("-" * len(lines[-1]))
    slices = distinct_slices(slices)
    lines += [
        _breakdown_row(_slice_name(*key), _slice_cells(rates, names), widths)
        for key, rates in list(slices.items())[:_MAX_LINES]
    ]
    if len(slices) > _MAX_LINES:
        lines.append(f"  and {len(slices) - _MAX_LINES} more in results.csv")
    return lines


Slice = TypeVar("Slice", bound=tuple[str, ...])


def distinct_slices(slices: Mapping[Slice, Mapping[Any, Result]]) -> dict[Slice, Any]:
    """Leave out the only variant or category of a dataset where it repeats the dataset's total.

    Keys end in the variant and the category, and begin with the dataset if there are several.
    """
    kept: dict[Slice, Any] = {}
    for key, rates in slices.items():
        *dataset, variant, category = key
        alone = sum(
            (other[-2] == ALL, other[-1] == ALL) == (variant == ALL, category == ALL)
            for other in slices
            if list(other[:-2]) == dataset
        )
        total = next((r for k, r in slices.items() if list(k) == [*dataset, ALL, ALL]), {})
        own = {name: (r.value, r.n) for name, r in rates.items()}
        repeats = own == {name: (r.value, r.n) for name, r in total.items() if name in own}
        if variant == category == ALL or alone > 1 or not repeats:
            kept[key] = rates
    return kept


def _slice_name(dataset: str, variant: str, category: str) -> str:
    if variant == category == ALL:
        return dataset
    return f"  variant {variant}" if category == ALL else f"  category {category}"


def _slice_cells(rates: Mapping[str, Result], names: Sequence[str]) -> list[str]:
    """Return the rates in percent, and the numbers of responses and clusters behind SRA."""
    cells = [f"{100 * rates[metric].value:.1f}" if metric in rates else "-" for metric in names]
    counted = [rates[metric] for metric in ("SRA", "SRA_u", "SRA_s") if metric in rates]
    return [*cells, count_cell(counted[0].interval) if counted else "0"]


def _breakdown_row(name: str, cells: Sequence[str], widths: Sequence[int]) -> str:
    aligned = "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
    return padded(name, _BREAKDOWN_NAME_WIDTH) + aligned


def _row(name: str, cells: Sequence[str]) -> str:
    return padded(name, _NAME_WIDTH) + "".join(f"{cell:>9}" for cell in cells)


# Dual-use rates

DUAL_USE_METRICS = shown_names("dual_use")


def dual_use_table(results: Sequence[Result], points: Sequence[Point], split: str = "test") -> str:
    """Show the dual-use rates of each setting: originals, perturbations and hazard categories.

    Rates are in percent, and changes under a perturbation in points; an asterisk marks a change
    whose 95% interval (paired and clustered) excludes zero. Returns "" without dual-use
    results. Lines have at most 100 columns.
    """
    rates = [r for r in results if (r.split, r.dataset) == (split, "dual_use")]
    blocks = [_dual_use_of(rates, point) for point in points]
    if not any(blocks):
        return ""
    legend = (
        "Rates in percent of all responses; an irrelevant one is neither refusal nor answer. "
        "delta_IR = DAR_b - DAR_h, ORR = RR_h - SCR. Perturbations: change from the same pictures "
        "unperturbed, in points; * its 95% interval excludes zero. n: responses, and after a slash "
        "independent clusters, if they are fewer. All intervals: results.csv"
    )
    lines = [line for block in blocks for line in block]
    return "\n".join([*lines, "", *textwrap.wrap(legend, WIDTH)])


def _dual_use_of(results: Sequence[Result], point: Point) -> list[str]:
    slices: dict[tuple[str, str], dict[str, Result]] = {}
    for r in results:
        if r.key == point.key:
            slices.setdefault((r.variant, r.category), {})[r.metric] = r
    if (ALL, ALL) not in slices:
        return []
    lines = ["", _row(setting_name(point), DUAL_USE_METRICS), "-" * (WIDTH - 1)]
    lines.append(_rates_line("original pictures", slices[ALL, ALL]))
    for variant in PERTURBATIONS:
        rates = slices.get((variant, ALL), {})
        if any(f"change_{metric}" in rates for metric in DUAL_USE_METRICS):
            lines.append(_changes_line(f"  under {variant}", rates))
    categories = [(c, rates) for (v, c), rates in slices.items() if v == ALL and c != ALL]
    if len(categories) > 1:
        lines += [_rates_line(category, rates) for category, rates in categories]
    return lines


def _rates_line(name: str, rates: dict[str, Result]) -> str:
    cells = [f"{100 * rates[m].value:z.1f}" if m in rates else "-" for m in DUAL_USE_METRICS]
    return _row(_with_count(name, rates), cells)


def _changes_line(name: str, rates: dict[str, Result]) -> str:
    cells = [_change_text(rates.get(f"change_{metric}")) for metric in DUAL_USE_METRICS]
    return _row(_with_count(name, rates, "change_"), cells)


def _with_count(name: str, rates: dict[str, Result], prefix: str = "") -> str:
    """Return ``name`` with the numbers of responses, harmful and benign, and of their clusters."""
    sides = [rates[f"{prefix}{m}"] for m in ("RR_h", "RR_b") if f"{prefix}{m}" in rates]
    n, both = sum(side.n for side in sides), rates.get(f"{prefix}delta_IR")
    clusters = both.clusters if both else max((side.clusters or 0 for side in sides), default=0)
    count = f" (n = {n}{f' / {clusters}' if clusters and clusters < n else ''})"
    return terminal_safe(name, _NAME_WIDTH - len(count)) + count


def _change_text(change: Result | None) -> str:
    if change is None or math.isnan(change.value):
        return "-"
    low, high = round(100 * change.low, 1), round(100 * change.high, 1)
    return f"{100 * change.value:+z.1f}{'*' if low > 0 or high < 0 else ''}"
