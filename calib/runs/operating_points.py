"""Operating points: selected on validation, recorded in operating_points.json, reported on test."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calib.config.method import SettingKey
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


def select_operating_point(
    results: Sequence[Result], method: str
) -> tuple[int | None, OperatingPoint]:
    """The layer and the operating point of a method's grid, by its results on validation.

    The layer is None for a method without layers. A layer is selected even when no setting there
    beats the uncalibrated model, so that its curve can be shown.
    """
    points = points_of(results, "validation")
    baseline = baseline_of(points)
    own = [point for point in points if point.method == method]
    if any(point.layer is not None for point in own):
        choice = choose_layer(own, baseline)
        return choice.layer, choice.operating_point
    return None, choose_operating_point(own, baseline)


def operating_point_records(
    checkpoint: str,
    selected: Mapping[str, tuple[int | None, OperatingPoint]],
    axes: Mapping[str, str],
    prompt_only: Collection[str],
    reference: str | None = None,
) -> list[dict[str, Any]]:
    """The content of operating_points.json.

    ``selected`` holds the layer and the operating point of each method, ``axes`` the meaning of its
    strength; ``prompt_only`` names the methods that change the prompt alone, and ``reference`` the
    one of them that was run for comparison only.
    """
    return [
        {
            "checkpoint": checkpoint,
            "method": method,
            "layer": layer,
            "strength": choice.point.strength,
            "strength_means": axes.get(method, ""),
            "prompt_only": method in prompt_only,
            "reference": method == reference,
            "chosen_on": "validation",
            "rule": "highest SRA at no more than the tolerance of utility lost"
            if choice.by_utility
            else "highest SRA (no utility was measured)",
            "tolerance": choice.tolerance,
            "kept_uncalibrated": choice.kept_baseline,
        }
        for method, (layer, choice) in selected.items()
    ]


def read_operating_points(path: Path) -> list[dict[str, Any]]:
    """The records of operating_points.json. Raises CalibError when the file is damaged."""
    try:
        points = json.loads(path.read_text())
        if not isinstance(points, list) or not points:
            raise ValueError("it holds no operating point")
        for point in points:
            point["method"], point["layer"], point["strength_means"], float(point["strength"])
        return points
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CalibError(
            "unreadable", f"'{path}' cannot be read ({error}). Run the sweep again."
        ) from error


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
        ),
        at_test,
        weakest if kept else at_test,
        str(record["strength_means"]),
        bool(record.get("prompt_only")),
        bool(record.get("reference")),
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
