"""Operating points: selected on validation, and recorded in operating_points.json."""

import math
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from calib.config.choose import ChooseConfig
from calib.config.method import SettingKey
from calib.config.named_model import model_name
from calib.directions.separation import chance_note
from calib.interventions.intervention import Method
from calib.scoring.conditions import Conditions, ValidationChange, changes_on_validation
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
