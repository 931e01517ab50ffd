"""Several methods of a run in words: the headline, the best one, losses, power and the search."""

import math
from collections.abc import Sequence

from calib.report.ranking import (
    MethodVerdict,
    few_clusters,
    widest_spread,
    with_chosen_setting,
)
from calib.report.sentences import gain_text, headline, p_text, p_values_text
from calib.report.verdict import LEVEL, Effect, measured_sign
from calib.util.terminal import terminal_safe


def headline_of_several(ranked: Sequence[MethodVerdict]) -> str:
    """Answer in a few words whether any of several methods helped; they are from rank_methods.

    The answer is "Cannot tell" if none did and too few clusters were tested or changed, and "" if
    there is no method.
    """
    if not ranked:
        return ""
    helped = sum(verdict.helped for verdict in ranked)
    rate = ranked[0].change.rate
    counted = f"{helped} of {len(ranked)} methods measurably raised {rate}"
    if rate == "SRA":
        counted += " and did not lower SRA_u"
    if helped:
        return f"Yes: {counted}"
    if few_clusters(ranked):
        return f"Cannot tell: {counted}, and with so few clusters none could have"
    unclear = sum(verdict.effect is Effect.FEW_CHANGED for verdict in ranked)
    if unclear:
        return f"Cannot tell: {counted}, but for {unclear} of them too few clusters changed to tell"
    return f"No: {counted}"


def best_method_sentence(ranked: Sequence[MethodVerdict]) -> str:
    """Name the method with the largest gain of SRA, with its paired difference to the next.

    ``ranked`` is from rank_methods. The headline follows if the method did not help for another
    reason than its gain.
    """
    chosen = with_chosen_setting(ranked)
    gain = chosen[0].change.sra if chosen else None
    if gain is None:
        return "No method has a measured change."
    best, *others = chosen
    rate = best.change.rate
    name = terminal_safe(best.method.name, 40)
    if measured_sign(gain, best.p) <= 0:
        text = (
            f"the largest change: {name}, {gain_text(gain)}, {p_values_text(best.change, best.p)}"
        )
        first = next((verdict for verdict in others if verdict.helped), None)
        if first is None or first.change.sra is None:
            return f"No method measurably raised {rate}; {text}."
        return (
            f"The first method by rank that measurably raised {rate} is "
            f"{terminal_safe(first.method.name, 40)}: {gain_text(first.change.sra)}, "
            f"{p_values_text(first.change, first.p)}. Not measurable: {text}."
        )
    sentence = f"{name} raised {rate} most: {gain_text(gain)}"
    if others:
        sentence += _margin(best, others[0])
    if best.helped:
        return f"{sentence}."
    return f"{sentence}. {headline(best.method.choice, best.change, best.p, best.least_p)}."


def _margin(best: MethodVerdict, other: MethodVerdict) -> str:
    change = best.against(other.method.tested)
    if change.sra is None:
        return ""
    p = change.p_value("SRA")
    unsure = "" if measured_sign(change.sra, p) else ", not measurably different"
    name = terminal_safe(other.method.name, 40)
    return f"; against {name}: {gain_text(change.sra)}, p {p_text(p)}{unsure}"


def losses(ranked: Sequence[MethodVerdict]) -> list[str]:
    """Name the methods that measurably lowered utility, and those that lowered knowledge."""
    chosen = with_chosen_setting(ranked)
    sentences = []
    for rate in ("utility", "knowledge"):
        names = [v.method.name for v in chosen if v.change.measured(rate) < 0]
        if names:
            shown = ", ".join(terminal_safe(name, 40) for name in names)
            sentences.append(f"{rate.capitalize()} fell: {shown}.")
    return sentences


def chance_sentence(ranked: Sequence[MethodVerdict]) -> str:
    """Say how large a gain of the best of several settings on test chance alone gives."""
    gains = [(v.chance.gain, v.chance.settings, v.method.name) for v in ranked if v.chance]
    several = [gain for gain in gains if gain[1] > 1]
    if not several:
        return ""
    (low, k_low, first), (high, k_high, last) = min(several), max(several)

    def shown(gain: float, k: int, name: str) -> str:
        return f"{100 * gain:.1f} points (k = {k}, {terminal_safe(name, 40)})"

    least = "" if len(several) == 1 else f"{shown(low, k_low, first)} to "
    return (
        "Best of k by chance: if no setting had an effect, the best of the k settings of a method "
        f"on test would still gain {least}{shown(high, k_high, last)} of {ranked[0].change.rate} "
        "or more in 1 of 20 repetitions. No number here is such a best: settings were chosen on "
        "validation."
    )


def power_sentence(ranked: Sequence[MethodVerdict]) -> str:
    """Describe the power for the method whose changes vary most; it is higher for the others."""
    widest = widest_spread(ranked)
    if widest is None:
        return ""
    name, queries = widest
    note = queries.power()
    text = f"Power (p unadjusted, {terminal_safe(name, 40)}): {note[:1].lower()}{note[1:]}"
    tested = sum(not math.isnan(verdict.p) for verdict in ranked)
    if sum(not verdict.method.reference for verdict in ranked) < 2 or tested < 2:
        return text
    # With k changed clusters p is at least 2^(1 - k), which Holm multiplies by the number of tests.
    needed = math.floor(1 - math.log2(LEVEL / tested)) + 1
    return (
        f"{text} Adjusted for {tested} changes, no p is below {LEVEL:g} unless at least {needed} "
        "clusters change."
    )


def search_sentences(ranked: Sequence[MethodVerdict]) -> list[str]:
    """Say how many settings each method chose from on validation, and which methods use labels."""
    by_count: dict[int, list[str]] = {}
    for verdict in ranked:
        if count := verdict.settings_searched:
            by_count.setdefault(count, []).append(terminal_safe(verdict.method.name, 40))
    if len(by_count) == 1:
        searched = f"Settings searched on validation: {next(iter(by_count))} for every method."
    else:
        parts = [f"{count} ({', '.join(names)})" for count, names in sorted(by_count.items())]
        searched = f"Settings searched on validation: {'; '.join(parts)}."
    by_kind: dict[str, list[str]] = {}
    for verdict in ranked:
        if verdict.supervision is not None:
            by_kind.setdefault(verdict.supervision, []).append(
                terminal_safe(verdict.method.name, 40)
            )
    if not by_kind:
        return [searched]
    unsupervised = by_kind.pop("none", [])
    parts = [f"{kind} ({', '.join(names)})" for kind, names in by_kind.items()]
    return [
        searched,
        f"Labels of examples are used for: {'; '.join(parts) or 'nothing'}. "
        f"Unsupervised: {', '.join(unsupervised) or 'no method'}.",
    ]
