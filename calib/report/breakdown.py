"""SRA by part, variant and category, under our mapping and under VSCBench's own."""

import textwrap
from collections.abc import Sequence

from calib.data.parts import PAIRED_QUERIES
from calib.report.terminal import WIDTH, named, padded
from calib.scoring.results import ALL, Result
from calib.scoring.tradeoff import Point

METRICS = ("SRA_u", "SRA_s", "SRA")
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
    names = [*METRICS, *(f"paper_{metric}" for metric in METRICS)] if both else list(METRICS)
    lines = [line for point in points for line in _block(found, point, names)]
    if not lines:
        return ""
    note = f"* {_HOW}" if both else f"mapping=paper: {_HOW}"
    return "\n".join([*lines, "", *textwrap.wrap(note, WIDTH)])


def _block(results: Sequence[Result], point: Point, names: Sequence[str]) -> list[str]:
    place = (point.method, point.layer, point.strength)
    slices: dict[tuple[str, str, str], dict[str, Result]] = {}
    for r in results:
        if (r.method, r.layer, r.strength) == place:
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
