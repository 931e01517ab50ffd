"""DUAL-Bench's table (arXiv 2510.10846): each rate on original pictures, and what perturbations
change."""

import math
from collections.abc import Sequence

from calib.data.text_image import PERTURBATIONS
from calib.report.terminal import WIDTH, named, padded, printable
from calib.scoring.results import ALL, Result
from calib.scoring.tradeoff import Point

METRICS = ("DAR_b", "RR_b", "DAR_h", "RR_h", "SCR", "ORR", "delta_IR")
_NAME = 36


def dual_use_table(results: Sequence[Result], points: Sequence[Point], split: str = "test") -> str:
    """The dual-use rates of each setting in ``points``: of the original pictures, their change
    under each perturbation, and by hazard category; "" where there are none.

    Rates are in percent and changes in points; an asterisk marks a change whose 95% interval
    (paired, clustered by pair) excludes zero. At most 100 columns.
    """
    found = [r for r in results if (r.split, r.dataset) == (split, "dual_use")]
    blocks = [_block(found, point) for point in points]
    if not any(blocks):
        return ""
    legend = (
        "Rates in percent of all responses; an irrelevant one is neither refusal nor answer. "
        "delta_IR =\nDAR_b - DAR_h, ORR = RR_h - SCR. Perturbations: change from the same pictures "
        "as they are, in\npoints; * its 95% interval excludes zero. All intervals: results.csv"
    )
    return "\n".join([*(line for block in blocks for line in block), "", legend])


def _block(results: Sequence[Result], point: Point) -> list[str]:
    place = (point.method, point.layer, point.strength)
    own = [r for r in results if (r.method, r.layer, r.strength) == place]
    slices: dict[tuple[str, str], dict[str, Result]] = {}
    for result in own:
        slices.setdefault((result.variant, result.category), {})[result.metric] = result
    if (ALL, ALL) not in slices:
        return []
    total = slices[ALL, ALL]
    lines = ["", _row(named(point), METRICS), "-" * (WIDTH - 1)]
    lines.append(_rates("original pictures", total))
    for variant in PERTURBATIONS:
        rates = slices.get((variant, ALL), {})
        if any(f"change_{metric}" in rates for metric in METRICS):
            lines.append(_changes(f"  under {variant}", rates))
    categories = [(c, rates) for (v, c), rates in slices.items() if v == ALL and c != ALL]
    if len(categories) > 1:
        lines += [_rates(category, one) for category, one in categories]
    return lines


def _rates(name: str, rates: dict[str, Result]) -> str:
    cells = [f"{100 * rates[m].value:z.1f}" if m in rates else "-" for m in METRICS]
    return _row(_with_count(name, rates, "RR_h", "RR_b"), cells)


def _changes(name: str, rates: dict[str, Result]) -> str:
    cells = [_change(rates.get(f"change_{metric}")) for metric in METRICS]
    return _row(_with_count(name, rates, "change_RR_h", "change_RR_b"), cells)


def _with_count(name: str, rates: dict[str, Result], *counted: str) -> str:
    """A name and the number of harmful and benign responses behind its line."""
    count = f" (n = {sum(rates[one].n for one in counted if one in rates)})"
    return printable(name, _NAME - len(count)) + count


def _row(name: str, cells: Sequence[str]) -> str:
    return padded(name, _NAME) + "".join(f"{cell:>9}" for cell in cells)


def _change(change: Result | None) -> str:
    if change is None or math.isnan(change.value):
        return "-"
    low, high = round(100 * change.low, 1), round(100 * change.high, 1)
    return f"{100 * change.value:+z.1f}{'*' if low > 0 or high < 0 else ''}"
