"""Operating points: selected on validation, recorded in operating_points.json, reported on test."""

import math
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from calib.config.choose import ChooseConfig
from calib.config.method import SettingKey
from calib.config.named_model import model_name
from calib.directions.separation import chance_note
from calib.interventions.intervention import Method
from calib.scoring.conditions import (
    Conditions,
    ValidationChange,
    changes_on_validation,
    clusters_that_tell,
)
from calib.scoring.intervals import Interval
from calib.scoring.judged import Judged
from calib.scoring.results import BASELINE, Result
from calib.scoring.tradeoff import (
    OperatingPoint,
    Point,
    baseline_of,
    choose_layer,
    choose_operating_point,
    points_of,
)
from calib.util.errors import CalibError

OPERATING_POINTS_FILE = "operating_points.json"
REPORTED_SPLIT = "test"
"""The split that a run reports its operating points on."""


@dataclass(frozen=True)
class Selection:
    """The operating point of a method, and what the rule made of the method's settings."""

    layer: int | None
    """None for a method without layers."""
    choice: OperatingPoint
    settings: int
    """Number of settings on validation."""
    counts: Mapping[str, int]
    """How many of them each condition excluded, and of the others: how many are "undecided" (the
    questions cannot tell whether they keep the utility), and how many have "lost_sra_u" (SRA_u
    fell, but not measurably)."""
    change: ValidationChange
    """The change that the operating point made on validation."""


def select_operating_points(
    judged: Iterable[Judged],
    results: Sequence[Result],
    methods: Iterable[str],
    rule: ChooseConfig,
    mapping: str,
    tested: Container[SettingKey] | None = None,
) -> dict[str, Selection]:
    """Select the layer and the operating point of each of ``methods`` by ``rule``.

    ``judged`` are the responses on validation under the label mapping ``mapping``, and ``results``
    their scores. Only the settings in ``tested`` can be selected, by default all; the counts are of
    all. Raises CalibError if the uncalibrated model is not among the results.
    """
    conditions = Conditions(rule, changes_on_validation(judged, mapping, rule.confidence))
    return {
        method: select_operating_point(results, conditions, method, tested) for method in methods
    }


def select_operating_point(
    results: Sequence[Result],
    conditions: Conditions,
    method: str,
    tested: Container[SettingKey] | None = None,
) -> Selection:
    """Select the layer and the operating point of a method's grid on validation.

    A layer is selected even when no setting there beats the uncalibrated model, so that its curve
    can be shown.
    """
    points = points_of(results, "validation")
    baseline = baseline_of(points)
    of_method = [point for point in points if point.method == method]
    own = [point for point in of_method if tested is None or point.key in tested]
    rule = conditions.rule

    def meets(point: Point) -> bool:
        return conditions.excluding(point) is None

    layer = None
    if any(point.layer is not None for point in own):
        by_layer = choose_layer(own, baseline, meets, rule)
        layer, choice = by_layer.layer, by_layer.operating_point
    else:
        choice = choose_operating_point(own, baseline, meets, rule)
    tried = [point for point in of_method if point.method != BASELINE]
    change = conditions.change(choice.point)
    return Selection(layer, choice, len(tried), conditions.count(tried), change)


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


def operating_point_records(
    checkpoint: str,
    selected: Mapping[str, Selection],
    rule: ChooseConfig,
    axes: Mapping[str, str],
    prompt_only: Collection[str],
    reference: str | None = None,
    details: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """The content of operating_points.json.

    ``selected`` holds the selection of each method by ``rule``, ``axes`` the meaning of its
    strength, ``details`` its ``fit_details``; ``prompt_only`` names the methods that change the
    prompt alone, and ``reference`` the one of them that was run for comparison only.
    """
    return [
        {
            "checkpoint": checkpoint,
            "model": model_name(checkpoint),
            "method": method,
            "layer": selection.layer,
            "strength": selection.choice.point.strength,
            "strength_means": axes.get(method, ""),
            "prompt_only": method in prompt_only,
            "reference": method == reference,
            "chosen_on": "validation",
            "rule": _rule_text(selection.choice),
            "choose": asdict(rule),
            "tolerance": rule.utility_tolerance,
            "kept_uncalibrated": selection.choice.kept_baseline,
            "settings": selection.settings,
            **(details or {}).get(method, {}),
            "excluded_by_utility_tolerance": selection.counts.get("utility_tolerance", 0),
            "excluded_by_min_sra_u": selection.counts.get("min_sra_u", 0),
            "undecided": selection.counts.get("undecided", 0),
            "utility_change": _rounded(selection.change.utility),
            "sra_u_change": _rounded(selection.change.sra_u),
        }
        for method, selection in selected.items()
    ]


def _rule_text(choice: OperatingPoint) -> str:
    conditions = ["no loss of utility beyond the tolerance"] if choice.by_utility else []
    if choice.min_sra_u is not None:
        floor = "no measurable loss of SRA_u"
        given = f"SRA_u of at least {choice.min_sra_u}"
        conditions.append(floor if choice.min_sra_u == "baseline" else given)
    text = "highest SRA" + (" with " if conditions else "") + " and ".join(conditions)
    return text if choice.by_utility else f"{text} (no utility was measured)"


def _rounded(change: Interval | None) -> list[float | None] | None:
    """Value, low and high of a change, without digits that rounding decides; unknown bounds are
    null."""
    if change is None:
        return None
    return [None if math.isnan(bound) else round(bound, 6) for bound in change[:3]]


FIT_DETAILS = ("supervision", "variants", "fit_notes", "demonstrations")
"""Fields of a record that a fitted method adds."""


def fit_details(method: Method, grid_notes: Sequence[str] = ()) -> dict[str, Any]:
    """Where a method uses labels, and what its fit picked from the data: notes on gates,
    thresholds, layers and heads, and those on its grid; the demonstrations of each setting; and the
    names of its variants, if its strengths are numbers of such."""
    names = {str(number): name for number, name in method.variants.items()}
    shown = {
        str(strength): {part: asdict(each) for part, each in by_part.items()}
        for strength, by_part in method.demonstrations.items()
    }
    found = {"variants": names, "fit_notes": [*method.notes, *grid_notes], "demonstrations": shown}
    return {"supervision": method.supervision} | {k: v for k, v in found.items() if v}


def direction_note(method: Method, layer: int | None) -> str:
    """A sentence where a method's direction is not above chance at its selected layer."""
    if method.direction is None or layer not in method.direction.layers:
        return ""
    text = chance_note(method.direction, layer, chosen=False)
    return f"{method.name}: {text}" if text else ""


@dataclass(frozen=True)
class ReportedMethod:
    """A method of a run at the setting that the run reports."""

    name: str
    layer: int | None
    """The layer whose settings were run on the test split."""
    choice: OperatingPoint
    """The operating point, selected on the validation split."""
    tested: Point
    """The operating point measured on the test split."""
    applied: Point
    """``tested``, or the method's weakest setting where the uncalibrated model was kept."""
    strength_means: str
    """Meaning and unit of the method's strength."""
    prompt_only: bool
    reference: bool
    """Whether the method was run for comparison only."""
    variant: str = ""
    """Name of the variant that the strength is the number of; empty where a strength is an amount.
    """
    settings: int | None = None
    """Number of settings that the operating point was selected from; None in older runs."""
    supervision: str = ""
    """Where labels of examples are used, as in interventions.Supervision; empty in older runs."""


def reported_methods(
    folder: Path, records: Sequence[Mapping[str, Any]], results: Sequence[Result]
) -> list[ReportedMethod]:
    """The methods in the records of operating_points.json with their measured ``results``.

    The uncalibrated model, which has a record where no method was run, is left out. Raises
    CalibError, naming ``folder``, when the results lack an operating point.
    """
    validated, tested = points_of(results, "validation"), points_of(results, REPORTED_SPLIT)
    return [
        _reported(folder, record, validated, tested)
        for record in records
        if record["method"] != BASELINE
    ]


def _reported(
    folder: Path, record: Mapping[str, Any], validated: Sequence[Point], tested: Sequence[Point]
) -> ReportedMethod:
    name, layer, strength = str(record["method"]), record["layer"], float(record["strength"])
    baseline, tested_baseline = baseline_of(validated), baseline_of(tested)
    kept = bool(record.get("kept_uncalibrated"))
    at_test = tested_baseline if kept else _point_at(folder, tested, name, layer, strength)
    own = [point for point in tested if point.method == name]
    weakest = min(own, key=lambda point: (abs(point.strength), point.strength), default=at_test)
    return ReportedMethod(
        name,
        layer,
        OperatingPoint(
            baseline if kept else _point_at(folder, validated, name, layer, strength),
            baseline,
            float(record.get("tolerance", 0.01)),
            baseline.utility is not None,
            record.get("choose", {}).get("min_sra_u"),
        ),
        at_test,
        weakest if kept else at_test,
        str(record["strength_means"]),
        bool(record.get("prompt_only")),
        bool(record.get("reference")),
        record.get("variants", {}).get(f"{at_test.strength:g}", ""),
        record.get("settings"),
        record.get("supervision") or "",
    )


def _point_at(
    folder: Path, points: Sequence[Point], method: str, layer: int | None, strength: float
) -> Point:
    for point in points:
        if point.key == SettingKey(method, layer, strength):
            return point
    raise CalibError(
        "mismatch",
        f"{folder}: the results lack {method} at layer {layer}, strength {strength:g}, which "
        f"{OPERATING_POINTS_FILE} names. Run the sweep's command again.",
    )
