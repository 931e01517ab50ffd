"""Tables in the terminal: agreement, SRA by part and category, and DUAL-Bench's rates.

change.
"""

import math
import textwrap
from collections.abc import Sequence

from calib.config.choices import PERTURBATIONS
from calib.data.splits import PAIRED_QUERIES
from calib.report.terminal import WIDTH, named, padded
from calib.scoring.agreement import Agreement
from calib.scoring.intervals import Interval
from calib.scoring.metrics import shown_metrics, shown_names
from calib.scoring.results import ALL, Result
from calib.scoring.tradeoff import Point
from calib.util.terminal import terminal_safe

_AGREEMENT_WIDTH = 24


def confusion_text(agreement: Agreement, given: str = "judge", truth: str = "human") -> str:
    """n, accuracy and kappa with 95% intervals, the confusion matrix, precision and recall.

    ``given`` and ``truth`` name the two sides. At most 100 columns.
    """
    given, truth = terminal_safe(given, _AGREEMENT_WIDTH), terminal_safe(truth, _AGREEMENT_WIDTH)
    labels = list(agreement.confusion)
    lines = [
        f"n         {agreement.n}",
        f"accuracy  {_rate(agreement.accuracy)}",
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
        lines.append(f"{label:<16}{_rate(precision):>28}{_rate(recall):>28}")
    return "\n".join(lines) + "\n"


def _confusion_row(
    name: str, labels: Sequence[str], cells: Sequence[str | int], total: str | int
) -> str:
    columns = (
        f"{cell:>{max(len(label), 8) + 2}}" for label, cell in zip(labels, cells, strict=True)
    )
    return f"{name:<16}{''.join(columns)}{total:>10}"


def _rate(rate: Interval) -> str:
    if rate.n == 0:
        return "-"
    return f"{100 * rate.value:.1f}% ({100 * rate.low:.1f} to {100 * rate.high:.1f})"


def _kappa(agreement: Agreement) -> str:
    value, low, high, n = agreement.kappa
    if math.isnan(value):
        why = "there is no response" if n == 0 else "both sides gave one and the same label only"
        return f"undefined: {why}"
    if math.isnan(low):
        return f"{value:.3f} (too few responses for an interval)"
    return f"{value:.3f} (95% CI {low:.3f} to {high:.3f})"


BREAKDOWN_METRICS = shown_names("breakdown")
_BREAKDOWN_OF_PAPER = [f"paper_{m.name}" for m in shown_metrics("breakdown") if m.per_mapping]
_NAME = 36
_MOST = 40
"""Lines printed; results.csv has all."""

_HOW = (
    "as VSCBench's released code counts: an empty response is a refusal, and on safe queries an "
    "irrelevant one is right. In percent; intervals: results.csv"
)


def breakdown(results: Sequence[Result], points: Sequence[Point], split: str = "test") -> str:
    """SRA_u, SRA_s and SRA of each setting in ``points`` by part, variant and category, in percent:
    first as calib counts, then as VSCBench's released code does; "" for a benchmark without such
    parts.

    Under mapping=paper both are one. At most 100 columns.
    """
    found = [r for r in results if r.split == split and r.dataset in PAIRED_QUERIES]
    both = any(r.metric.startswith("paper_") for r in found)
    names = [*BREAKDOWN_METRICS, *_BREAKDOWN_OF_PAPER] if both else list(BREAKDOWN_METRICS)
    lines = [line for point in points for line in _block(found, point, names)]
    if not lines:
        return ""
    note = f"* {_HOW}" if both else f"mapping=paper: {_HOW}"
    return "\n".join([*lines, "", *textwrap.wrap(note, WIDTH)])


def _block(results: Sequence[Result], point: Point, names: Sequence[str]) -> list[str]:
    slices: dict[tuple[str, str, str], dict[str, Result]] = {}
    for r in results:
        if r.key == point.key:
            slices.setdefault((r.dataset, r.variant, r.category), {})[r.metric] = r
    if not slices:
        return []
    head = [name.replace("paper_", "") + "*" * name.startswith("paper_") for name in names]
    lines = ["", _row(named(point), [*head, "n"]), "-" * (_NAME + 9 * (len(names) + 1))]
    lines += [_line(*slice_, rates, names) for slice_, rates in list(slices.items())[:_MOST]]
    if len(slices) > _MOST:
        lines.append(f"  and {len(slices) - _MOST} more in results.csv")
    return lines


def _line(
    dataset: str, variant: str, category: str, rates: dict[str, Result], names: Sequence[str]
) -> str:
    total = variant == category == ALL
    part = f"  variant {variant}" if category == ALL else f"  category {category}"
    cells = [f"{100 * rates[metric].value:.1f}" if metric in rates else "-" for metric in names]
    # Of both sides, or of the one there is.
    n = sum(rates[metric].n for metric in ("SRA_u", "SRA_s") if metric in rates)
    return _row(dataset if total else part, [*cells, str(n)])


def _row(name: str, cells: Sequence[str]) -> str:
    return padded(name, _NAME) + "".join(f"{cell:>9}" for cell in cells)


DUAL_USE_METRICS = shown_names("dual_use")
_DUAL_USE_WIDTH = 36


def dual_use_table(results: Sequence[Result], points: Sequence[Point], split: str = "test") -> str:
    """The dual-use rates of each setting in ``points``: of the original pictures, their change
    under each perturbation, and by hazard category; "" where there are none.

    Rates are in percent and changes in points; an asterisk marks a change whose 95% interval
    (paired, clustered by pair) excludes zero. At most 100 columns.
    """
    found = [r for r in results if (r.split, r.dataset) == (split, "dual_use")]
    blocks = [_dual_use_block(found, point) for point in points]
    if not any(blocks):
        return ""
    legend = (
        "Rates in percent of all responses; an irrelevant one is neither refusal nor answer. "
        "delta_IR =\nDAR_b - DAR_h, ORR = RR_h - SCR. Perturbations: change from the same pictures "
        "as they are, in\npoints; * its 95% interval excludes zero. All intervals: results.csv"
    )
    return "\n".join([*(line for block in blocks for line in block), "", legend])


def _dual_use_block(results: Sequence[Result], point: Point) -> list[str]:
    own = [r for r in results if r.key == point.key]
    slices: dict[tuple[str, str], dict[str, Result]] = {}
    for result in own:
        slices.setdefault((result.variant, result.category), {})[result.metric] = result
    if (ALL, ALL) not in slices:
        return []
    total = slices[ALL, ALL]
    lines = ["", _dual_use_row(named(point), DUAL_USE_METRICS), "-" * (WIDTH - 1)]
    lines.append(_rates("original pictures", total))
    for variant in PERTURBATIONS:
        rates = slices.get((variant, ALL), {})
        if any(f"change_{metric}" in rates for metric in DUAL_USE_METRICS):
            lines.append(_changes(f"  under {variant}", rates))
    categories = [(c, rates) for (v, c), rates in slices.items() if v == ALL and c != ALL]
    if len(categories) > 1:
        lines += [_rates(category, one) for category, one in categories]
    return lines


def _rates(name: str, rates: dict[str, Result]) -> str:
    cells = [f"{100 * rates[m].value:z.1f}" if m in rates else "-" for m in DUAL_USE_METRICS]
    return _dual_use_row(_with_count(name, rates, "RR_h", "RR_b"), cells)


def _changes(name: str, rates: dict[str, Result]) -> str:
    cells = [_change(rates.get(f"change_{metric}")) for metric in DUAL_USE_METRICS]
    return _dual_use_row(_with_count(name, rates, "change_RR_h", "change_RR_b"), cells)


def _with_count(name: str, rates: dict[str, Result], *counted: str) -> str:
    """A name and the number of harmful and benign responses behind its line."""
    count = f" (n = {sum(rates[one].n for one in counted if one in rates)})"
    return terminal_safe(name, _DUAL_USE_WIDTH - len(count)) + count


def _dual_use_row(name: str, cells: Sequence[str]) -> str:
    return padded(name, _DUAL_USE_WIDTH) + "".join(f"{cell:>9}" for cell in cells)


def _change(change: Result | None) -> str:
    if change is None or math.isnan(change.value):
        return "-"
    low, high = round(100 * change.low, 1), round(100 * change.high, 1)
    return f"{100 * change.value:+z.1f}{'*' if low > 0 or high < 0 else ''}"
