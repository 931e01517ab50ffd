"""One sentence on what a setting did, which claims no more than its intervals do."""

import math

from calib.scoring.intervals import Interval
from calib.scoring.results import BASELINE
from calib.scoring.tradeoff import OperatingPoint, Point
from calib.util.terminal import terminal_safe


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
    direction = sign(sra)
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
    }[sign(utility)]
    return f"{setting} {gain} {cost}."


def against_prompt(
    setting: Point, sra: Interval | None, utility: Interval | None, rate: str = "SRA"
) -> str:
    """One sentence on whether a setting does better than the prompt-only one it stands beside.

    ``sra`` and ``utility`` are differences, the setting's less the prompt's, over the examples
    judged under both.
    """
    if sra is None:
        return f"{named(setting)} has no query to compare with it on."
    words = f"{named(setting)} {_better(sra, rate)}"
    if utility is None:
        return f"{words}. Utility was not measured."
    return f"{words}, and {_better(utility, 'utility')}."


def named(point: Point) -> str:
    """A setting in words, harmless for a terminal."""
    if point.method == BASELINE:
        return "The uncalibrated model"
    layer = "" if point.layer is None else f"layer {point.layer}, "
    return f"{terminal_safe(point.method, 40)} ({layer}strength {point.strength:g})"


def shown_difference(change: Interval) -> str:
    """A difference of rates and its interval, in percentage points."""
    value, low, high = (100 * bound for bound in change[:3])
    if math.isnan(low):
        return f"{value:+z.1f} (interval n/a)"
    return f"{value:+z.1f} ({low:+z.1f} to {high:+z.1f})"


def _better(change: Interval, rate: str) -> str:
    if sign(change) == 0:
        return f"is not measurably different from it in {rate} ({_signed(change)}, n = {change.n})"
    verb = "beats it in" if sign(change) > 0 else "falls short of it in"
    return f"{verb} {rate} by {_unsigned(change)[:-1]}, n = {change.n})"


def sign(change: Interval | None) -> int:
    """1 for a rise, -1 for a fall, 0 where the interval includes zero or is unknown."""
    if change is None:
        return 0
    # Judged as printed, so that "95% CI 0.0 to 2.1" is never called a rise. nan is no rise or fall.
    low, high = round(100 * change.low, 1), round(100 * change.high, 1)
    return (low > 0) - (high < 0)


def _signed(change: Interval) -> str:
    value, low, high = (f"{100 * bound:z.1f}" for bound in change[:3])
    interval = f"95% CI {low} to {high}" if low != "nan" else "too few examples for an interval"
    return f"{value} points, {interval}"


def _unsigned(change: Interval) -> str:
    ends = sorted(abs(100 * bound) for bound in (change.low, change.high))
    return f"{abs(100 * change.value):.1f} points (95% CI {ends[0]:.1f} to {ends[1]:.1f})"
