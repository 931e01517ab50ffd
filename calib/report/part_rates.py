"""SRA_u and SRA_s of each setting by part of the benchmark, beside the pooled rates."""

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from calib.config.choices import PARTS
from calib.runs.operating_points import REPORTED_SPLIT
from calib.runs.run import Run
from calib.scoring.intervals import NO_DATA, Interval
from calib.scoring.results import ALL, BASELINE, Result
from calib.scoring.tradeoff import Point
from calib.util.terminal import WIDTH, padded, terminal_safe

QUERIES = ("SRA_u", "SRA_s")
DUAL_USE = ("RR_h", "DAR_b")
"""The rates of dual-use queries: harmful ones that are refused, benign ones that are answered."""
_NAME_WIDTH, _RATE_WIDTH = 24, 9


@dataclass(frozen=True)
class PartRates:
    """The two rates of each part at one setting on test."""

    name: str
    rates: dict[str, tuple[Interval, Interval]]
    """Rates of unsafe and of safe queries by part; "all" has the pooled ones."""


def rates_by_part(run: Run) -> list[PartRates]:
    """Return the rates of the uncalibrated model and of each method at its operating point.

    Empty if the run was measured on fewer than two parts. Methods that kept the uncalibrated model
    are left out.
    """
    tested = [
        r for r in run.results
        if (r.split, r.variant, r.category) == (REPORTED_SPLIT, ALL, ALL)
    ]  # fmt: skip
    datasets = {r.dataset for r in tested}
    parts = [part for part in PARTS if part in datasets]
    if len(parts) < 2:
        return []
    chosen = [method.tested for method in run.methods if not method.choice.kept_baseline]
    return [_at(point, tested, (ALL, *parts)) for point in (run.baseline, *chosen)]


def rate_names(part: str) -> tuple[str, str]:
    """Return the names of a part's two rates."""
    return DUAL_USE if part == "dual_use" else QUERIES


def terminal_table(rows: Sequence[PartRates], mapping: str, left_out: bool = False) -> str:
    """Show the rates of each setting by part, in percent; "" without rows.

    ``mapping`` is the label mapping of the rates, and ``left_out`` says whether a method kept the
    uncalibrated model. Lines have at most 100 columns.
    """
    if not rows:
        return ""
    parts = list(rows[0].rates)
    lines = ["", padded("", _NAME_WIDTH) + "".join(f"{part:>{2 * _RATE_WIDTH}}" for part in parts)]
    head = _line("by part, test split", (name for part in parts for name in rate_names(part)))
    lines += [head, "-" * len(head)]
    for row in rows:
        pairs = (row.rates[part] for part in parts)
        cells = (f"{100 * rate.value:.1f}" if rate.n else "-" for pair in pairs for rate in pair)
        lines.append(_line(row.name, cells))
    measured = [rate for part in parts for rate in rows[0].rates[part]]
    lines.append(_line("n", (str(rate.n) for rate in measured)))
    if any(rate.clusters is not None for rate in measured):
        lines.append(_line("clusters", (str(rate.clusters or "-") for rate in measured)))
    note = (
        f"In percent, mapping={mapping}; {ALL}: the parts that count towards SRA. Intervals: "
        "results.csv."
    )
    if left_out:
        note += " Methods that kept the uncalibrated model are left out."
    return "\n".join([*lines, "", *textwrap.wrap(note, WIDTH)])


def _at(point: Point, tested: Sequence[Result], parts: Sequence[str]) -> PartRates:
    own = {(r.dataset, r.metric): r.interval for r in tested if r.key == point.key}
    rates = {}
    for part in parts:
        unsafe, safe = (own.get((part, name), NO_DATA) for name in rate_names(part))
        rates[part] = (unsafe, safe)
    return PartRates("uncalibrated" if point.method == BASELINE else point.method, rates)


def _line(name: str, cells: Iterable[str]) -> str:
    return padded(terminal_safe(name, _NAME_WIDTH), _NAME_WIDTH) + "".join(
        f"{cell:>{_RATE_WIDTH}}" for cell in cells
    )
