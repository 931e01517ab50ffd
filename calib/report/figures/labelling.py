"""Where the labels of points go: beside them, and over as little of the drawing as can be.

The axes must be finished but for the labels, and the layout of their figure settled by
``draw_without_rendering``: only then does a pixel mean something, and what changes the layout
afterwards moves points and labels apart from what they were placed by.
"""

from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Affine2D
from numpy.typing import NDArray

_DIRECTIONS = np.array([(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)])
"""From a point, where its label may stand."""

Array = NDArray[np.float64]


Label = tuple[str, tuple[float, float]]
"""A text and the point it is about."""


def apart(axes: Axes, labels: Iterable[Label], gap: float = 5) -> list[Label]:
    """``labels`` without those about a point that lies within ``gap`` points (1/72 inch) of one
    before it, or outside the limits of ``axes``: there a reader could not tell which is meant."""
    kept: list[Label] = []
    places: list[Array] = []
    for text, place in labels:
        at = axes.transData.transform(place)
        near = (np.hypot(*(at - other)) * _points_per_pixel(axes) < gap for other in places)
        if axes.bbox.contains(*at) and not any(near):
            kept.append((text, place))
            places.append(at)
    return kept


def label_points(axes: Axes, labels: Iterable[Label]) -> None:
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
