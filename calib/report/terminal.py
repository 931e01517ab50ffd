"""The last lines of a command: what was written, and what to open."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from calib.config.choices import Safety
from calib.data.splits import PAIRED_QUERIES, select_for_sra
from calib.report.side_by_side import Responses, SideBySide, is_at, setting_rows, side_by_side
from calib.report.verdict import against_prompt, named, shown_difference, verdict
from calib.scoring.intervals import Interval
from calib.scoring.judged import Judged, unjudged
from calib.scoring.tradeoff import OperatingPoint, Point
from calib.util.terminal import WIDTH, columns, padded, terminal_safe

REPORT = "report"
"""Of what was written, what there is to look at."""


def written(files: Mapping[str, Path]) -> list[str]:
    """One line per file, by what it is; the report set apart at the end, where there is one."""
    others = {what: path for what, path in files.items() if what != REPORT}
    width = max((columns(terminal_safe(what)) for what in others), default=0)
    lines = [f"{padded(what, width)}  {terminal_safe(str(path))}" for what, path in others.items()]
    if REPORT not in files:
        return lines
    return [*lines, "", f"Open {terminal_safe(str(files[REPORT]))}"]


# Other tables of the terminal take their words and widths from here.
__all__ = [
    "WIDTH", "named", "padded", "setting_rows", "shown_difference", "summary", "verdict", "written",
]  # fmt: skip


@dataclass(frozen=True)
class _Line:
    label: str
    datasets: tuple[str, ...]
    safety: Safety | None = None
    """Only these queries; None in a line of safety datasets means the mean of both sides."""


# Only one of the parts is counted in SRA: see calib.scoring.judged.select_for_sra.
_QUERIES = (*PAIRED_QUERIES, "dual_use")
_SRA = _Line("SRA    mean of the two below", _QUERIES)
_SRA_U = _Line("SRA_u  unsafe queries handled safely", _QUERIES, "unsafe")
_SRA_S = _Line("SRA_s  safe queries answered", _QUERIES, "safe")
_UTILITY = _Line("Utility questions answered right", ("utility",))
_LINES = (
    _SRA,
    _SRA_U,
    _Line("         image-centric", ("image_centric",), "unsafe"),
    _Line("         text-centric", ("text_centric",), "unsafe"),
    _Line("         dual-use (RR_h)", ("dual_use",), "unsafe"),
    _SRA_S,
    _Line("         image-centric", ("image_centric",), "safe"),
    _Line("         text-centric", ("text_centric",), "safe"),
    _Line("         dual-use (DAR_b)", ("dual_use",), "safe"),
    _UTILITY,
)
_COLUMNS = "{:<38}{:>14}{:>12}{:>26}{:>10}"


def summary(
    judged: Sequence[Judged],
    choice: OperatingPoint,
    model: str,
    files: Mapping[str, Path],
    axis: str = "",
    split: str = "test",
    mapping: str = "calib",
    reference: Point | None = None,
) -> str:
    """The uncalibrated model against the chosen setting on ``split``, a verdict, and the files.

    ``judged`` must hold both settings on that split (what else it holds is ignored); ``files``
    are the paths written, by what they are (see calib.report.terminal), ``axis`` says what strength
    means. ``reference`` is a prompt-only setting that ``judged`` holds too, which the chosen one is
    compared with. Rates are in percent; differences are in percentage points over the examples
    judged under both settings, with a paired bootstrap interval clustered by pair. At most 100
    columns, save where a path alone is longer. Raises CalibError when a setting has no judged
    response on the split.
    """
    at_split = [row for row in judged if row.split == split]
    shown = [*select_for_sra(at_split), *(row for row in at_split if row.safety is None)]
    before = setting_rows(shown, choice.baseline, split)
    after = setting_rows(shown, choice.point, split)
    compared = _compared(before, after, mapping)

    lines = ["", f"Checkpoint  {terminal_safe(model, WIDTH - 12)}"]
    lines += [f"Setting     {named(choice.point)}, chosen on validation"]
    lines += [f"Strength    {terminal_safe(axis, WIDTH - 12)}", ""] if axis else [""]
    differences = {line: one.difference() for line, one in compared.items()}
    lines += _table(compared, differences, choice, split)
    left_out = unjudged(row for row in at_split if is_at(row, choice.baseline, choice.point))
    if left_out:
        lines += ["", f"Left out because they carry no judgement: {left_out} responses."]
    rate = next((line for line in (_SRA, _SRA_U, _SRA_S) if line in compared), _SRA)
    said = verdict(choice, differences.get(rate), differences.get(_UTILITY), _short(rate))
    lines += ["", *textwrap.wrap(said, WIDTH)]
    if _SRA in compared and not choice.kept_baseline:
        lines += textwrap.wrap(compared[_SRA].power(), WIDTH)
    if reference is not None:
        prompted = _compared(setting_rows(shown, reference, split), after, mapping)
        lines += ["", *_beside_prompt(prompted, choice.point, reference, rate)]
    return "\n".join([*lines, "", *written(files)]) + "\n"


def _compared(before: Responses, after: Responses, mapping: str) -> dict[_Line, SideBySide]:
    found = {
        line: side_by_side(before, after, line.datasets, line.safety, line is _SRA, mapping)
        for line in _LINES
    }
    return {line: one for line, one in found.items() if one is not None}


def _table(
    compared: Mapping[_Line, SideBySide],
    differences: Mapping[_Line, Interval],
    choice: OperatingPoint,
    split: str,
) -> list[str]:
    head = "uncalibrated", "calibrated", "difference (95% CI)", "n"
    lines = [_COLUMNS.format(terminal_safe(f"{split} split", 38), *head), "-" * WIDTH]
    for line, one in compared.items():
        cells = [
            _percent(one.old_rate),
            _percent(one.new_rate),
            shown_difference(differences[line]),
        ]
        if choice.kept_baseline:
            cells[1:] = ["-", "-"]
        lines.append(_COLUMNS.format(line.label, *cells, len(one.old)))
    if _UTILITY not in compared:
        lines.append(_COLUMNS.format(_UTILITY.label, "not measured", "", "", 0))
    return lines


def _beside_prompt(
    compared: Mapping[_Line, SideBySide], setting: Point, reference: Point, rate: _Line
) -> list[str]:
    """Whether the chosen setting does better than a prompt alone."""
    rates = [
        f"{name} {_percent(compared[line].old_rate)}"
        for line, name in ((rate, _short(rate)), (_UTILITY, "utility"))
        if line in compared
    ]
    sra = compared[rate].difference() if rate in compared else None
    utility = compared[_UTILITY].difference() if _UTILITY in compared else None
    measured = ", ".join(rates) or "not measured"
    text = f"Prompt only ({terminal_safe(reference.method, 40)}): {measured}. "
    return textwrap.wrap(text + against_prompt(setting, sra, utility, _short(rate)), WIDTH)


def _short(line: _Line) -> str:
    return line.label.partition(" ")[0]


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f}%"
