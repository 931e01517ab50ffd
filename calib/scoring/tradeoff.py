"""The safety-utility trade-off: settings as points, Pareto front, hypervolume, operating point."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from calib.config.choose import ChooseConfig
from calib.config.method import SettingKey
from calib.scoring.intervals import NO_DATA, Interval
from calib.scoring.results import ALL, BASELINE, Result
from calib.util.errors import CalibError


@dataclass(frozen=True)
class Point(SettingKey):
    """One setting with its SRA and utility."""

    sra: Interval
    sra_u: Interval
    sra_s: Interval
    utility: Interval | None
    """None if utility was not measured."""
    warned_s: Interval = NO_DATA
    """Share of safe queries that were answered with a warning."""


@dataclass(frozen=True)
class OperatingPoint:
    """The chosen setting of a method, and the rule that chose it."""

    point: Point
    baseline: Point
    tolerance: float
    """Allowed loss of utility, as a rate (0.01 is one point)."""
    by_utility: bool
    """False if utility was not measured, so that SRA alone decided."""
    min_sra_u: Any = None
    """The condition on SRA_u, as in choose.min_sra_u; None if there was none."""

    @property
    def kept_baseline(self) -> bool:
        """Whether no setting beat the uncalibrated model."""
        return self.point == self.baseline


@dataclass(frozen=True)
class LayerChoice:
    """A layer with its operating point (possibly the baseline) and its settings' hypervolume."""

    layer: int
    operating_point: OperatingPoint
    hypervolume: float


Plane = Callable[[Point], tuple[Interval, Interval]]
"""The x and y of a point, with intervals; higher is better on both axes."""
Meets = Callable[[Point], bool]
"""Whether a setting meets the conditions under which it may be chosen (scoring.conditions)."""


def utility_and_sra(point: Point) -> tuple[Interval, Interval]:
    """The plane of utility (x) and SRA (y); raises CalibError for a point without utility."""
    if point.utility is None:
        raise CalibError(
            "missing-value",
            f"{description_of(point)} has no utility result; measure utility for every setting of "
            "the run or for none.",
        )
    return point.utility, point.sra


def sra_s_and_sra_u(point: Point) -> tuple[Interval, Interval]:
    """The plane of SRA_s (x) and SRA_u (y), for runs without utility."""
    return point.sra_s, point.sra_u


def coordinates_of(point: Point, plane: Plane) -> tuple[float, float]:
    """Return x and y of ``point`` without their intervals."""
    x, y = plane(point)
    return x.value, y.value


def points_of(results: Iterable[Result], split: str) -> list[Point]:
    """Return one point per setting with SRA on ``split`` (dataset all), in order of appearance.

    If a benchmark has only unsafe or only safe queries, that side stands for SRA and the other side
    is nan.
    """
    rates: dict[SettingKey, dict[str, Interval]] = defaultdict(dict)
    for result in results:
        total = result.variant == ALL and result.category == ALL
        if total and result.split == split and result.dataset in (ALL, "utility"):
            rates[result.key][result.metric] = result.interval
    return [
        Point(
            setting.method,
            setting.layer,
            setting.strength,
            rate.get("SRA") or rate.get("SRA_u") or rate["SRA_s"],
            rate.get("SRA_u", NO_DATA),
            rate.get("SRA_s", NO_DATA),
            rate.get("utility"),
            rate.get("warned_s", NO_DATA),
        )
        for setting, rate in rates.items()
        if rate.keys() & {"SRA", "SRA_u", "SRA_s"}
    ]


def plane_of(baseline: Point) -> Plane:
    """Return the plane that settings are compared in.

    It is utility and SRA; without utility the two sides of SRA; if there is one side only, that
    side on both axes.
    """
    if baseline.utility is not None:
        return utility_and_sra
    both = baseline.sra_u.n and baseline.sra_s.n
    return sra_s_and_sra_u if both else _sra_alone


def _sra_alone(point: Point) -> tuple[Interval, Interval]:
    return point.sra, point.sra


def baseline_of(points: Iterable[Point]) -> Point:
    """Return the uncalibrated model's point; raises CalibError if it is missing."""
    for point in points:
        if point.method == BASELINE:
            return point
    raise CalibError(
        "missing-value",
        f"The uncalibrated model (method '{BASELINE}') is not among the results; "
        "run and score it on the same split.",
    )


def pareto_front(points: Iterable[Point], plane: Plane = utility_and_sra) -> list[Point]:
    """Return the points that no other point dominates, by ascending x.

    A point dominates another if it is better on one axis and not worse on the other. Points with
    equal coordinates are all returned.
    """
    front: list[Point] = []
    best = -math.inf
    for point in sorted(points, key=lambda point: coordinates_of(point, plane), reverse=True):
        x, y = coordinates_of(point, plane)
        if y > best or (front and coordinates_of(front[-1], plane) == (x, y)):
            front.append(point)
            best = y
    return front[::-1]


def hypervolume(points: Iterable[Point], reference: Point, plane: Plane = utility_and_sra) -> float:
    """Area of the unit square that ``points`` dominate and ``reference`` does not.

    The hypervolume indicator (Zitzler & Thiele 1999) measured from the origin, minus that of
    ``reference``, the uncalibrated model. The area that is better on *both* axes would be zero for
    nearly every calibration, since nearly all of them cost utility.
    """
    return _dominated_area([*points, reference], plane) - _dominated_area([reference], plane)


def choose_operating_point(
    points: Iterable[Point], baseline: Point, meets: Meets, rule: ChooseConfig | None = None
) -> OperatingPoint:
    """Return the setting with the highest SRA among those that meet the conditions of ``rule``.

    SRA is weighted by choose.weights. Ties go to the smaller absolute strength, then to the lower
    layer. The baseline is always a candidate. Choose on validation, report on test. Raises
    CalibError if utility was measured for the baseline but not for a setting.
    """
    rule = rule or ChooseConfig()
    by_utility = baseline.utility is not None
    candidates = [baseline]
    for point in points:
        if by_utility:
            utility_and_sra(point)  # raises if utility was not measured
        if meets(point):
            candidates.append(point)
    chosen = min(candidates, key=lambda point: _preference(point, rule.weights))
    return OperatingPoint(chosen, baseline, rule.utility_tolerance, by_utility, rule.min_sra_u)


def choose_layer(
    points: Sequence[Point], baseline: Point, meets: Meets, rule: ChooseConfig | None = None
) -> LayerChoice:
    """Return the layer with the best operating point, see choose_operating_point.

    Ties go to the larger hypervolume, then to the lower layer. Use the returned operating point;
    choose_operating_point over all layers breaks ties differently. Raises CalibError if no point
    has a layer.
    """
    layers: dict[int, list[Point]] = defaultdict(list)
    for point in points:
        if point.layer is not None:
            layers[point.layer].append(point)
    if not layers:
        raise CalibError("no-solution", "No setting has a layer, so there is no layer to choose.")
    plane, weights = plane_of(baseline), (rule or ChooseConfig()).weights
    choices = [
        LayerChoice(
            layer,
            choose_operating_point(at_layer, baseline, meets, rule),
            hypervolume(at_layer, baseline, plane),
        )
        for layer, at_layer in sorted(layers.items())
    ]
    return max(
        choices,
        key=lambda choice: (
            _rounded(weighted_sra(choice.operating_point.point, weights)),
            _rounded(choice.hypervolume),
            -choice.layer,
        ),
    )


def weighted_sra(point: Point, weights: Mapping[str, float]) -> float:
    """Mean of SRA_u and SRA_s with the ``weights`` of sra_u and sra_s; of one side, that side."""
    if not (point.sra_u.n and point.sra_s.n) or weights["sra_u"] == weights["sra_s"]:
        return point.sra.value
    total = weights["sra_u"] + weights["sra_s"]
    sides = weights["sra_u"] * point.sra_u.value + weights["sra_s"] * point.sra_s.value
    return sides / total


def _preference(point: Point, weights: Mapping[str, float]) -> tuple[float, float, int, str, float]:
    layer = -1 if point.layer is None else point.layer
    sra, strength = _rounded(weighted_sra(point, weights)), point.strength
    return (-sra, abs(strength), layer, point.method, strength)


def _dominated_area(points: Iterable[Point], plane: Plane) -> float:
    area, left = 0.0, 0.0
    for x, y in (coordinates_of(point, plane) for point in pareto_front(points, plane)):
        area += (x - left) * y
        left = x
    return area


def _rounded(rate: float) -> float:
    return round(rate, 9)


def description_of(point: Point) -> str:
    """Name a setting in an error message."""
    layer = "" if point.layer is None else f" at layer {point.layer}"
    return f"{point.method}{layer}, strength {point.strength:g},"
