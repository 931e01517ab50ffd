"""Curves of the trade-off: the settings of each method and run by strength.

Each curve has the operating point that its run chose on validation.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from calib.report.figures.io import NotDrawn
from calib.report.figures.style import short_name
from calib.runs.run import Run
from calib.scoring.results import BASELINE
from calib.scoring.tradeoff import (
    Plane,
    Point,
    baseline_of,
    plane_of,
    points_of,
    sra_s_and_sra_u,
    utility_and_sra,
)
from calib.util.errors import CalibError
from calib.util.terminal import terminal_safe

_AXES: dict[Plane, tuple[str, str]] = {
    utility_and_sra: ("utility", "SRA"),
    sra_s_and_sra_u: ("SRA_s", "SRA_u"),
}
_TITLES: dict[Plane, str] = {
    utility_and_sra: "Calibration against utility",
    sra_s_and_sra_u: "Unsafe against safe queries",
}


@dataclass(frozen=True)
class Curve:
    """One method of one run at the layer that the run reports."""

    run: str
    model: str
    method: str
    layer: int | None
    prompt_only: bool
    reference: bool
    """Whether the method was run for comparison only."""
    baseline: Point
    points: tuple[Point, ...]
    """The method's settings by strength, without the uncalibrated model."""
    chosen: Point | None
    """The operating point; None if no setting beat the uncalibrated model on validation."""

    @property
    def through_baseline(self) -> list[Point]:
        """The points by strength; the uncalibrated model stands in for a missing strength 0."""
        unsteered = [] if any(p.strength == 0 for p in self.points) else [self.baseline]
        return sorted([*unsteered, *self.points], key=lambda point: point.strength)

    @property
    def weakest(self) -> Point:
        """The setting of the smallest strength, for methods that kept the uncalibrated model."""
        return min(self.points, key=lambda point: (abs(point.strength), point.strength))

    @property
    def is_line(self) -> bool:
        """Whether the method has several settings."""
        return len(self.points) > 1


@dataclass(frozen=True)
class UncalibratedModel:
    """The uncalibrated model, as measured by one run or by several that agree."""

    model: str
    run: str
    point: Point

    def is_baseline_of(self, curve: Curve) -> bool:
        """Whether ``curve`` was measured on the same model and data."""
        return self.model == curve.model and _equal(self.point, curve.baseline)


def uncalibrated_models(runs: Iterable[Run], split: str) -> list[UncalibratedModel]:
    """Return the uncalibrated models on ``split``.

    A model appears several times if its runs differ, as on other data. Runs of calib.extract, which
    have no results, are skipped. Raises NotDrawn for a run without SRA on ``split`` and CalibError
    for a run without the uncalibrated model.
    """
    models: list[UncalibratedModel] = []
    for run in swept_runs(runs):
        point = baseline_of(_points(run, split))
        if not any(m.model == run.model_name and _equal(m.point, point) for m in models):
            models.append(UncalibratedModel(run.model_name, run.name, point))
    return models


def curves_of(runs: Iterable[Run], split: str) -> list[Curve]:
    """Return the curves of ``runs`` on ``split``, in order; a reference that runs share once.

    Raises the errors of uncalibrated_models, and CalibError for a run whose results lack its
    operating point.
    """
    curves: list[Curve] = []
    for run in swept_runs(runs):
        points = _points(run, split)
        for record in run.operating_points:
            if record["method"] == BASELINE:
                continue
            curve = _curve(run, record, points, split)
            if curve is None:
                continue
            repeated = any(
                curve.model == other.model and _equal(curve.points, other.points)
                for other in curves
            )
            if not (curve.reference and repeated):
                curves.append(curve)
    return curves


def _curve(
    run: Run, record: Mapping[str, Any], points: Sequence[Point], split: str
) -> Curve | None:
    """Return the curve of one record of operating_points.json; None if it has no settings."""
    method, layer, strength = record["method"], record["layer"], float(record["strength"])
    own = sorted(
        (p for p in points if (p.method, p.layer) == (method, layer)), key=lambda p: p.strength
    )
    by_strength = {p.strength: p for p in own}
    # Strength 0 is the uncalibrated model. It is the only setting if a KL budget left no other.
    if not own and record.get("kept_uncalibrated"):
        return None
    if not own or (strength != 0 and strength not in by_strength):
        raise CalibError(
            "mismatch",
            f"Run '{terminal_safe(run.name)}' chose {terminal_safe(method)} at strength "
            f"{strength:g}, but its results lack this setting on split '{terminal_safe(split)}'. "
            "Run the sweep's command again.",
        )
    return Curve(
        run.name,
        run.model_name,
        method,
        layer,
        bool(record.get("prompt_only")),
        bool(record.get("reference")),
        baseline_of(points),
        tuple(own),
        by_strength[strength] if strength != 0 else None,
    )


def curve_names(curves: Sequence[Curve], layers: bool = True) -> list[str]:
    """Return a name for each curve, short enough for one column.

    It has the model if there are several models, and the run if two curves would otherwise have the
    same name; a star marks methods that change only the prompt.
    """
    several = len({curve.model for curve in curves}) > 1
    count = Counter((curve.model, curve.method) for curve in curves)
    width = (20, 15, 10)[several + (max(count.values(), default=1) > 1)]
    names = []
    for curve in curves:
        model = f"{short_name(curve.model, width)}: " if several else ""
        star = "*" if curve.prompt_only else ""
        layer = f", layer {curve.layer}" if layers and curve.layer is not None else ""
        shared = count[curve.model, curve.method] > 1
        run = f" ({short_name(curve.run, width)})" if shared else ""
        names.append(f"{model}{short_name(curve.method, width)}{star}{layer}{run}")
    return names


def uncalibrated_names(models: Sequence[UncalibratedModel]) -> list[str]:
    """Return "uncalibrated" with the model or the run where either is needed to tell them apart."""
    count = Counter(each.model for each in models)
    width = 20 if len(count) in (1, len(models)) else 12
    names = []
    for each in models:
        model = f" {short_name(each.model, width)}" if len(count) > 1 else ""
        run = f" ({short_name(each.run, width)})" if count[each.model] > 1 else ""
        names.append(f"uncalibrated{model}{run}")
    return names


def shared_plane(models: Iterable[UncalibratedModel]) -> Plane:
    """Return the plane that all ``models`` have results for."""
    planes = [plane_of(each.point) for each in models]
    return next((plane for plane in planes if plane is not utility_and_sra), utility_and_sra)


def plane_axes(plane: Plane) -> tuple[str, str]:
    """Return the names of the x and the y axis of ``plane``."""
    return _AXES.get(plane, ("SRA", "SRA"))


def plane_title(plane: Plane) -> str:
    """Return the title of ``plane``."""
    return _TITLES.get(plane, "Calibration on one side, without utility")


def kept_note(curves: Sequence[Curve], names: Sequence[str]) -> str:
    """List the methods that kept the uncalibrated model; empty if there are none."""
    kept = [name for curve, name in zip(curves, names, strict=True) if curve.chosen is None]
    return f"No better than uncalibrated on validation: {', '.join(kept)}." if kept else ""


def prompt_note(curves: Iterable[Curve]) -> str:
    """Explain the star of prompt-only methods, or say that there is no such method."""
    starred = any(curve.prompt_only for curve in curves)
    return "*\u00a0changes only the prompt." if starred else "No prompt-only method in these runs."


def swept_runs(runs: Iterable[Run]) -> list[Run]:
    """Return the runs that have results; raises NotDrawn if none has."""
    swept = [run for run in runs if run.results]
    if not swept:
        raise NotDrawn(
            "missing-value",
            "These folders hold no results. Run calib.sweep and draw its folder.",
        )
    return swept


def _points(run: Run, split: str) -> list[Point]:
    points = points_of(run.results, split)
    if not points:
        raise NotDrawn(
            "missing-value",
            f"Run '{terminal_safe(run.name)}' has no SRA on split '{terminal_safe(split)}'. Run "
            "calib.sweep to its end with safe and unsafe queries of that split.",
        )
    return points


def _equal(a: object, b: object) -> bool:
    return repr(a) == repr(b)  # nan equals nan here
