"""What the methods of some runs measured, as curves: one a method and run, by strength, with the
operating point that the run chose on validation."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from calib.report.figures.io import NotDrawn
from calib.report.figures.style import shown_name
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
    """Whether the method was asked for comparison only."""
    baseline: Point
    points: tuple[Point, ...]
    """The method's own, by strength."""
    chosen: Point | None
    """The operating point; None where no setting beat the uncalibrated model on validation."""

    @property
    def through_baseline(self) -> list[Point]:
        """The points, with the uncalibrated model in for a missing strength 0."""
        unsteered = [] if any(p.strength == 0 for p in self.points) else [self.baseline]
        return sorted([*unsteered, *self.points], key=lambda point: point.strength)

    @property
    def is_line(self) -> bool:
        """Whether there is more to it than one setting."""
        return len(self.points) > 1


@dataclass(frozen=True)
class Uncalibrated:
    """A model without any method, as one run or several that agree measured it."""

    model: str
    run: str
    point: Point

    def is_before(self, curve: Curve) -> bool:
        """Whether ``curve`` is to be compared with this model on this data."""
        return self.model == curve.model and _same(self.point, curve.baseline)


def uncalibrated_of(runs: Iterable[Run], split: str) -> list[Uncalibrated]:
    """The uncalibrated models on ``split``: of one model several where runs differ, as on other
    data.

    Runs of calib.extract, which have no results, are passed over. Raises NotDrawn for a run without
    SRA there and CalibError for one without the uncalibrated model.
    """
    found: list[Uncalibrated] = []
    for run in swept(runs):
        point = baseline_of(_points(run, split))
        if not any(one.model == run.checkpoint and _same(one.point, point) for one in found):
            found.append(Uncalibrated(run.checkpoint, run.name, point))
    return found


def curves_of(runs: Iterable[Run], split: str) -> list[Curve]:
    """The methods of ``runs`` on ``split``, in order; a reference that runs share is there once.

    Errors as in uncalibrated_of; CalibError, too, for a run whose operating point is not in its
    results.
    """
    curves: list[Curve] = []
    for run in swept(runs):
        points = _points(run, split)
        for one in run.operating_points:
            if one["method"] == BASELINE:
                continue
            place = one["method"], one["layer"]
            own = sorted(
                (p for p in points if (p.method, p.layer) == place), key=lambda p: p.strength
            )
            at = {p.strength: p for p in own}
            strength = float(one["strength"])
            # Strength 0 is the uncalibrated model, whatever the method. Where a budget of KL left
            # no strength, that is all there is, and no curve.
            if not own and one.get("kept_uncalibrated"):
                continue
            if not own or (strength != 0 and strength not in at):
                raise CalibError(
                    f"Run '{terminal_safe(run.name)}' chose {terminal_safe(one['method'])} at "
                    f"strength {strength:g}, but its results have no such setting on split "
                    f"'{terminal_safe(split)}'. Give the sweep's command again."
                )
            curve = Curve(
                run.name, run.checkpoint, *place, bool(one.get("prompt_only")),
                bool(one.get("reference")), baseline_of(points), tuple(own),
                at[strength] if strength != 0 else None,
            )  # fmt: skip
            repeated = any(
                curve.model == other.model and _same(curve.points, other.points) for other in curves
            )
            if not (curve.reference and repeated):
                curves.append(curve)
    return curves


def names_of(curves: Sequence[Curve], layers: bool = True) -> list[str]:
    """What each curve is called, with a star where the method changes the prompt alone.

    Its model is in it where there are several, its run where nothing else tells two apart; all of
    it is short enough for one column.
    """
    several = len({curve.model for curve in curves}) > 1
    count = Counter((curve.model, curve.method) for curve in curves)
    width = (20, 15, 10)[several + (max(count.values(), default=1) > 1)]
    names = []
    for curve in curves:
        model = f"{shown_name(curve.model, width)}: " if several else ""
        star = "*" if curve.prompt_only else ""
        layer = f", layer {curve.layer}" if layers and curve.layer is not None else ""
        shared = count[curve.model, curve.method] > 1
        run = f" ({shown_name(curve.run, width)})" if shared else ""
        names.append(f"{model}{shown_name(curve.method, width)}{star}{layer}{run}")
    return names


def names_of_uncalibrated(models: Sequence[Uncalibrated]) -> list[str]:
    """What each is called: by its model where there are several, by its run where one model has
    several."""
    count = Counter(one.model for one in models)
    width = 20 if len(count) in (1, len(models)) else 12
    names = []
    for one in models:
        model = f" {shown_name(one.model, width)}" if len(count) > 1 else ""
        run = f" ({shown_name(one.run, width)})" if count[one.model] > 1 else ""
        names.append(f"uncalibrated{model}{run}")
    return names


def shared_plane(models: Iterable[Uncalibrated]) -> Plane:
    """The plane that all of ``models`` have."""
    planes = [plane_of(one.point) for one in models]
    return next((plane for plane in planes if plane is not utility_and_sra), utility_and_sra)


def axes_of(plane: Plane) -> tuple[str, str]:
    """What the two axes of ``plane`` are."""
    return _AXES.get(plane, ("SRA", "SRA"))


def title_of(plane: Plane) -> str:
    """What ``plane`` shows."""
    return _TITLES.get(plane, "Calibration on one side, without utility")


def kept_note(curves: Sequence[Curve], names: Sequence[str]) -> str:
    """Which methods have no operating point of their own; empty where all have."""
    kept = [name for curve, name in zip(curves, names, strict=True) if curve.chosen is None]
    return f"No better than uncalibrated on validation: {', '.join(kept)}." if kept else ""


def prompt_note(curves: Iterable[Curve]) -> str:
    """What the star behind a name means, or that there is no prompt-only method to compare with."""
    found = any(curve.prompt_only for curve in curves)
    return "*\u00a0changes the prompt alone." if found else "No prompt-only method in these runs."


def swept(runs: Iterable[Run]) -> list[Run]:
    """The runs that have results; NotDrawn when none has."""
    found = [run for run in runs if run.results]
    if not found:
        raise NotDrawn("These folders hold no results. Run calib.sweep and draw its folder.")
    return found


def _points(run: Run, split: str) -> list[Point]:
    points = points_of(run.results, split)
    if not points:
        raise NotDrawn(
            f"Run '{terminal_safe(run.name)}' has no SRA on split '{terminal_safe(split)}' to draw; "
            "run calib.sweep to its end with safe and unsafe queries of that split."
        )
    return points


def _same(one: object, other: object) -> bool:
    return repr(one) == repr(other)  # nan, too, is itself here
