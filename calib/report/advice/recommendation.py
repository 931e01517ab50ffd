"""The recommendation of a run, or of joint runs: the setting to switch on, its gain and its cost.

Nothing may be worth switching on. The candidate is the method with the highest SRA on validation at
its chosen setting, so that test decides nothing but whether the candidate helped; the rule is that
of calib.report.verdict.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from calib.report.paired import setting_name
from calib.report.ranking import (
    MethodVerdict,
    prompt_only_setting,
    prompt_to_beat,
    with_chosen_setting,
)
from calib.report.sentences import (
    LESS_SAFE,
    REFUSES_MORE,
    against_prompt,
    count_text,
    gain_text,
    p_text,
)
from calib.report.verdict import LEVEL, PLAIN_NAMES, Effect
from calib.util.terminal import terminal_safe

_WHAT = {
    "SRA_u": "of unsafe queries are handled safely",
    "SRA_s": "of safe queries are answered",
    "utility": "of utility questions are answered right",
    "knowledge": "of knowledge questions are answered right",
}
"""What rates count, as the end of "N% ..."."""
_WARNED = {"warned_s": "of safe queries are answered with a warning"}
"""A cost where it rises, which SRA_s does not show: under mapping=calib a warning is right."""


@dataclass(frozen=True)
class Recommendation:
    """Sentences that one can act on."""

    verdict: MethodVerdict | None
    """The candidate; None if every method kept the uncalibrated model."""
    switch_on: bool
    action: str
    gain: str
    cost: str
    prompt: str
    """Whether the candidate beats the best prompt-only method; "" without a candidate."""
    basis: str
    """How the candidate was chosen, and which test decided."""


def best_on_validation(ranked: Sequence[MethodVerdict]) -> MethodVerdict | None:
    """Return the method with the highest SRA on validation; ties go by name.

    SRA is weighted as in the choice of settings (choose.weights). Methods that kept the
    uncalibrated model and references are left out; None if no method remains.
    """
    candidates = [v for v in with_chosen_setting(ranked) if not v.method.reference]
    return min(candidates, key=lambda v: (-round(v.validation_sra, 9), v.method.name), default=None)


def recommend(ranked: Sequence[MethodVerdict]) -> Recommendation | None:
    """Recommend a setting, or none; None without methods.

    ``ranked`` is from rank_methods.
    """
    own = [verdict for verdict in ranked if not verdict.method.reference]
    if not own:
        return None
    best = best_on_validation(own)
    if best is None:
        return _keep_all(own)
    basis, prompt = _basis(best, own), _against_prompt(best, ranked)
    name = _setting(best)
    if best.helped:
        return Recommendation(
            best, True, f"Switch on {name}.", _gain(best), _cost(best, "It costs"), prompt, basis
        )
    action = (
        f"Switch nothing on: the test does not confirm {name}, which was best on validation "
        f"({_why_not(best)})."
    )
    others = [v for v in own if v.helped]
    if others:
        names = ", ".join(terminal_safe(v.method.name, 40) for v in others)
        basis += (
            f" Measurably better on test, but not best on validation: {names}. To take one of them "
            "because of this test, test it again on new data."
        )
    return Recommendation(
        best, False, action, _effect(best), _cost(best, "What fell"), prompt, basis
    )


def _keep_all(own: Sequence[MethodVerdict]) -> Recommendation:
    baseline = own[0].run.baseline
    sra = baseline.sra
    count = "the method" if len(own) == 1 else f"any of the {len(own)} methods"
    rate = own[0].change.rate
    return Recommendation(
        None, False,
        f"Switch nothing on: no setting of {count} was better than the uncalibrated model on "
        "validation.",
        f"There is no gain to expect: the uncalibrated model has {rate} {100 * sra.value:.1f}% on "
        f"test (95% CI {100 * sra.low:.1f} to {100 * sra.high:.1f}, {count_text(sra)}).",
        "There is no cost either: the model stays as it is.",
        "",
        "Settings were compared on validation only.",
    )  # fmt: skip


def _setting(verdict: MethodVerdict) -> str:
    return setting_name(verdict.method.tested)


def _basis(best: MethodVerdict, own: Sequence[MethodVerdict]) -> str:
    chosen, them, adjusted = "The setting was chosen", "it", ""
    if len(own) > 1:
        chosen = f"The method, one of {len(own)}, and its setting were chosen"
        them = "them"
        adjusted = ", adjusted for all methods (Holm),"
    return (
        f"{chosen} on validation; test only measured {them}. A change counts if its 95% interval "
        f"excludes zero and its p-value{adjusted} is below {LEVEL:g}; that of {best.change.rate} "
        f"is {p_text(best.p)}. Responses were labelled by judge={best.run.judge}."
    )


def _why_not(verdict: MethodVerdict) -> str:
    """The verdict in a few words, with every rate that measurably rose or fell."""
    effect, rate = verdict.effect, verdict.change.rate
    unclear = " and ".join(PLAIN_NAMES[name] for name in verdict.unclear)
    reason = {
        Effect.LESS_SAFE: LESS_SAFE.removeprefix("No: "),
        Effect.REFUSES_MORE: REFUSES_MORE.removeprefix("No: "),
        Effect.LOWERED: f"it lowered {rate}",
        Effect.NO_CHANGE: f"no measurable change of {rate}",
        Effect.FEW_CHANGED: f"too few clusters changed in {unclear} to tell",
    }.get(effect, str(effect).lower())
    return ": ".join(filter(None, [reason, _moved(verdict, tuple(_WHAT))]))


def _moved(verdict: MethodVerdict, rates: Sequence[str]) -> str:
    """The rates that measurably rose, then those that fell, as in "utility fell by 3.0 points"."""
    ways = {rate: verdict.change.measured(rate) for rate in rates}
    parts = []
    for way, verb in ((1, "rose"), (-1, "fell")):
        for rate in (rate for rate in rates if ways[rate] == way):
            size = abs(100 * getattr(verdict.change, rate.lower()).value)
            parts.append(f"{PLAIN_NAMES.get(rate, rate)} {verb} by {size:.1f} points")
    return ", ".join(parts)


def _effect(verdict: MethodVerdict) -> str:
    """The rates that measurably rose on test, and SRA."""
    change = verdict.change
    rose = [rate for rate in _WHAT if rate != change.rate and change.measured(rate) > 0]
    overall = f"overall, {_measured(verdict, change.rate)}"
    if not rose:
        return f"No rate of one side measurably rose on test; {overall}."
    return f"What rose on test: {'; '.join(_measured(verdict, rate) for rate in rose)}; {overall}."


def _against_prompt(best: MethodVerdict, ranked: Sequence[MethodVerdict]) -> str:
    """Say whether the candidate beats the prompt-only method with the highest SRA on validation."""
    if best.method.prompt_only:
        edits = any(not v.method.prompt_only for v in ranked)
        others = ", and no method that edits activations was better on validation" * edits
        return f"It changes only the prompt{others}."
    bar = prompt_to_beat(ranked)
    setting = prompt_only_setting(bar.method) if bar else None
    if bar is None or setting is None:
        return "It was not compared with a prompt: no run has a prompt-only method."
    change = best.against(setting)
    name = setting_name(setting)
    way = 0 if change.sra is None else change.measured("SRA")
    answer = {1: "Yes", 0: "Not measurably", -1: "No"}[way]
    simpler = " The prompt is simpler to deploy." * (way <= 0 and bar.helped)
    return (
        f"Does it beat the prompt, {name}? {answer}: {against_prompt(best.method.tested, change)}"
        f"{simpler}"
    )


def _gain(verdict: MethodVerdict) -> str:
    change = verdict.change
    rose = [r for r in _WHAT if r != change.rate and change.measured(r) > 0]
    return f"It gains: {'; '.join(_measured(verdict, r) for r in (*rose, change.rate))}."


def _cost(verdict: MethodVerdict, verb: str) -> str:
    change = verdict.change
    fell = [r for r in _WHAT if r != change.rate and change.measured(r) < 0]
    fell += [rate for rate in _WARNED if change.measured(rate) > 0]
    parts = [_measured(verdict, rate) for rate in fell]
    if change.utility is None:
        if not fell:
            return "No cost was found, but utility was not measured."
        parts.append("utility was not measured")
    elif "utility" not in fell:
        size = f"{gain_text(change.utility)}, {count_text(change.utility)}"
        possible = -100 * change.utility.low
        limit = f"; a loss of up to {possible:.1f} points cannot be ruled out" * (possible >= 0.05)
        parts.append(f"{'no measurable loss of ' if fell else ''}utility, {size}{limit}")
    return f"{verb if fell else 'No measurable cost'}: {'; '.join(parts)}."


def _measured(verdict: MethodVerdict, rate: str) -> str:
    """A change, as in "69.0% of safe queries are answered instead of 74.7% (SRA_s -5.7 ...)"."""
    change = verdict.change
    paired = (
        change.over(("knowledge",))
        if rate == "knowledge"
        else change.paired("SRA" if rate == change.rate else rate)
    )
    if paired is None:
        return f"{rate} was not measured"
    difference = paired.difference()
    what = _WHAT | _WARNED
    subject = (
        f"{100 * paired.rate_after:.1f}% {what[rate]}"
        if rate in what
        else (f"{rate} is {100 * paired.rate_after:.1f}%")
    )
    return (
        f"{subject} instead of {100 * paired.rate_before:.1f}% ({rate} "
        f"{gain_text(difference).replace(' (', ', ').removesuffix(')')}, "
        f"{count_text(difference)})"
    )
