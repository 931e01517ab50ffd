"""Several methods of one run side by side, ranked by what they gain over all their strengths."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from calib.report.terminal import (
    WIDTH,
    is_right,
    printable,
    setting_rows,
    shown_difference,
)
from calib.scoring.intervals import Interval, paired_difference
from calib.scoring.judged import PAIRED_QUERIES, Judged, cluster_of
from calib.scoring.results import ALL, Result
from calib.scoring.tradeoff import (
    OperatingPoint,
    Point,
    baseline_of,
    hypervolume,
    points_of,
    sra_s_and_sra_u,
    utility_and_sra,
)

Chosen = Mapping[str, tuple[int | None, OperatingPoint]]
"""The layer and the operating point of each method."""

_COLUMNS = "{:<17}{:>6}{:>9}{:>7}{:>23}{:>8}{:>7}{:>8}{:>7}{:>8}"
_HEAD = (
    "method", "layer", "strength", "SRA", "change (95% CI)", "SRA_u", "SRA_s", "utility", "KL",
    "area",
)  # fmt: skip


def comparison(
    judged: Sequence[Judged],
    results: Sequence[Result],
    chosen: Chosen,
    prompts: Sequence[str],
    model: str,
    files: Mapping[str, Path],
    split: str = "test",
    mapping: str = "calib",
) -> str:
    """Each method at the operating point it chose on validation, measured on ``split``.

    Ranked by hypervolume: the area between SRA and utility (SRA_u and SRA_s where utility was not
    measured) that the method's strengths at its layer gain over the uncalibrated model.
    ``prompts`` names the methods that change the prompt alone, which are marked. Rates are in
    percent; the change of SRA has a paired bootstrap interval clustered by pair. At most 100
    columns, save where a path alone is longer.
    """
    points = points_of(results, split)
    baseline = baseline_of(points)
    kl = _mean_kl(results, split)
    areas = {name: area_of(points, baseline, name, layer) for name, (layer, _) in chosen.items()}
    lines = ["", f"Checkpoint  {printable(model, WIDTH - 12)}"]
    lines += [f"Methods at their operating points, chosen on validation; {split} split", ""]
    lines += [_COLUMNS.format(*_HEAD), "-" * WIDTH]
    lines += [_line("uncalibrated", baseline, "", kl.get(_place(baseline)), None)]
    for name in sorted(chosen, key=lambda name: (-round(areas[name], 9), name)):
        choice = chosen[name][1]
        shown = printable(name, 15) + ("*" if name in prompts else "")
        if choice.kept_baseline:
            kept = "none better than uncalibrated on validation"
            lines.append(f"{shown:<17}{kept:<75}{areas[name]:>8.3f}")
            continue
        point = _same_place(points, choice.point)
        change = shown_difference(sra_change(judged, choice, split, mapping))
        lines.append(_line(shown, point, change, kl.get(_place(point)), areas[name]))
    counts = f"n = {baseline.sra.n} queries"
    if baseline.utility is not None:
        counts += f" and {baseline.utility.n} utility questions"
    legend = (
        f"{counts}. * changes the prompt alone. area: hypervolume over all strengths at that "
        "layer. KL: mean of the first response token over utility questions, in nats."
    )
    lines += ["", *textwrap.wrap(legend, WIDTH), ""]
    width = max((len(printable(what)) for what in files), default=0)
    lines += [f"{printable(what):<{width}}  {printable(str(path))}" for what, path in files.items()]
    return "\n".join(lines) + "\n"


def area_of(points: Sequence[Point], baseline: Point, method: str, layer: int | None) -> float:
    """Hypervolume of a method's settings at one layer against the uncalibrated model."""
    own = [point for point in points if (point.method, point.layer) == (method, layer)]
    plane = utility_and_sra if baseline.utility is not None else sra_s_and_sra_u
    return hypervolume(own, baseline, plane)


def sra_change(
    judged: Sequence[Judged], choice: OperatingPoint, split: str, mapping: str
) -> Interval:
    """Change of SRA at the operating point, over the queries judged under both."""
    at_split = [row for row in judged if row.split == split and row.dataset in PAIRED_QUERIES]
    before = setting_rows(at_split, choice.baseline, split)
    after = setting_rows(at_split, choice.point, split)
    both = [(before[key], after[key]) for key in sorted(before.keys() & after.keys())]
    return paired_difference(
        [is_right(b, mapping) for _, b in both],
        [is_right(a, mapping) for a, _ in both],
        [cluster_of(a) for a, _ in both],
        [a.safety or "" for a, _ in both],
    )


def _line(name: str, point: Point, change: str, kl: float | None, area: float | None) -> str:
    layer = "" if point.layer is None else str(point.layer)
    utility = "-" if point.utility is None else f"{100 * point.utility.value:.1f}%"
    rates = [f"{100 * rate.value:.1f}%" for rate in (point.sra, point.sra_u, point.sra_s)]
    cost = "-" if kl is None else f"{kl:.3f}"
    shown = "" if area is None else f"{area:.3f}"
    if len(change) > 23:  # wider than its column where shares are 0 or 1
        change = change.replace(".0", "")
    cells = (name, layer, f"{point.strength:.3g}", rates[0], change, *rates[1:], utility)
    return _COLUMNS.format(*cells, cost, shown)


def _place(point: Point) -> tuple[str, int | None, float]:
    return point.method, point.layer, point.strength


def _same_place(points: Sequence[Point], wanted: Point) -> Point:
    return next(point for point in points if _place(point) == _place(wanted))


def _mean_kl(results: Sequence[Result], split: str) -> dict[tuple[str, int | None, float], float]:
    return {
        (r.method, r.layer, r.strength): r.value
        for r in results
        if (r.split, r.dataset, r.variant, r.metric) == (split, "utility", ALL, "KL")
    }
