"""Which layer and operating point a method's grid is reported at."""

from collections.abc import Sequence

from calib.scoring.results import Result
from calib.scoring.tradeoff import (
    OperatingPoint,
    baseline_of,
    choose_layer,
    choose_operating_point,
    points_of,
)


def choose(results: Sequence[Result], method: str) -> tuple[int | None, OperatingPoint]:
    """The layer and the operating point of a method's grid, by its results on validation.

    The layer is None where the method has none; it is chosen also when no setting there beats the
    uncalibrated model, so that its curve can be shown.
    """
    points = points_of(results, "validation")
    baseline = baseline_of(points)
    own = [point for point in points if point.method == method]
    if any(point.layer is not None for point in own):
        choice = choose_layer(own, baseline)
        return choice.layer, choice.operating_point
    return None, choose_operating_point(own, baseline)
