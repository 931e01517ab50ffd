"""Settings as points of safety against utility: the front, its area, and which point to use."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from calib.scoring.intervals import Interval
from calib.scoring.results import ALL, BASELINE, Result
from calib.util.errors import CalibError

_NOTHING = Interval(math.nan, math.nan, math.nan, 0)
_CLOSE = 1e-9
"""Rates closer than this are equal: they differ by rounding, never by a response."""


@dataclass(frozen=True)
class Point:
    """One setting and the two things it is chosen by."""

    method: str
    layer: int | None
    strength: float
    sra: Interval
    sra_u: Interval
    sra_s: Interval
    utility: Interval | None
    """None where no utility questions were asked."""


@dataclass(frozen=True)
class OperatingPoint:
    """The chosen setting, what it was compared with and by which rule."""

    point: Point
    baseline: Point
    tolerance: float
    """Utility that may be lost, as a rate (0.01 is one point)."""
    by_utility: bool
    """False when no utility data existed and SRA alone decided."""

    @property
    def kept_baseline(self) -> bool:
        """Whether no setting beat the uncalibrated model."""
        return self.point == self.baseline


@dataclass(frozen=True)
class LayerChoice:
    """A layer, its operating point (possibly the baseline) and the area its settings gain."""

    layer: int
    operating_point: OperatingPoint
    hypervolume: float


Coordinates = Callable[[Point], tuple[Interval, Interval]]
"""Where a point lies; more is better on both axes."""


def utility_and_sra(point: Point) -> tuple[Interval, Interval]:
    """The plane of the trade-off figure; CalibError for a point without utility."""
    if point.utility is None:
        raise CalibError(
            f"{_named(point)} has no utility result; ask the utility questions in this run, or "
            "leave utility out for every setting."
        )
    return point.utility, point.sra


def sra_s_and_sra_u(point: Point) -> tuple[Interval, Interval]:
    """The plane that is left when utility was not measured."""
    return point.sra_s, point.sra_u


def place_of(point: Point, coordinates: Coordinates) -> tuple[float, float]:
    """The coordinates of ``point`` without their intervals."""
    x, y = coordinates(point)
    return x.value, y.value


def points_of(results: Iterable[Result], split: str) -> list[Point]:
    """One point for each setting with an SRA on ``split`` (dataset all), in order of appearance.

    Where a benchmark has only unsafe or only safe queries, its one side stands for SRA and the
    other is nan.
    """
    rates: dict[tuple[str, int | None, float], dict[str, Interval]] = defaultdict(dict)
    for result in results:
        total = result.variant == ALL and result.category == ALL
        if total and result.split == split and result.dataset in (ALL, "utility"):
            setting = (result.method, result.layer, result.strength)
            rates[setting][result.metric] = result.interval
    return [
        Point(
            *setting,
            rate.get("SRA") or rate.get("SRA_u") or rate["SRA_s"],
            rate.get("SRA_u", _NOTHING),
            rate.get("SRA_s", _NOTHING),
            rate.get("utility"),
        )
        for setting, rate in rates.items()
        if rate.keys() & {"SRA", "SRA_u", "SRA_s"}
    ]


def plane_of(baseline: Point) -> "Coordinates":
    """The plane that settings are compared in: utility and SRA, or without utility the two sides of
    SRA, or where there is one side only, that side on both axes."""
    if baseline.utility is not None:
        return utility_and_sra
    both = baseline.sra_u.n and baseline.sra_s.n
    return sra_s_and_sra_u if both else _sra_alone


def _sra_alone(point: Point) -> tuple[Interval, Interval]:
    return point.sra, point.sra


def baseline_of(points: Iterable[Point]) -> Point:
    """The uncalibrated model among ``points``; CalibError when it is not there."""
    for point in points:
        if point.method == BASELINE:
            return point
    raise CalibError(
        f"The uncalibrated model (method '{BASELINE}') is not among the results; "
        "run and score it on the same split."
    )


def pareto_front(
    points: Iterable[Point], coordinates: Coordinates = utility_and_sra
) -> list[Point]:
    """The points that no other point beats on one axis without losing on the other.

    Sorted by the first coordinate, ascending; points in the same place are all kept.
    """
    front: list[Point] = []
    best = -math.inf
    for point in sorted(points, key=lambda point: place_of(point, coordinates), reverse=True):
        place = place_of(point, coordinates)
        if place[1] > best or (front and place_of(front[-1], coordinates) == place):
            front.append(point)
            best = place[1]
    return front[::-1]


def hypervolume(
    points: Iterable[Point], reference: Point, coordinates: Coordinates = utility_and_sra
) -> float:
    """Area that ``points`` dominate and ``reference`` does not, within the unit square.

    The hypervolume indicator (Zitzler & Thiele 1999) measured from the origin, minus that of the
    uncalibrated model. Counting only what beats the reference on *both* axes would be zero for
    nearly every calibration, since nearly all of them pay in utility.
    """
    return _dominated([*points, reference], coordinates) - _dominated([reference], coordinates)


def choose_operating_point(
    points: Iterable[Point], baseline: Point, tolerance: float = 0.01
) -> OperatingPoint:
    """The highest SRA among settings whose utility is at most ``tolerance`` below the baseline's.

    Ties go to the smaller absolute strength, then to the lower layer. The baseline is always a
    candidate. Choose on validation, report on test. Raises CalibError when utility was measured
    for the baseline but not for a setting.
    """
    candidates = [baseline, *points]
    by_utility = baseline.utility is not None
    if by_utility:
        floor = utility_and_sra(baseline)[0].value - tolerance - _CLOSE
        candidates = [point for point in candidates if utility_and_sra(point)[0].value >= floor]
    return OperatingPoint(min(candidates, key=_preference), baseline, tolerance, by_utility)


def choose_layer(points: Sequence[Point], baseline: Point, tolerance: float = 0.01) -> LayerChoice:
    """The layer with the best operating point; ties go to the larger hypervolume.

    What is still tied goes to the lower layer. Use the operating point of the answer rather than
    choosing twice: choose_operating_point breaks ties differently. Raises CalibError when no
    point has a layer.
    """
    layers: dict[int, list[Point]] = defaultdict(list)
    for point in points:
        if point.layer is not None:
            layers[point.layer].append(point)
    if not layers:
        raise CalibError("No setting acts on a layer, so there is no layer to choose.")
    plane = plane_of(baseline)
    choices = [
        LayerChoice(
            layer,
            choose_operating_point(at_layer, baseline, tolerance),
            hypervolume(at_layer, baseline, plane),
        )
        for layer, at_layer in sorted(layers.items())
    ]
    return max(
        choices,
        key=lambda choice: (
            _rounded(choice.operating_point.point.sra.value),
            _rounded(choice.hypervolume),
            -choice.layer,
        ),
    )


def _preference(point: Point) -> tuple[float, float, int, str, float]:
    layer = -1 if point.layer is None else point.layer
    sra, strength = _rounded(point.sra.value), point.strength
    return (-sra, abs(strength), layer, point.method, strength)


def _dominated(points: Iterable[Point], coordinates: Coordinates) -> float:
    area, left = 0.0, 0.0
    for x, y in (place_of(point, coordinates) for point in pareto_front(points, coordinates)):
        area += (x - left) * y
        left = x
    return area


def _rounded(rate: float) -> float:
    return round(rate, 9)


def _named(point: Point) -> str:
    layer = "" if point.layer is None else f" at layer {point.layer}"
    return f"{point.method}{layer}, strength {point.strength:g},"
