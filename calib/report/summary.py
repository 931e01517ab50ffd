"""The summary of a run with one method: before and after, the verdict, and the files written."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from calib.config.choices import Safety
from calib.data.splits import PAIRED_QUERIES
from calib.report.alarms import warning_lines
from calib.report.paired import PairedResponses, setting_name
from calib.report.ranking import prompt_only_setting, rank_methods
from calib.report.sentences import (
    against_prompt,
    count_cell,
    difference_text,
    explanation,
    headline,
)
from calib.report.terminal_tables import file_list
from calib.report.verdict import (
    KNOWLEDGE_LABEL,
    RATES,
    SettingChange,
    change_between,
    kept_baseline,
)
from calib.runs.operating_points import REPORTED_SPLIT
from calib.runs.run import Run
from calib.scoring.judged import unjudged
from calib.scoring.tradeoff import OperatingPoint, Point
from calib.util.terminal import WIDTH, terminal_safe


@dataclass(frozen=True)
class _Line:
    label: str
    datasets: tuple[str, ...]
    safety: Safety | None = None
    """Restricts the queries; None for queries means the mean of both sides."""
    rate: str = ""
    """The rate of calib.report.verdict.RATES, if it does not count right responses."""
    cut: str = ""
    """The rate whose responses it counts if they were cut at max_new_tokens; shown if any was."""


# Only the datasets that count towards SRA are present, see calib.data.splits.select_for_sra.
_QUERIES = (*PAIRED_QUERIES, "dual_use")
_SRA = _Line(f"SRA    {RATES['SRA']}", _QUERIES)
_UTILITY = _Line(RATES["utility"].capitalize(), ("utility",))
_LINES = (
    _SRA,
    _Line(f"SRA_u  {RATES['SRA_u']}", _QUERIES, "unsafe"),
    _Line("         image-centric", ("image_centric",), "unsafe"),
    _Line("         text-centric", ("text_centric",), "unsafe"),
    _Line("         dual-use", ("dual_use",), "unsafe"),
    _Line(f"SRA_s  {RATES['SRA_s']}", _QUERIES, "safe"),
    _Line("         image-centric", ("image_centric",), "safe"),
    _Line("         text-centric", ("text_centric",), "safe"),
    _Line("         dual-use", ("dual_use",), "safe"),
    _Line("         answered with a warning", _QUERIES, rate="warned_s"),
    _Line("         cut at max_new_tokens", _QUERIES, cut="SRA"),
    _UTILITY,
    _Line("         cut at max_new_tokens", ("utility",), cut="utility"),
    _Line(KNOWLEDGE_LABEL.capitalize(), ("knowledge",)),
)
_COLUMNS = "{:<36}{:>13}{:>11}{:>26}{:>14}"
_ALONE = "{:<36}{:>13}{:>14}"
"""Columns of a run without a method: the rate, and its n."""
UNCALIBRATED_ONLY = "This run measured only the uncalibrated model: there was nothing to choose"


def summary(run: Run, files: Mapping[str, Path], tables: Sequence[str] = ()) -> str:
    """Compare the uncalibrated model with the operating point on test.

    The run has at most one method besides the prompt-only reference, which the operating point is
    compared with too. Rates are in percent; differences are in percentage points, over the examples
    judged under both settings, with paired, clustered intervals. ``files`` are the paths written,
    by what they contain, and come last; ``tables`` precede them. Lines have at most 100 columns
    unless a path is longer.
    Raises CalibError if a setting has no judged response on test.
    """
    verdict = next((v for v in rank_methods(run) if not v.method.reference), None)
    method = verdict.method if verdict else None
    choice = method.choice if method else kept_baseline(run)
    change = verdict.change if verdict else change_between(run, run.baseline, run.baseline)
    p, least_p = (verdict.p, verdict.least_p) if verdict else (math.nan, None)
    lines = ["", *warning_lines(run)]
    lines += [f"Model       {terminal_safe(run.model_name, WIDTH - 12)}"]
    chosen = ", chosen on validation" if method else ""
    lines += [f"Setting     {setting_name(choice.point)}{chosen}"]
    if method and method.strength_means:
        lines += [f"Strength    {terminal_safe(method.strength_means, WIDTH - 12)}"]
    lines += ["", *_table(change, choice, alone=method is None)]
    settings = (choice.baseline.key, choice.point.key)
    skipped = unjudged(
        row for row in run.judged if row.split == REPORTED_SPLIT and row.key in settings
    )
    if skipped:
        lines += ["", f"Left out: {skipped} response{'s' * (skipped != 1)} without a label."]
    lines.append("")
    if verdict:
        lines += textwrap.wrap(f"{headline(choice, change, p, least_p)}.", WIDTH)
        lines += textwrap.wrap(explanation(choice, change, p), WIDTH)
    else:
        lines += textwrap.wrap(f"{UNCALIBRATED_ONLY}. {change.cut_sentence()}", WIDTH)
    if change.rate == "SRA" and change.queries and not choice.kept_baseline:
        lines += textwrap.wrap(change.queries.power(), WIDTH)
    reference = next((m for m in run.methods if m.reference), None)
    prompt = prompt_only_setting(reference) if reference else None
    if prompt is not None:
        lines += ["", *_prompt_comparison(run, prompt, choice.point)]
    return "\n".join([*lines, *tables, "", *file_list(files)]) + "\n"


def _table(change: SettingChange, choice: OperatingPoint, alone: bool) -> list[str]:
    head = ["uncalibrated", "calibrated", "difference (95% CI)", "n (clusters)"]
    title = f"{REPORTED_SPLIT} split, mapping={change.mapping}"
    heading = _columns(title, head, alone)
    lines = [heading, "-" * len(heading)]
    for line in _LINES:
        if line.cut:
            paired = change.cut(line.cut)
        elif line.rate:
            paired = change.paired(line.rate)
        else:
            paired = change.over(line.datasets, line.safety, by_safety=line is _SRA)
        if paired is not None:
            cells = _cells(paired, choice.kept_baseline)
            lines.append(_columns(line.label, cells, alone))
        elif line is _UTILITY:
            lines.append(_columns(line.label, ["not measured", "", "", "0"], alone))
    return lines


def _cells(paired: PairedResponses, kept: bool) -> list[str]:
    calibrated, difference = ["-", "-"], paired.difference()
    if not kept:
        calibrated = [_percent(paired.rate_after), difference_text(difference)]
    return [_percent(paired.rate_before), *calibrated, count_cell(difference)]


def _columns(label: str, cells: Sequence[str], alone: bool) -> str:
    return _ALONE.format(label, cells[0], cells[-1]) if alone else _COLUMNS.format(label, *cells)


def _prompt_comparison(run: Run, prompt: Point, setting: Point) -> list[str]:
    """Compare the operating point with a prompt-only setting."""
    change = change_between(run, prompt, setting)
    rates = [
        f"{name} {_percent(paired.rate_before)}"
        for name, paired in (
            (change.rate, change.queries),
            ("utility", change.over(_UTILITY.datasets)),
        )
        if paired is not None
    ]
    measured = ", ".join(rates) or "not measured"
    text = f"Prompt only ({terminal_safe(prompt.method, 40)}): {measured}. "
    return textwrap.wrap(text + against_prompt(setting, change), WIDTH)


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f}%"
