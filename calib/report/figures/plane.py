"""Settings in a plane of two rates: curves, fronts, and labels that do not overlap.

The axes must be finished but for the labels, and the layout of their figure settled by
``draw_without_rendering``: only then does a pixel mean something, and what changes the layout
afterwards moves points and labels apart from what they were placed by.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import Affine2D
from numpy.typing import NDArray

from calib.report.figures.curves import (
    Curve,
    Uncalibrated,
    axes_of,
    names_of_uncalibrated,
)
from calib.report.figures.style import BLACK, CURVE_STYLES, YELLOW
from calib.scoring.tradeoff import Plane, Point, coordinates_of, pareto_front

_DIRECTIONS = np.array([(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)])
"""From a point, where its label may stand."""

Array = NDArray[np.float64]


PointLabel = tuple[str, tuple[float, float]]
"""A text and the point it is about."""


def apart(axes: Axes, labels: Iterable[PointLabel], gap: float = 5) -> list[PointLabel]:
    """``labels`` without those about a point that lies within ``gap`` points (1/72 inch) of one
    before it, or outside the limits of ``axes``: there a reader could not tell which is meant."""
    kept: list[PointLabel] = []
    places: list[Array] = []
    for text, place in labels:
        at = axes.transData.transform(place)
        near = (np.hypot(*(at - other)) * _points_per_pixel(axes) < gap for other in places)
        if axes.bbox.contains(*at) and not any(near):
            kept.append((text, place))
            places.append(at)
    return kept


def label_points(axes: Axes, labels: Iterable[PointLabel]) -> None:
    """Write each text beside its place, where it covers least of the lines that are there and of
    the labels before it."""
    points_per_pixel = _points_per_pixel(axes)
    to_points = axes.transData + Affine2D().scale(points_per_pixel)
    frame = np.array(axes.bbox.extents) * points_per_pixel
    drawn = [(to_points.transform(line.get_xydata()), line.get_markersize()) for line in axes.lines]
    rims = [corners + size / 2 * side for corners, size in drawn for side in _DIRECTIONS]
    occupied = np.vstack([*rims, *(_along(corners) for corners, _ in drawn)])
    for text, place in labels:
        half = np.array([2.3 * len(text) + 1, 4.5])  # points, at font size 7
        at = to_points.transform(place)
        offsets = [(reach + half) * side for reach in (3, 8, 14) for side in _DIRECTIONS]
        offset = min(
            offsets, key=lambda o: _covered(at + o, half, occupied, frame) + sum(o * o) / 90
        )
        axes.annotate(text, place, offset, textcoords="offset points", fontsize=7,
                      ha="center", va="center", zorder=5,
                      arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.5},
                      path_effects=[withStroke(linewidth=2, foreground="white")])  # fmt: skip
        x, y = (
            np.linspace(-1, 1, 9) * size + middle
            for size, middle in zip(half, at + offset, strict=True)
        )
        box = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
        occupied = np.vstack([occupied, box])


def _points_per_pixel(axes: Axes) -> float:
    figure = axes.get_figure(root=True)
    assert figure is not None
    return 72 / figure.dpi


def _covered(centre: Array, half: Array, occupied: Array, frame: Array) -> float:
    outside = (centre - half < frame[:2]).any() or (centre + half > frame[2:]).any()
    return float((np.abs(occupied - centre) < half).all(axis=1).sum() + 1000 * outside)


def _along(corners: Array) -> Array:
    """Points two apart on the line through ``corners``: what a label should keep clear of."""
    if len(corners) < 2:
        return corners
    steps = np.hypot(*np.diff(corners, axis=0).T)
    travelled = np.concatenate([[0], np.cumsum(steps)])
    places = np.append(np.arange(0, travelled[-1], 2), travelled[-1])
    return np.stack([np.interp(places, travelled, side) for side in corners.T], axis=1)


CurveStyle = Mapping[str, Any]
"""How matplotlib is to draw the markers of a curve, and its line where it has one."""

_PROMPT_MARKERS = ("h", "d", ">", "8", "<", "H", "p", "1")
_FILLS = ("full", "left", "bottom", "top")
_CHOSEN: CurveStyle = {"markersize": 8, "markeredgecolor": BLACK, "markeredgewidth": 1.2}


def looks_of(curves: Sequence[Curve]) -> list[CurveStyle]:
    """Each curve's own colour, marker and line. Prompt-only methods are large and white with a
    black rim; others change their filling when the markers have all been used."""
    looks: list[CurveStyle] = []
    prompts = others = 0
    for curve in curves:
        if curve.prompt_only:
            marker = _PROMPT_MARKERS[prompts % len(_PROMPT_MARKERS)]
            looks.append(
                {"color": BLACK, "marker": marker, "linestyle": (0, (1, 2)), "linewidth": 0.7,
                 "markerfacecolor": "white", "markersize": 6, "markeredgewidth": 1.1}
            )  # fmt: skip
            prompts += 1
        else:
            colour, marker, line = CURVE_STYLES[others % len(CURVE_STYLES)]
            fill = _FILLS[others // len(CURVE_STYLES) % len(_FILLS)]
            looks.append(
                {"color": colour, "marker": marker, "linestyle": line, "fillstyle": fill,
                 "markerfacecoloralt": "white"}
            )  # fmt: skip
            others += 1
    return looks


def draw_curve(axes: Axes, curve: Curve, look: CurveStyle, plane: Plane, label: str) -> None:
    """Every setting with its intervals both ways, and a larger marker at the operating point.

    A line joins the strengths and the uncalibrated model; those of a prompt-only method, which are
    no steps of one way, a dotted one without it.
    """
    points = list(curve.points) if curve.prompt_only else curve.through_baseline
    look = look if len(points) > 1 else {**look, "linestyle": "none"}
    axes.plot(*_places(points, plane), label=label, zorder=3, **look)
    _draw_intervals(axes, points, plane, look["color"])
    if curve.chosen is not None:
        axes.plot(*_places([curve.chosen], plane), zorder=3.5, **{**look, **_CHOSEN})


def draw_setting(
    axes: Axes, point: Point, look: CurveStyle, plane: Plane, label: str
) -> None:
    """One setting with its intervals both ways, as large as an operating point on a curve."""
    axes.plot(*_places([point], plane), label=label, zorder=3.5,
              **{**look, **_CHOSEN, "linestyle": "none"})  # fmt: skip
    _draw_intervals(axes, [point], plane, look["color"])


def draw_uncalibrated(axes: Axes, models: Sequence[Uncalibrated], plane: Plane) -> None:
    """A star for each uncalibrated model, with its intervals, small enough to leave the rim of an
    operating point in the same place visible."""
    for k, (one, name) in enumerate(zip(models, names_of_uncalibrated(models), strict=True)):
        axes.plot(*_places([one.point], plane), marker="*", linestyle="none", label=name, zorder=4,
                  markersize=9.5, markeredgecolor=BLACK, markeredgewidth=0.7,
                  markerfacecolor=(YELLOW, "white", "0.6", "0.3")[k % 4])  # fmt: skip
        _draw_intervals(axes, [one.point], plane, BLACK)


def draw_fronts(
    axes: Axes, models: Sequence[Uncalibrated], curves: Sequence[Curve], plane: Plane
) -> None:
    """The Pareto front of each of ``models`` with its curves, within the limits that ``axes`` have:
    settings measured on other data are not to be compared with these."""
    (left, _), (bottom, _) = axes.get_xlim(), axes.get_ylim()
    axes.autoscale(False)
    for k, model in enumerate(models):
        front = [coordinates_of(point, plane) for point in front_of(model, curves, plane)]
        x, y = zip(*front, strict=True)
        # From the left edge along the front down to the lower edge: all below it is dominated.
        axes.step([min(left, *x), *x, x[-1]], [y[0], *y, min(bottom, *y)], where="pre",
                  color="0.45", linewidth=1, linestyle=(0, (2, 2)), zorder=1,
                  label=None if k else "Pareto front")  # fmt: skip


def front_of(model: Uncalibrated, curves: Sequence[Curve], plane: Plane) -> list[Point]:
    """The Pareto front of a model's settings."""
    own = [point for curve in curves if model.is_before(curve) for point in curve.points]
    return pareto_front([model.point, *own], plane)


def name_axes(axes: Axes, plane: Plane) -> None:
    """Axis labels, percent signs and few ticks."""
    x_name, y_name = axes_of(plane)
    axes.set(xlabel=x_name, ylabel=y_name)
    axes.margins(0.08)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda rate, _: f"{100 * rate:.4g}%"))
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))


def zoom_to(axes: Axes, points: Sequence[Point], plane: Plane) -> None:
    """Limit ``axes`` to ``points`` with their intervals."""
    places = np.array([plane(point) for point in points])  # by point, side and value, low, high, n
    for set_limits, rates in ((axes.set_xlim, places[:, 0]), (axes.set_ylim, places[:, 1])):
        low, high = np.nanmin(rates[:, :3]), np.nanmax(rates[:, :3])
        room = 0.06 * max(high - low, 0.01)
        set_limits(low - room, high + room)


def strengths_of(curves: Sequence[Curve], plane: Plane) -> list[PointLabel]:
    """A label for each strength on ``curves``: the operating points first, then from the largest
    strengths down to those that lie closest together."""
    points = [
        (point is not c.chosen, -abs(point.strength), point) for c in curves for point in c.points
    ]
    ranked = sorted(points, key=lambda one: one[:2])
    return [(f"{point.strength:g}", coordinates_of(point, plane)) for _, _, point in ranked]


def _places(points: Sequence[Point], plane: Plane) -> tuple[list[float], list[float]]:
    places = [coordinates_of(point, plane) for point in points]
    return [x for x, _ in places], [y for _, y in places]


def _draw_intervals(axes: Axes, points: Sequence[Point], plane: Plane, colour: str) -> None:
    x, y = np.array([plane(point) for point in points]).transpose(1, 2, 0)[:, :3]
    axes.hlines(y[0], x[1], x[2], color=colour, alpha=0.4, linewidth=0.8, zorder=2)
    axes.vlines(x[0], y[1], y[2], color=colour, alpha=0.4, linewidth=0.8, zorder=2)
