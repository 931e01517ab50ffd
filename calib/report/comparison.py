"""The comparison of several methods of one run, ranked by the hypervolume they gain."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from calib.report.terminal_tables import file_list
from calib.report.verdict import (
    MethodVerdict,
    adjusted_p_values,
    difference_text,
    mean_kl,
    rank_methods,
    with_chosen_setting,
)
from calib.runs.operating_points import REPORTED_SPLIT
from calib.runs.run import Run
from calib.scoring.intervals import Interval
from calib.scoring.tradeoff import Point
from calib.util.terminal import WIDTH, terminal_safe

_COLUMNS = "{:<16}{:>6}{:>9}{:>6}{:>21}{:>9}{:>6}{:>6}{:>8}{:>7}{:>6}"
_CHANGE_WIDTH = 20
_HEAD = (
    "method", "layer", "strength", "SRA", "change (95% CI)", "p (Holm)", "SRA_u", "SRA_s",
    "utility", "KL", "area",
)  # fmt: skip


def comparison(run: Run, files: Mapping[str, Path]) -> str:
    """Show each method of a run at its operating point, measured on test.

    Methods are ranked by hypervolume: the area that their strengths at their layer gain over the
    uncalibrated model in the plane of SRA and utility (SRA_u and SRA_s if utility was not
    measured). Methods that change only the prompt are marked. Rates are in percent; the change of
    SRA has a paired bootstrap interval clustered by pair, and a p-value of the sign-flipping test,
    adjusted over the methods that have one. Lines have at most 100 columns unless a path in
    ``files`` is longer.
    """
    kl, baseline = mean_kl(run.results), run.baseline
    ranked = rank_methods(run)
    adjusted = adjusted_p_values(ranked)
    lines = ["", f"Checkpoint  {terminal_safe(run.checkpoint, WIDTH - 12)}"]
    lines += [f"Methods at their operating points, chosen on validation; {REPORTED_SPLIT} split"]
    lines += ["", _COLUMNS.format(*_HEAD), "-" * WIDTH]
    lines += [_line("uncalibrated", baseline, "", "", kl.get(baseline.key), None)]
    for verdict in ranked:
        method = verdict.method
        name = terminal_safe(method.name, 15) + ("*" if method.prompt_only else "")
        if method.choice.kept_baseline:
            kept = "none better than uncalibrated on validation"
            lines.append(f"{name:<16} {kept:<77}{verdict.area:>6.3f}")
            continue
        change, p = _change_text(verdict.change.sra), _p_text(adjusted[method.name])
        cost = kl.get(method.tested.key)
        lines.append(_line(name, method.tested, change, p, cost, verdict.area))
    counts = f"n = {baseline.sra.n} queries"
    if baseline.utility is not None:
        counts += f" and {baseline.utility.n} utility questions"
    tests = f"{len(adjusted)} change{'s' * (len(adjusted) != 1)}"
    legend = (
        f"{counts}. * changes only the prompt. Rates in percent, changes of SRA in points. "
        f"p (Holm): sign-flipping test of whole pairs, adjusted for {tests} tested. "
        "area: hypervolume over all strengths at that layer. "
        "KL: mean of the first response token over utility questions, in nats."
    )
    lines += ["", *textwrap.wrap(legend, WIDTH)]
    lines += [*textwrap.wrap(_power(with_chosen_setting(ranked)), WIDTH), ""]
    lines += file_list(files)
    return "\n".join(lines) + "\n"


def _power(chosen: Sequence[MethodVerdict]) -> str:
    """Describe the power for the method whose changes vary most; it is higher for the others."""
    paired = {v.method.name: v.change.queries for v in chosen if v.change.queries is not None}
    spreads = {name: queries.spread() for name, queries in paired.items()}
    known = [name for name in spreads if not math.isnan(spreads[name])]
    if not known:
        return ""
    widest = max(known, key=lambda name: spreads[name])
    return f"Power (p unadjusted, {terminal_safe(widest, 40)}): {paired[widest].power()}"


def _line(
    name: str, point: Point, change: str, p: str, kl: float | None, area: float | None
) -> str:
    layer = "" if point.layer is None else str(point.layer)
    utility = "-" if point.utility is None else f"{100 * point.utility.value:.1f}"
    sra, *sides = [_rate_text(rate) for rate in (point.sra, point.sra_u, point.sra_s)]
    cost = "-" if kl is None else f"{kl:.3f}"
    gained = "" if area is None else f"{area:.3f}"
    strength = f"{point.strength:.3g}"
    return _COLUMNS.format(name, layer, strength, sra, change, p, *sides, utility, cost, gained)


def _rate_text(rate: Interval) -> str:
    return f"{100 * rate.value:.1f}" if rate.n else "-"


def _change_text(change: Interval | None) -> str:
    if change is None:
        return "-"
    text = difference_text(change).replace(" to ", ", ")
    # Changes of 100 points are wider than the column.
    return text if len(text) <= _CHANGE_WIDTH else text.replace(".0", "")


def _p_text(p: float) -> str:
    if math.isnan(p):
        return "-"
    return "<0.001" if p < 0.0005 else f"{p:.3f}"
