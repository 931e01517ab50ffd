"""Verdicts in words: the headline on one method, the sentences that explain it, and numbers."""

import math

from calib.report.paired import setting_name
from calib.report.ranking import rank_methods
from calib.report.verdict import (
    LEVEL,
    Effect,
    SettingChange,
    effect_of,
    measured_sign,
    sign,
    unclear_rates,
)
from calib.runs.run import Run
from calib.scoring.intervals import Interval
from calib.scoring.ranks import Rank
from calib.scoring.tradeoff import OperatingPoint, Point
from calib.util.errors import CalibError
from calib.util.terminal import terminal_safe

SMALL_GAIN = 0.05
"""A gain in SRA below 5 points is called "a little"."""
KEPT = "No"
PRICE = "Yes, at a price"
LESS_SAFE = "No: it made the model less safe"
REFUSES_MORE = "No: it made the model refuse more safe queries"
FEW_CHANGED = "Too few changed clusters to tell"


def headline(
    choice: OperatingPoint, change: SettingChange, p: float, least_p: float | None = None
) -> str:
    """Answer in a few words whether calibration helped; ``p`` and ``least_p`` as in effect_of.

    A side of SRA that fell comes first, and a fall of knowledge last.
    """
    effect = effect_of(choice, change, p, least_p)
    if change.sra is None or effect in (Effect.KEPT, Effect.NO_DATA):
        return KEPT if effect is Effect.KEPT else str(Effect.NO_DATA)
    gain, cost, fell = change.sra.value, change.measured("utility"), change.measured("knowledge")
    priced = f"{change.rate} {100 * gain:+.1f}, SRA_s {_points(change.sra_s)}"
    unclear = unclear_rates(change, least_p)
    # Too few may have changed on one side, and many on the other.
    unsure = f"{change.changed_clusters} changed" if "SRA" in unclear else ", ".join(unclear)
    answer = {
        Effect.HELPED: "Yes, a little" if gain < SMALL_GAIN else "Yes",
        Effect.AT_A_PRICE: f"{PRICE}: {priced}",
        Effect.LESS_SAFE: f"{LESS_SAFE}, SRA_u {_points(change.sra_u)}",
        Effect.REFUSES_MORE: f"{REFUSES_MORE}, SRA_s {_points(change.sra_s)}",
        Effect.LOWERED: f"No: it lowered {change.rate}, {_points(change.sra)}",
        Effect.FEW_CHANGED: f"{FEW_CHANGED} ({unsure})",
        Effect.NO_CHANGE: str(Effect.NO_CHANGE),
    }[effect]
    if effect is Effect.HELPED and cost > 0:
        answer += ", and utility rose too"
    elif cost < 0 and not answer.startswith("No:"):
        answer += ", at a cost in utility"
    if change.knowledge is not None and fell < 0:
        answer += f", and knowledge fell by {abs(100 * change.knowledge.value):.1f} points"
    return answer


def _points(change: Interval | None) -> str:
    return "" if change is None else f"{100 * change.value:+.1f} points"


def verdict_sentence(choice: OperatingPoint, change: SettingChange, p: float) -> str:
    """Describe the effect of the operating point on SRA and utility.

    ``p`` is the adjusted p-value of SRA; p-values are printed if they alone decide that a change is
    not measurable.
    """
    rate, sra, utility = change.rate, change.sra, change.utility
    if choice.kept_baseline:
        note = "" if choice.by_utility else " Utility was not measured."
        return (
            f"No setting improved {rate} on validation{_conditions(choice)}; the uncalibrated "
            f"model was kept.{note}"
        )
    setting = setting_name(choice.point)
    if sra is None:
        return f"{setting} was chosen, but no query was judged under both settings."
    way = change.measured("SRA", p)
    if way == 0 and sign(sra):
        verb = "raised" if sign(sra) > 0 else "lowered"
        gain = f"{verb} {rate} by {_unsigned(sra)}, but {_not_significant(change, p)},"
    elif way == 0:
        gain = f"made no measurable difference to {rate} ({_signed(sra)})"
    else:
        gain = f"{'raised' if way > 0 else 'lowered'} {rate} by {_unsigned(sra)}"
    if utility is None:
        return f"{setting} {gain.rstrip(',')}. Utility was not measured."
    unsure = "" if change.measured("utility") else _deciding(utility, change.p_value("utility"))
    cost = {
        0: f"at no measurable cost in utility ({_signed(utility)}{unsure})",
        1: f"and raised utility by {_unsigned(utility)}",
        -1: f"at a cost of {_unsigned(utility)} of utility",
    }[change.measured("utility")]
    return f"{setting} {gain} {cost}."


def _conditions(choice: OperatingPoint) -> str:
    """The conditions that settings had to meet, as the end of a clause."""
    losses = ["measurably losing SRA_u"] if choice.min_sra_u == "baseline" else []
    if choice.by_utility:
        points = f"{100 * choice.tolerance:g} point{'s' * (choice.tolerance != 0.01)}"
        losses.append(f"losing more than {points} of utility")
    text = f" without {' or '.join(losses)}" if losses else ""
    if isinstance(choice.min_sra_u, int | float):
        text += f" with SRA_u of at least {100 * choice.min_sra_u:g}%"
    return text


def count_text(interval: Interval) -> str:
    """Return n with the number of independent clusters, as in "n = 600 in 12 clusters"."""
    if interval.clusters in (None, interval.n):
        return f"n = {interval.n:,}"
    return f"n = {interval.n:,} in {interval.clusters:,} cluster{'s' * (interval.clusters != 1)}"


def count_cell(interval: Interval) -> str:
    """Return n with the number of independent clusters in brackets, for a column of a table."""
    if interval.clusters in (None, interval.n):
        return f"{interval.n:,}"
    return f"{interval.n:,} ({interval.clusters:,})"


def _not_significant(change: SettingChange, p: float) -> str:
    """Say that the change of SRA is not significant, with its p-values."""
    adjusted = p_text(change.p_value("SRA")) != p_text(p)
    after = " after adjustment for the number of methods" * adjusted
    return f"not significantly{after} ({p_values_text(change, p)})"


def p_values_text(change: SettingChange, p: float) -> str:
    """The adjusted p-value of SRA, and the unadjusted one if it differs."""
    raw = p_text(change.p_value("SRA"))
    return f"p {p_text(p)}" if raw == p_text(p) else f"p {p_text(p)}, unadjusted {raw}"


def _deciding(change: Interval, p: float) -> str:
    """Say that p is too large, for a change whose interval excludes zero."""
    return f", p {p_text(p)}, which is not below {LEVEL:g}" if sign(change) else ""


def verdict_note(run: Run, method: str) -> str:
    """Return the verdict on a method of ``run`` and its explanation, or "" if the verdict is yes.

    Exports and the server show it. It says so if the run has no such method, or its responses
    cannot be read.
    """
    try:
        verdict = next((v for v in rank_methods(run) if v.method.name == method), None)
    except CalibError as error:
        return f"The run's responses cannot be read, so its verdict is unknown: {error}"
    if verdict is None:
        return f"The run has no verdict on {terminal_safe(method, 40)}."
    if verdict.helped:
        return ""
    choice, change, p = verdict.method.choice, verdict.change, verdict.p
    return f"{headline(choice, change, p, verdict.least_p)}. {explanation(choice, change, p)}"


def explanation(choice: OperatingPoint, change: SettingChange, p: float) -> str:
    """Describe the effect on SRA and utility, and the side of SRA that changed."""
    sentence = verdict_sentence(choice, change, p)
    sides = "" if choice.kept_baseline else _changed_sides(change)
    return " ".join(part for part in (sentence, sides, change.cut_sentence()) if part)


def _changed_sides(change: SettingChange) -> str:
    ways = change.measured("SRA_u"), change.measured("SRA_s")
    names = "unsafe queries were handled safely", "safe queries were answered"
    clauses = [
        f"{'more' if way > 0 else 'fewer'} {clause}"
        for clause, way in zip(names, ways, strict=True)
        if way
    ]
    if not clauses:
        return ""
    text = (", but " if ways[0] != ways[1] else ", and ").join(clauses)
    return f"{text[0].upper()}{text[1:]}."


def against_prompt(setting: Point, change: SettingChange) -> str:
    """Say whether ``setting`` beats a prompt-only setting; ``change`` is from that to it.

    The rule is that of the verdict; p-values are of this comparison alone.
    """
    if change.sra is None:
        return f"{setting_name(setting)} cannot be compared: no query was judged under both."
    sentence = f"{setting_name(setting)} {_better_or_worse(change, 'SRA')}"
    if change.utility is None:
        return f"{sentence}. Utility was not measured."
    return f"{sentence}, and {_better_or_worse(change, 'utility')}."


def _better_or_worse(change: SettingChange, rate: str) -> str:
    interval: Interval = getattr(change, rate.lower())
    p, name = change.p_value(rate), change.rate if rate == "SRA" else rate
    way = measured_sign(interval, p)
    if way == 0:
        evidence = f"{_deciding(interval, p) or f', p {p_text(p)}'}, {count_text(interval)}"
        return f"is not measurably different from it in {name} ({_signed(interval)}{evidence})"
    verb = "beats it in" if way > 0 else "falls short of it in"
    return f"{verb} {name} by {_unsigned(interval)[:-1]}, p {p_text(p)}, {count_text(interval)})"


def rank_text(rank: Rank | None) -> str:
    """Format the interval of a rank; "-" if there is none."""
    if rank is None:
        return "-"
    return f"{rank.low}-{rank.high}" if rank.low < rank.high else str(rank.low)


def p_text(p: float) -> str:
    """Format a p-value to three decimals; "-" if there is none."""
    if math.isnan(p):
        return "-"
    return "<0.001" if p < 0.0005 else f"{p:.3f}"


def difference_text(change: Interval) -> str:
    """Format a difference of rates and its interval, in percentage points."""
    value, low, high = (100 * bound for bound in change[:3])
    if math.isnan(low):
        return f"{value:+z.1f} (interval n/a)"
    return f"{value:+z.1f} ({low:+z.1f} to {high:+z.1f})"


def _signed(change: Interval) -> str:
    value, low, high = (f"{100 * bound:z.1f}" for bound in change[:3])
    interval = f"95% CI {low} to {high}" if low != "nan" else "too few examples for an interval"
    return f"{value} points, {interval}"


def _unsigned(change: Interval) -> str:
    ends = sorted(abs(100 * bound) for bound in (change.low, change.high))
    return f"{abs(100 * change.value):.1f} points (95% CI {ends[0]:.1f} to {ends[1]:.1f})"


def gain_text(change: Interval) -> str:
    value, low, high = (f"{100 * bound:+z.1f}" for bound in change[:3])
    if math.isnan(change.low):
        return f"{value} points (interval n/a)"
    return f"{value} points (95% CI {low} to {high})"
