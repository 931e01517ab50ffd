"""Labels beside points: one each, inside the frame, clear of each other."""

from itertools import combinations

from matplotlib.figure import Figure
from matplotlib.text import Text

from calib.report.figures.labelling import label_strengths
from calib.scoring.intervals import Interval
from calib.scoring.tradeoff import Point, utility_and_sra


def rate(value):
    return Interval(value, value, value, 100)


def labelled(places):
    """The axes with a curve through ``places`` (utility, SRA), labelled 1, 2, 3 ..."""
    axes = Figure(figsize=(4, 4), layout="constrained").subplots()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.plot(*zip(*places, strict=True), marker="o", markersize=5)
    points = [
        Point("steer", 3, float(k), rate(y), rate(y), rate(y), rate(x))
        for k, (x, y) in enumerate(places, start=1)
    ]
    label_strengths(axes, points, utility_and_sra)
    return axes


def boxes(axes):
    axes.figure.draw_without_rendering()
    # Not an annotation's own extent, which holds the line to its point too.
    return [Text.get_window_extent(label) for label in axes.texts]


def test_every_point_has_its_strength_beside_it() -> None:
    axes = labelled([(0.2, 0.3), (0.5, 0.5), (0.8, 0.4)])
    assert [text.get_text() for text in axes.texts] == ["1", "2", "3"]
    assert [text.xy for text in axes.texts] == [(0.2, 0.3), (0.5, 0.5), (0.8, 0.4)]


def test_labels_of_points_in_one_place_do_not_cover_each_other() -> None:
    for one, other in combinations(boxes(labelled([(0.5, 0.5)] * 4)), 2):
        assert not one.overlaps(other)


def test_labels_stay_inside_the_frame() -> None:
    axes = labelled([(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)])
    frame = axes.bbox
    for box in boxes(axes):
        assert frame.x0 <= box.x0 and box.x1 <= frame.x1
        assert frame.y0 <= box.y0 and box.y1 <= frame.y1
