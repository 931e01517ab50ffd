"""Settings in a plane of two rates: curves, Pareto fronts, and labels that do not overlap.

Place labels last, after ``draw_without_rendering`` has fixed the layout of the figure: they are
placed in pixels, and a later change of the layout would move them away from their points.
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
    UncalibratedModel,
    plane_axes,
    uncalibrated_names,
)
from calib.report.figures.method_styles import MethodStyle, marker_look, method_style
from calib.report.figures.style import BLACK, YELLOW
from calib.report.verdict import plain_name
from calib.scoring.tradeoff import Plane, Point, coordinates_of, pareto_front

_DIRECTIONS = np.array([(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)])
"""Directions from a point in which its label may be placed."""

Array = NDArray[np.float64]


PointLabel = tuple[str, tuple[float, float]]
"""A text and the coordinates of its point."""


def separate_labels(axes: Axes, labels: Iterable[PointLabel], gap: float = 5) -> list[PointLabel]:
    """Drop labels whose point is too near an earlier one, or outside the limits of ``axes``.

    ``gap`` is the smallest distance in points (1/72 inch).
    """
    separate: list[PointLabel] = []
    pixels: list[Array] = []
    for text, point in labels:
        pixel = axes.transData.transform(point)
        near = (np.hypot(*(pixel - other)) * _points_per_pixel(axes) < gap for other in pixels)
        if axes.bbox.contains(*pixel) and not any(near):
            separate.append((text, point))
            pixels.append(pixel)
    return separate


def label_points(axes: Axes, labels: Iterable[PointLabel]) -> None:
    """Write each label next to its point, where it covers the fewest lines and earlier labels."""
    points_per_pixel = _points_per_pixel(axes)
    to_points = axes.transData + Affine2D().scale(points_per_pixel)
    frame = np.array(axes.bbox.extents) * points_per_pixel
    lines = [(to_points.transform(line.get_xydata()), line.get_markersize()) for line in axes.lines]
    rims = [corners + size / 2 * side for corners, size in lines for side in _DIRECTIONS]
    occupied = np.vstack([*rims, *(_along(corners) for corners, _ in lines)])
    for text, point in labels:
        half = np.array([2.3 * len(text) + 1, 4.5])  # half the box in points, at font size 7
        centre = to_points.transform(point)
        offsets = [(reach + half) * side for reach in (3, 8, 14) for side in _DIRECTIONS]
        offset = min(
            offsets, key=lambda o: _covered(centre + o, half, occupied, frame) + sum(o * o) / 90
        )
        axes.annotate(text, point, offset, textcoords="offset points", fontsize=7,
                      ha="center", va="center", zorder=5,
                      arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.5},
                      path_effects=[withStroke(linewidth=2, foreground="white")])  # fmt: skip
        x, y = (
            np.linspace(-1, 1, 9) * size + middle
            for size, middle in zip(half, centre + offset, strict=True)
        )
        box = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
        occupied = np.vstack([occupied, box])


def _points_per_pixel(axes: Axes) -> float:
    figure = axes.get_figure(root=True)
    assert figure is not None
    return 72 / figure.dpi


def _covered(centre: Array, half: Array, occupied: Array, frame: Array) -> float:
    """Count the occupied points in a label's box; a box that leaves the frame counts 1000 more."""
    outside = (centre - half < frame[:2]).any() or (centre + half > frame[2:]).any()
    return float((np.abs(occupied - centre) < half).all(axis=1).sum() + 1000 * outside)


def _along(corners: Array) -> Array:
    """Return points, two points apart, on the line through ``corners``."""
    if len(corners) < 2:
        return corners
    steps = np.hypot(*np.diff(corners, axis=0).T)
    travelled = np.concatenate([[0], np.cumsum(steps)])
    distances = np.append(np.arange(0, travelled[-1], 2), travelled[-1])
    return np.stack([np.interp(distances, travelled, side) for side in corners.T], axis=1)


CurveStyle = Mapping[str, Any]
"""Keyword arguments of matplotlib for the markers and the line of a curve."""

_CHOSEN: CurveStyle = {"markersize": 8, "markeredgecolor": BLACK, "markeredgewidth": 1.2}


def curve_styles(curves: Sequence[Curve]) -> list[CurveStyle]:
    """Return the style of each curve's method, see calib.report.figures.method_styles.

    Curves of the same method share its colour and differ in marker. Markers of prompt-only methods
    are large and white.
    """
    styles: list[MethodStyle] = []
    for curve in curves:
        styles.append(method_style(curve.method, curve.prompt_only, styles))
    return [_curve_style(style) for style in styles]


def _curve_style(style: MethodStyle) -> CurveStyle:
    look = {**marker_look(style), "linestyle": style.line}
    if style.fill != "white":
        return look
    return {**look, "linewidth": 0.7, "markersize": 6, "markeredgewidth": 1.1}


def draw_curve(
    axes: Axes, curve: Curve, style: CurveStyle, plane: Plane, label: str, opacity: float = 0.4
) -> None:
    """Draw every setting with both intervals, and a larger marker at the operating point.

    ``opacity`` is that of the intervals.

    A line joins the strengths and the uncalibrated model. Strengths of a prompt-only method are not
    steps of one scale: a dotted line joins them, without the uncalibrated model.
    """
    points = list(curve.points) if curve.prompt_only else curve.through_baseline
    style = style if len(points) > 1 else {**style, "linestyle": "none"}
    axes.plot(*_coordinates(points, plane), label=label, zorder=3, **style)
    _draw_intervals(axes, points, plane, style["color"], opacity)
    if curve.chosen is not None:
        axes.plot(*_coordinates([curve.chosen], plane), zorder=3.5, **_chosen(style))


def _chosen(style: CurveStyle) -> CurveStyle:
    """The style of an operating point; the rim of a white marker keeps the method's colour."""
    if style.get("markerfacecolor") == "white":
        return {**style, "markersize": 8, "markeredgewidth": 2}
    return {**style, **_CHOSEN}


def draw_setting(
    axes: Axes,
    point: Point,
    style: CurveStyle,
    plane: Plane,
    label: str,
    large: bool = True,
    opacity: float = 0.4,
) -> None:
    """Draw one setting with both intervals, if ``large`` with the marker of an operating point.

    ``opacity`` is that of the intervals.
    """
    look = {**(_chosen(style) if large else style), "linestyle": "none"}
    axes.plot(*_coordinates([point], plane), label=label, zorder=3.5, **look)
    _draw_intervals(axes, [point], plane, style["color"], opacity)


def draw_uncalibrated(axes: Axes, models: Sequence[UncalibratedModel], plane: Plane) -> None:
    """Draw a star for each uncalibrated model, with its intervals.

    It is small enough to leave the rim of an operating point behind it visible.
    """
    for k, (model, name) in enumerate(zip(models, uncalibrated_names(models), strict=True)):
        axes.plot(*_coordinates([model.point], plane), marker="*", linestyle="none", label=name,
                  zorder=4, markersize=9.5, markeredgecolor=BLACK, markeredgewidth=0.7,
                  markerfacecolor=(YELLOW, "white", "0.6", "0.3")[k % 4])  # fmt: skip
        _draw_intervals(axes, [model.point], plane, BLACK)


def draw_fronts(
    axes: Axes, models: Sequence[UncalibratedModel], curves: Sequence[Curve], plane: Plane
) -> None:
    """Draw the Pareto front of each model and its curves, within the current limits of ``axes``.

    Each front is over settings measured on the same data, since others are not comparable.
    """
    (left, _), (bottom, _) = axes.get_xlim(), axes.get_ylim()
    axes.autoscale(False)
    for k, model in enumerate(models):
        front = [coordinates_of(point, plane) for point in front_of(model, curves, plane)]
        x, y = zip(*front, strict=True)
        # From the left edge along the front to the lower edge; everything below is dominated.
        axes.step([min(left, *x), *x, x[-1]], [y[0], *y, min(bottom, *y)], where="pre",
                  color="0.45", linewidth=1, linestyle=(0, (2, 2)), zorder=1,
                  label=None if k else "Pareto front")  # fmt: skip


def front_of(model: UncalibratedModel, curves: Sequence[Curve], plane: Plane) -> list[Point]:
    """Return the Pareto front of a model's settings."""
    own = [point for curve in curves if model.is_baseline_of(curve) for point in curve.points]
    return pareto_front([model.point, *own], plane)


def label_axes(axes: Axes, plane: Plane) -> None:
    """Name the axes and format their ticks in percent."""
    x_name, y_name = plane_axes(plane)
    axes.set(xlabel=plain_name(x_name), ylabel=plain_name(y_name))
    axes.margins(0.08)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda rate, _: f"{100 * rate:.4g}%"))
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))


def zoom_to(axes: Axes, points: Sequence[Point], plane: Plane) -> None:
    """Limit ``axes`` to ``points`` with their intervals."""
    intervals = np.array([plane(point) for point in points])  # [points, axis, 4]
    for set_limits, rates in ((axes.set_xlim, intervals[:, 0]), (axes.set_ylim, intervals[:, 1])):
        low, high = np.nanmin(rates[:, :3]), np.nanmax(rates[:, :3])
        room = 0.06 * max(high - low, 0.01)
        set_limits(low - room, high + room)


def strength_labels(curves: Sequence[Curve], plane: Plane) -> list[PointLabel]:
    """Return a label for each strength on ``curves``, the most important first.

    Operating points come first, then the largest strengths: small ones are closest together.
    """
    points = [
        (point is not c.chosen, -abs(point.strength), point) for c in curves for point in c.points
    ]
    ranked = sorted(points, key=lambda entry: entry[:2])
    return [(f"{point.strength:g}", coordinates_of(point, plane)) for _, _, point in ranked]


def _coordinates(points: Sequence[Point], plane: Plane) -> tuple[list[float], list[float]]:
    coordinates = [coordinates_of(point, plane) for point in points]
    return [x for x, _ in coordinates], [y for _, y in coordinates]


def _draw_intervals(
    axes: Axes, points: Sequence[Point], plane: Plane, colour: str, opacity: float = 0.4
) -> None:
    x, y = np.array([plane(point) for point in points]).transpose(1, 2, 0)[:, :3]
    axes.hlines(y[0], x[1], x[2], color=colour, alpha=opacity, linewidth=0.8, zorder=2)
    axes.vlines(x[0], y[1], y[2], color=colour, alpha=opacity, linewidth=0.8, zorder=2)
