"""Several methods of one run side by side, ranked by what they gain over all their strengths."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from calib.config.method import SettingKey
from calib.data.splits import select_for_sra
from calib.report.terminal import WIDTH, setting_rows, shown_difference, written
from calib.scoring.intervals import Interval, paired_difference
from calib.scoring.judged import Judged, cluster_of, is_correct_response
from calib.scoring.power import power_note, spread_of
from calib.scoring.results import ALL, Result
from calib.scoring.significance import holm, paired_p_value
from calib.scoring.tradeoff import (
    OperatingPoint,
    Point,
    baseline_of,
    hypervolume,
    plane_of,
    points_of,
)
from calib.util.terminal import terminal_safe

ChosenSettings = Mapping[str, tuple[int | None, OperatingPoint]]
"""The layer and the operating point of each method."""

_COLUMNS = "{:<16}{:>6}{:>9}{:>6}{:>21}{:>9}{:>6}{:>6}{:>8}{:>7}{:>6}"
_CHANGE = 20
_HEAD = (
    "method", "layer", "strength", "SRA", "change (95% CI)", "p (Holm)", "SRA_u", "SRA_s",
    "utility", "KL", "area",
)  # fmt: skip


class _Paired(NamedTuple):
    """The queries judged under both settings: right or not after and before, pair and safety."""

    after: list[bool]
    before: list[bool]
    clusters: list[str]
    sides: list[str]


def comparison(
    judged: Sequence[Judged],
    results: Sequence[Result],
    chosen: ChosenSettings,
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
    percent; the change of SRA has a paired bootstrap interval clustered by pair and a p-value of
    the sign-flipping test, adjusted over the methods that have one. At most 100 columns, save where
    a path alone is longer.
    """
    points = points_of(results, split)
    baseline = baseline_of(points)
    kl = _mean_kl(results, split)
    areas = {name: area_of(points, baseline, name, layer) for name, (layer, _) in chosen.items()}
    ranked = sorted(chosen, key=lambda name: (-round(areas[name], 9), name))
    moved = {
        name: _both(judged, chosen[name][1], split, mapping)
        for name in ranked
        if not chosen[name][1].kept_baseline
    }
    adjusted = dict(
        zip(moved, holm([paired_p_value(*both) for both in moved.values()]), strict=True)
    )
    lines = ["", f"Checkpoint  {terminal_safe(model, WIDTH - 12)}"]
    lines += [f"Methods at their operating points, chosen on validation; {split} split", ""]
    lines += [_COLUMNS.format(*_HEAD), "-" * WIDTH]
    lines += [_line("uncalibrated", baseline, "", "", kl.get(baseline.key), None)]
    for name in ranked:
        shown = terminal_safe(name, 15) + ("*" if name in prompts else "")
        if name not in moved:
            kept = "none better than uncalibrated on validation"
            lines.append(f"{shown:<16} {kept:<77}{areas[name]:>6.3f}")
            continue
        point = _same_place(points, chosen[name][1].point)
        change = _shown_change(paired_difference(*moved[name]))
        cost = kl.get(point.key)
        lines.append(_line(shown, point, change, _shown_p(adjusted[name]), cost, areas[name]))
    counts = f"n = {baseline.sra.n} queries"
    if baseline.utility is not None:
        counts += f" and {baseline.utility.n} utility questions"
    tests = f"{len(moved)} change{'s' * (len(moved) != 1)}"
    legend = (
        f"{counts}. * changes the prompt alone. Rates in percent, changes of SRA in points. "
        f"p (Holm): sign-flipping test of whole pairs, adjusted for {tests} tested. "
        "area: hypervolume over all strengths at that layer. "
        "KL: mean of the first response token over utility questions, in nats."
    )
    lines += ["", *textwrap.wrap(legend, WIDTH)]
    lines += [*textwrap.wrap(_power(moved), WIDTH), ""]
    lines += written(files)
    return "\n".join(lines) + "\n"


def area_of(points: Sequence[Point], baseline: Point, method: str, layer: int | None) -> float:
    """Hypervolume of a method's settings at one layer against the uncalibrated model."""
    own = [point for point in points if (point.method, point.layer) == (method, layer)]
    return hypervolume(own, baseline, plane_of(baseline))


def _both(judged: Sequence[Judged], choice: OperatingPoint, split: str, mapping: str) -> _Paired:
    at_split = select_for_sra(row for row in judged if row.split == split)
    before = setting_rows(at_split, choice.baseline, split)
    after = setting_rows(at_split, choice.point, split)
    both = [(before[key], after[key]) for key in sorted(before.keys() & after.keys())]
    return _Paired(
        [is_correct_response(b, mapping) for _, b in both],
        [is_correct_response(a, mapping) for a, _ in both],
        [cluster_of(a) for a, _ in both],
        [a.safety or "" for a, _ in both],
    )


def _power(moved: Mapping[str, _Paired]) -> str:
    """What the method whose changes vary most finds; the others find no less."""
    spreads = {name: spread_of(*both) for name, both in moved.items()}
    known = [name for name in spreads if not math.isnan(spreads[name])]
    if not known:
        return ""
    widest = max(known, key=lambda name: spreads[name])
    return f"Power (p unadjusted, {terminal_safe(widest, 40)}): {power_note(*moved[widest])}"


def _line(
    name: str, point: Point, change: str, p: str, kl: float | None, area: float | None
) -> str:
    layer = "" if point.layer is None else str(point.layer)
    utility = "-" if point.utility is None else f"{100 * point.utility.value:.1f}"
    sra, *sides = [_shown_rate(rate) for rate in (point.sra, point.sra_u, point.sra_s)]
    cost = "-" if kl is None else f"{kl:.3f}"
    shown = "" if area is None else f"{area:.3f}"
    cells = (name, layer, f"{point.strength:.3g}", sra, change, p, *sides, utility, cost, shown)
    return _COLUMNS.format(*cells)


def _shown_rate(rate: Interval) -> str:
    return f"{100 * rate.value:.1f}" if rate.n else "-"


def _shown_change(change: Interval) -> str:
    shown = shown_difference(change).replace(" to ", ", ")
    # Wider than its column where shares are 0 or 1.
    return shown if len(shown) <= _CHANGE else shown.replace(".0", "")


def _shown_p(p: float) -> str:
    if math.isnan(p):
        return "-"
    return "<0.001" if p < 0.0005 else f"{p:.3f}"


def _same_place(points: Sequence[Point], wanted: Point) -> Point:
    return next(point for point in points if point.key == wanted.key)


def _mean_kl(results: Sequence[Result], split: str) -> dict[SettingKey, float]:
    return {
        r.key: r.value
        for r in results
        if (r.split, r.dataset, r.variant, r.metric) == (split, "utility", ALL, "KL")
    }
