"""The comparison of several methods of one run, ranked by the change of SRA."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from calib.report.alarms import warning_lines
from calib.report.method_sentences import (
    best_method_sentence,
    chance_sentence,
    headline_of_several,
    losses,
    power_sentence,
    search_sentences,
)
from calib.report.ranking import MethodVerdict, names_by_effect, rank_methods
from calib.report.sentences import (
    count_text,
    difference_text,
    p_text,
    rank_text,
)
from calib.report.terminal_tables import file_list
from calib.report.verdict import KL_DIRECTIONS, RATES, cut_shares, kl_metric, mean_kl
from calib.runs.operating_points import REPORTED_SPLIT
from calib.runs.run import Run
from calib.scoring.intervals import Interval
from calib.scoring.tradeoff import Point
from calib.util.terminal import WIDTH, terminal_safe

_COLUMNS = "{:<17}{:>5}{:>9}{:>6}{:>21}{:>6}{:>9}{:>6}{:>6}{:>8}{:>7}"
_NAME_WIDTH = 17
_CHANGE_WIDTH = 20
_HEAD = (
    "method", "layer", "strength", "SRA", "change (95% CI)", "rank", "p (Holm)", "SRA_u",
    "SRA_s", "utility", "KL",
)  # fmt: skip


def comparison(run: Run, files: Mapping[str, Path], tables: Sequence[str] = ()) -> str:
    """Show each method of a run at its operating point, measured on test.

    Methods are ranked by the paired change of SRA, the largest gain first, with the interval of
    each rank; methods that kept the uncalibrated model come last. Methods that change only the
    prompt are marked. Rates are in percent; the change of SRA has a paired clustered bootstrap
    interval and a p-value of the sign-flipping test, adjusted over the methods that have one. Below
    the table are the best method, the methods by verdict and losses, then ``tables``, and last the
    paths written. Lines have at most 100 columns unless a path in ``files`` is longer.
    """
    metric, baseline = kl_metric(run.results), run.baseline
    kl = mean_kl(run.results, metric)
    ranked = rank_methods(run)
    lines = ["", *warning_lines(run)]
    lines += [f"Model       {terminal_safe(run.model_name, WIDTH - 12)}"]
    lines += [
        f"Methods at their operating points, chosen on validation; {REPORTED_SPLIT} split, "
        f"mapping={run.mapping}"
    ]
    lines += ["", _COLUMNS.format(*_HEAD), "-" * WIDTH]
    lines += [_line("uncalibrated", baseline, "", "", "", kl.get(baseline.key))]
    for verdict in ranked:
        method = verdict.method
        name = terminal_safe(method.name, _NAME_WIDTH - 2) + ("*" if method.prompt_only else "")
        if method.choice.kept_baseline:
            lines.append(f"{name:<{_NAME_WIDTH}} none better than uncalibrated on validation")
            continue
        change, p = _change_text(verdict.change.sra), p_text(verdict.p)
        rank = rank_text(verdict.rank)
        lines.append(_line(name, method.tested, change, rank, p, kl.get(method.tested.key)))
    if ranked:
        lines += ["", *textwrap.wrap(f"{headline_of_several(ranked)}.", WIDTH)]
    lines += textwrap.wrap(best_method_sentence(ranked), WIDTH)
    for effect, names in names_by_effect(ranked).items():
        shown = ", ".join(terminal_safe(name, 40) for name in names)
        lines += textwrap.wrap(f"{effect}: {shown}.", WIDTH, subsequent_indent="  ")
    for sentence in (*losses(ranked), *search_sentences(ranked)):
        lines += textwrap.wrap(sentence, WIDTH, subsequent_indent="  ")
    for text in (_warnings(baseline, ranked), _cut(run, ranked)):
        lines += textwrap.wrap(text, WIDTH, subsequent_indent="  ")
    counts = f"Queries: {count_text(baseline.sra)}"
    if baseline.utility is not None:
        counts += f"; utility questions: {count_text(baseline.utility)}"
    tested = sum(not math.isnan(verdict.p) for verdict in ranked)
    tests = f"{tested} change{'s' * (tested != 1)}"
    legend = (
        f"{counts}. * changes only the prompt. Rates in percent, changes of SRA in points. "
        f"p (Holm): sign-flipping test of whole clusters, adjusted for {tests} tested. "
        "rank: its 95% interval, without the places of measurably better or worse methods. "
        f"KL: {KL_DIRECTIONS[metric]} of the first response token, mean over utility questions, in "
        "nats."
    )
    lines += ["", *textwrap.wrap(legend, WIDTH)]
    lines += textwrap.wrap(chance_sentence(ranked), WIDTH)
    lines += textwrap.wrap(power_sentence(ranked), WIDTH)
    return "\n".join([*lines, *tables, "", *file_list(files)]) + "\n"


def _warnings(baseline: Point, ranked: Sequence[MethodVerdict]) -> str:
    """List the share of safe queries that are answered with a warning, by method."""
    if not baseline.warned_s.n:
        return ""
    rates = [
        f"{name} {_rate_text(point.warned_s)}" for name, point in _shown(baseline, ranked).items()
    ]
    return f"warned_s, {RATES['warned_s']}: {', '.join(rates)}."


def _cut(run: Run, ranked: Sequence[MethodVerdict]) -> str:
    """List the share of responses to queries that were cut at max_new_tokens, by method."""
    shares = cut_shares(run)
    cut = {name: shares[point.key]["SRA"] for name, point in _shown(run.baseline, ranked).items()}
    if not any(share.value for share in cut.values()):
        return ""
    rates = [f"{name} {_rate_text(share)}" for name, share in cut.items()]
    return f"Responses to queries cut at max_new_tokens, in percent: {', '.join(rates)}."


def _shown(baseline: Point, ranked: Sequence[MethodVerdict]) -> dict[str, Point]:
    """The uncalibrated model and the operating points that differ from it, by name."""
    chosen = {
        terminal_safe(verdict.method.name, _NAME_WIDTH): verdict.method.tested
        for verdict in ranked
        if not verdict.method.choice.kept_baseline
    }
    return {"uncalibrated": baseline} | chosen


def _line(name: str, point: Point, change: str, rank: str, p: str, kl: float | None) -> str:
    layer = "" if point.layer is None else str(point.layer)
    utility = "-" if point.utility is None else f"{100 * point.utility.value:.1f}"
    sra, *sides = [_rate_text(rate) for rate in (point.sra, point.sra_u, point.sra_s)]
    cost = "-" if kl is None else f"{kl:.3f}"
    strength = f"{point.strength:.3g}"
    return _COLUMNS.format(name, layer, strength, sra, change, rank, p, *sides, utility, cost)


def _rate_text(rate: Interval) -> str:
    return f"{100 * rate.value:.1f}" if rate.n else "-"


def _change_text(change: Interval | None) -> str:
    if change is None:
        return "-"
    text = difference_text(change).replace(" to ", ", ")
    # Changes of 100 points are wider than the column.
    return text if len(text) <= _CHANGE_WIDTH else text.replace(".0", "")
