"""How well a judge agrees with human labels, as text."""

import math
from collections.abc import Sequence

from calib.report.terminal import printable
from calib.scoring.agreement import Agreement
from calib.scoring.intervals import Interval

_NAME = 24


def confusion_text(agreement: Agreement, given: str = "judge", truth: str = "human") -> str:
    """n, accuracy and kappa with 95% intervals, the confusion matrix, precision and recall.

    ``given`` and ``truth`` name the two sides. At most 100 columns.
    """
    given, truth = printable(given, _NAME), printable(truth, _NAME)
    labels = list(agreement.confusion)
    lines = [
        f"n         {agreement.n}",
        f"accuracy  {_rate(agreement.accuracy)}",
        f"kappa     {_kappa(agreement)}",
    ]
    if not labels:
        return "\n".join(lines) + "\n"
    lines += ["", f"Rows: {truth}. Columns: {given}.", _row("", labels, labels, "total")]
    for label, row in agreement.confusion.items():
        lines.append(_row(label, labels, list(row.values()), sum(row.values())))
    totals = [sum(row[label] for row in agreement.confusion.values()) for label in labels]
    lines.append(_row("total", labels, totals, agreement.n))
    lines += ["", f"{'label':<16}{'precision (95% CI)':>28}{'recall (95% CI)':>28}"]
    for label in labels:
        precision, recall = agreement.precision[label], agreement.recall[label]
        lines.append(f"{label:<16}{_rate(precision):>28}{_rate(recall):>28}")
    return "\n".join(lines) + "\n"


def _row(name: str, labels: Sequence[str], cells: Sequence[str | int], total: str | int) -> str:
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
