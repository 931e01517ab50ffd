"""The methods of a run at their operating points, as measured on test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calib.config.method import SettingKey
from calib.runs.operating_points import OPERATING_POINTS_FILE, REPORTED_SPLIT
from calib.scoring.results import BASELINE, Result
from calib.scoring.tradeoff import OperatingPoint, Point, baseline_of, points_of
from calib.util.errors import CalibError


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
