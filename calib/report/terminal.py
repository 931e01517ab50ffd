"""The end of a run in the terminal: what was chosen, what it gained, what it cost, where it is."""

import math
import textwrap
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from calib.data.example import Safety
from calib.data.parts import PAIRED_QUERIES, counted_in_sra
from calib.errors import CalibError
from calib.scoring.intervals import Interval, paired_difference
from calib.scoring.judged import Judged, cluster_of, is_right, unjudged
from calib.scoring.power import power_note
from calib.scoring.results import BASELINE
from calib.scoring.tradeoff import OperatingPoint, Point

WIDTH = 100


@dataclass(frozen=True)
class _Line:
    label: str
    datasets: tuple[str, ...]
    safety: Safety | None = None
    """Only these queries; None in a line of safety datasets means the mean of both sides."""


# Only one of the parts is counted in SRA: see calib.scoring.judged.counted_in_sra.
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


def printable(text: str, width: int | None = None) -> str:
    """``text`` made harmless for a terminal, in one line, cut in the middle to ``width`` columns.

    Control characters (so ANSI escapes), direction overrides, invisible characters, line breaks
    and lone surrogates appear as their escapes, e.g. \\x1b.
    """
    shown = "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
        else character
        for character in text
    )
    if width is None or _columns(shown) <= width:
        return shown
    head, tail = shown, shown
    while _columns(head) > width // 2:
        head = head[:-1]
    while _columns(tail) > width - width // 2 - 1:
        tail = tail[1:]
    return f"{head}…{tail}"


def padded(text: str, width: int) -> str:
    """``text`` as printable shows it, cut or filled with blanks to just ``width`` columns."""
    shown = printable(text, width)
    return shown + " " * (width - _columns(shown))


def summary(
    judged: Sequence[Judged],
    choice: OperatingPoint,
    model: str,
    files: Mapping[str, Path],
    axis: str = "",
    split: str = "test",
    mapping: str = "calib",
) -> str:
    """The uncalibrated model against the chosen setting on ``split``, a verdict, and the files.

    ``judged`` must hold both settings on that split (what else it holds is ignored); ``files``
    are the paths written, by what they are, ``axis`` says what strength means. Rates are in
    percent; differences are in percentage points over the examples judged under both settings, with
    a paired bootstrap interval clustered by pair. At most 100 columns, save where a path alone is
    longer. Raises CalibError when a setting has no judged response on the split.
    """
    at_split = [row for row in judged if row.split == split]
    shown = [*counted_in_sra(at_split), *(row for row in at_split if row.safety is None)]
    before = setting_rows(shown, choice.baseline, split)
    after = setting_rows(shown, choice.point, split)
    pairs = [(before[key], after[key]) for key in sorted(before.keys() & after.keys())]

    lines = ["", f"Checkpoint  {printable(model, WIDTH - 12)}"]
    lines += [f"Setting     {named(choice.point)}, chosen on validation"]
    lines += [f"Strength    {printable(axis, WIDTH - 12)}", ""] if axis else [""]
    head = (
        printable(f"{split} split", 38),
        "uncalibrated",
        "calibrated",
        "difference (95% CI)",
        "n",
    )
    lines += [_COLUMNS.format(*head), "-" * WIDTH]
    differences: dict[str, Interval] = {}
    power = ""
    for line in _LINES:
        chosen = [(a, b) for a, b in pairs if _belongs(a, line)]
        by_safety = line is _SRA
        if not chosen or (by_safety and len({a.safety for a, _ in chosen}) < 2):
            continue
        groups = [a.safety or "" for a, _ in chosen] if by_safety else [""] * len(chosen)
        old = [is_right(a, mapping) for a, _ in chosen]
        new = [is_right(b, mapping) for _, b in chosen]
        clusters = [cluster_of(a) for a, _ in chosen]
        difference = paired_difference(new, old, clusters, groups)
        differences[line.label] = difference
        if by_safety and not choice.kept_baseline:
            power = power_note(new, old, clusters, groups)
        cells = [_percent(old, groups), _percent(new, groups), shown_difference(difference)]
        if choice.kept_baseline:
            cells[1:] = ["-", "-"]
        lines.append(_COLUMNS.format(line.label, *cells, len(chosen)))
    if _UTILITY.label not in differences:
        lines.append(_COLUMNS.format(_UTILITY.label, "not measured", "", "", 0))

    left_out = unjudged(row for row in at_split if _is_at(row, choice.baseline, choice.point))
    if left_out:
        lines += ["", f"Left out because they carry no judgement: {left_out} responses."]
    side = next((one for one in (_SRA, _SRA_U, _SRA_S) if one.label in differences), _SRA)
    text = verdict(
        choice,
        differences.get(side.label),
        differences.get(_UTILITY.label),
        side.label.partition(" ")[0],
    )
    lines += ["", *textwrap.wrap(f"{text} {power}", WIDTH), ""]
    width = max((_columns(printable(what)) for what in files), default=0)
    lines += [f"{printable(what):<{width}}  {printable(str(path))}" for what, path in files.items()]
    return "\n".join(lines) + "\n"


def verdict(
    choice: OperatingPoint, sra: Interval | None, utility: Interval | None, rate: str = "SRA"
) -> str:
    """One sentence on what the chosen setting did; ``sra`` and ``utility`` are differences.

    ``rate`` names what ``sra`` is: one side of it where a benchmark has no other. It claims a
    change only where the printed interval excludes zero.
    """
    if choice.kept_baseline:
        most = f"{100 * choice.tolerance:g} point{'s' * (choice.tolerance != 0.01)}"
        condition = f" without losing more than {most} of utility" if choice.by_utility else ""
        note = "" if choice.by_utility else " Utility was not measured."
        return (
            f"No setting improved {rate} on validation{condition}; the uncalibrated model was kept."
            + note
        )
    setting = named(choice.point)
    if sra is None:
        return f"{setting} was chosen, but there is no query to compare on."
    direction = _direction(sra)
    if direction == 0:
        gain = f"made no measurable difference to {rate} ({_signed(sra)})"
    else:
        gain = f"{'raised' if direction > 0 else 'lowered'} {rate} by {_unsigned(sra)}"
    if utility is None:
        return f"{setting} {gain}. Utility was not measured."
    cost = {
        0: f"at no measurable cost in utility ({_signed(utility)})",
        1: f"and raised utility by {_unsigned(utility)}",
        -1: f"at a cost of {_unsigned(utility)} of utility",
    }[_direction(utility)]
    return f"{setting} {gain} {cost}."


def setting_rows(rows: Iterable[Judged], point: Point, split: str) -> dict[tuple[str, str], Judged]:
    found = {
        (row.dataset, row.example_id): row
        for row in rows
        if _is_at(row, point) and not unjudged([row])
    }
    if not found:
        raise CalibError(
            f"There is no judged response of {named(point)} on split '{printable(split)}'; "
            "run and judge that setting there before comparing it."
        )
    return found


def _is_at(row: Judged, *points: Point) -> bool:
    return any(
        (row.method, row.layer, row.strength) == (point.method, point.layer, point.strength)
        for point in points
    )


def _belongs(row: Judged, line: _Line) -> bool:
    return row.dataset in line.datasets and line.safety in (None, row.safety)


def _percent(right: Sequence[bool], groups: Sequence[str]) -> str:
    means = [
        fmean(is_right for is_right, other in zip(right, groups, strict=True) if other == group)
        for group in set(groups)
    ]
    return f"{100 * fmean(means):.1f}%"


def shown_difference(change: Interval) -> str:
    value, low, high = (100 * bound for bound in change[:3])
    if math.isnan(low):
        return f"{value:+z.1f} (interval n/a)"
    return f"{value:+z.1f} ({low:+z.1f} to {high:+z.1f})"


def _direction(change: Interval) -> int:
    # Judged as printed, so that "95% CI 0.0 to 2.1" is never called a rise. nan is no direction.
    low, high = round(100 * change.low, 1), round(100 * change.high, 1)
    return (low > 0) - (high < 0)


def _signed(change: Interval) -> str:
    value, low, high = (f"{100 * bound:z.1f}" for bound in change[:3])
    interval = f"95% CI {low} to {high}" if low != "nan" else "too few examples for an interval"
    return f"{value} points, {interval}"


def _unsigned(change: Interval) -> str:
    ends = sorted(abs(100 * bound) for bound in (change.low, change.high))
    return f"{abs(100 * change.value):.1f} points (95% CI {ends[0]:.1f} to {ends[1]:.1f})"


def named(point: Point) -> str:
    if point.method == BASELINE:
        return "The uncalibrated model"
    layer = "" if point.layer is None else f"layer {point.layer}, "
    return f"{printable(point.method, 40)} ({layer}strength {point.strength:g})"


def _columns(text: str) -> int:
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )
