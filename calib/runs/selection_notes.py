"""Notes for the reader on how operating points were selected."""

from collections.abc import Iterable, Mapping
from typing import Any

from calib.config.choose import ChooseConfig
from calib.runs.operating_points import Selection
from calib.scoring.conditions import clusters_that_tell
from calib.scoring.intervals import Interval


def selection_notes(selected: Mapping[str, Selection], rule: ChooseConfig) -> list[str]:
    """How many settings each condition excluded, and where questions or queries cannot tell.

    ``selected`` holds the selections of a run by method.
    """
    tried = sum(selection.settings for selection in selected.values())
    if not tried:
        return []
    points = f"{100 * rule.utility_tolerance:g} point{'s' * (rule.utility_tolerance != 0.01)}"
    level = f"{100 * rule.confidence:g}%"
    reasons = {
        "utility_tolerance": f"more than {points} of utility is lost with {level} confidence",
        "min_sra_u": f"SRA_u fell measurably ({level} interval)"
        if rule.min_sra_u == "baseline"
        else f"SRA_u is below {rule.min_sra_u}",
    }
    notes = []
    for condition, reason in reasons.items():
        if excluded := _counted(selected, condition):
            notes.append(f"choose.{condition} excluded {excluded}, because {reason}")
    if undecided := _counted(selected, "undecided"):
        notes.append(f"for {undecided}, {_undecided_reason(selected, rule, points)}")
    if lost := _counted(selected, "lost_sra_u"):
        lowered = _clusters(selection.change.sra_u for selection in selected.values())
        notes.append(
            f"for {lost}, SRA_u fell on validation, but not measurably ({lowered} "
            f"cluster{'s' * (lowered != 1)} of unsafe queries): choose.min_sra_u excludes "
            "measurable losses only"
        )
    return notes


def variant_notes(
    selected: Mapping[str, Selection], details: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """The variant that each selected number stands for, where a method has several."""
    notes = []
    for name, selection in selected.items():
        variants = details.get(name, {}).get("variants", {})
        if len(variants) > 1 and not selection.choice.kept_baseline:
            number = f"{selection.choice.point.strength:g}"
            notes.append(f"{name}: strength {number} is {variants[number]}")
    return notes


def _undecided_reason(selected: Mapping[str, Selection], rule: ChooseConfig, points: str) -> str:
    """Why the questions cannot tell whether more than ``points`` of utility is lost."""
    count = _clusters(selection.change.utility for selection in selected.values())
    questions = f"{count} independent utility question{'s' * (count != 1)}"
    needed = clusters_that_tell(rule.utility_tolerance, rule.confidence)
    if needed and count < needed:
        return (
            f"{questions} are too few to rule out a loss of more than {points} "
            f"(choose.utility_tolerance), even if no answer changes: {needed} are needed"
        )
    return (
        f"the changed answers to {questions} leave open whether more than {points} of utility is "
        "lost (choose.utility_tolerance)"
    )


def _clusters(changes: Iterable[Interval | None]) -> int:
    """The number of clusters behind changes of a rate."""
    return max((change.clusters or change.n for change in changes if change), default=0)


def _counted(selected: Mapping[str, Selection], outcome: str) -> str:
    """The settings with this outcome, as "3 of 24 settings", and by method if there are several."""
    counts = {name: selection.counts.get(outcome, 0) for name, selection in selected.items()}
    if not any(counts.values()):
        return ""
    tried = sum(selection.settings for selection in selected.values())
    text = f"{sum(counts.values())} of {tried} setting{'s' * (tried != 1)}"
    several = sum(selection.settings > 0 for selection in selected.values()) > 1
    by_method = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
    return f"{text} ({by_method})" if several else text
