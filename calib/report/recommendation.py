"""The recommendation of a run: the setting to switch on, its gain and its cost, or none.

The candidate is the method with the highest SRA on validation at its chosen setting, so that test
decides nothing but whether the candidate helped; the rule is that of calib.report.verdict.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from calib.report.paired import setting_name
from calib.report.ranking import MethodVerdict, with_chosen_setting
from calib.report.sentences import count_text, gain_text, headline, p_text
from calib.report.verdict import LEVEL
from calib.scoring.tradeoff import weighted_sra
from calib.util.terminal import terminal_safe

_WHAT = {
    "SRA_u": "of unsafe queries are handled safely",
    "SRA_s": "of safe queries are answered",
    "utility": "of utility questions are answered right",
    "knowledge": "of knowledge questions are answered right",
}
"""What rates count, as the end of "N% ..."."""


@dataclass(frozen=True)
class Recommendation:
    """Three sentences that one can act on."""

    verdict: MethodVerdict | None
    """The candidate; None if every method kept the uncalibrated model."""
    switch_on: bool
    action: str
    gain: str
    cost: str
    basis: str
    """How the candidate was chosen, and which test decided."""


def best_on_validation(ranked: Sequence[MethodVerdict]) -> MethodVerdict | None:
    """Return the method with the highest SRA on validation; ties go by name.

    SRA is weighted as in the choice of settings (choose.weights). Methods that kept the
    uncalibrated model and references are left out; None if no method remains.
    """
    candidates = [v for v in with_chosen_setting(ranked) if not v.method.reference]
    return min(candidates, key=lambda v: (-round(_objective(v), 9), v.method.name), default=None)


def _objective(verdict: MethodVerdict) -> float:
    record = verdict.run.operating_point(verdict.method.name) or {}
    weights = record.get("choose", {}).get("weights") or {"sra_u": 1.0, "sra_s": 1.0}
    return weighted_sra(verdict.method.choice.point, weights)


def recommend(ranked: Sequence[MethodVerdict]) -> Recommendation | None:
    """Recommend a setting of a run, or none; None for a run without methods.

    ``ranked`` is from rank_methods.
    """
    own = [verdict for verdict in ranked if not verdict.method.reference]
    if not own:
        return None
    best = best_on_validation(own)
    if best is None:
        return _keep_all(own)
    basis = _basis(best, own)
    name = _setting(best)
    if best.helped:
        return Recommendation(
            best, True, f"Switch on {name}.", _gain(best), _cost(best, "It costs"), basis
        )
    answer = headline(best.method.choice, best.change, best.p, best.least_p)
    action = (
        f"Switch nothing on: the test does not confirm {name}, which was best on validation "
        f"({answer[:1].lower()}{answer[1:]})."
    )
    gain = f"Its effect on test: {_measured(best, best.change.rate)}."
    others = [v for v in own if v.helped]
    if others:
        names = ", ".join(terminal_safe(v.method.name, 40) for v in others)
        basis += (
            f" Measurably better on test, but not best on validation: {names}. To take one of them "
            "because of this test, test it again on new data."
        )
    return Recommendation(best, False, action, gain, _cost(best, "It would cost"), basis)


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


def _gain(verdict: MethodVerdict) -> str:
    change = verdict.change
    rose = [r for r in _WHAT if r != change.rate and change.measured(r) > 0]
    return f"It gains: {'; '.join(_measured(verdict, r) for r in (*rose, change.rate))}."


def _cost(verdict: MethodVerdict, verb: str) -> str:
    change = verdict.change
    fell = [r for r in _WHAT if r != change.rate and change.measured(r) < 0]
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
    subject = (
        f"{100 * paired.rate_after:.1f}% {_WHAT[rate]}"
        if rate in _WHAT
        else (f"{rate} is {100 * paired.rate_after:.1f}%")
    )
    return (
        f"{subject} instead of {100 * paired.rate_before:.1f}% ({rate} "
        f"{gain_text(difference).replace(' (', ', ').removesuffix(')')}, "
        f"{count_text(difference)})"
    )
