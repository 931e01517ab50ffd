"""Labels of points: one each, inside the frame, without overlap."""

from itertools import combinations

from matplotlib.figure import Figure
from matplotlib.text import Text

from calib.report.figures.plane import label_points, separate_labels


def labelled(points):
    """Axes with a curve through ``points``, labelled 1, 2, 3 ..."""
    axes = Figure(figsize=(4, 4), layout="constrained").subplots()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.plot(*zip(*points, strict=True), marker="o", markersize=5)
    axes.figure.draw_without_rendering()
    label_points(axes, [(str(k), point) for k, point in enumerate(points, start=1)])
    return axes


def boxes(axes):
    axes.figure.draw_without_rendering()
    # The extent of an annotation itself includes the line to its point.
    return [Text.get_window_extent(label) for label in axes.texts]


def test_every_point_has_its_label() -> None:
    axes = labelled([(0.2, 0.3), (0.5, 0.5), (0.8, 0.4)])
    assert [text.get_text() for text in axes.texts] == ["1", "2", "3"]
    assert [text.xy for text in axes.texts] == [(0.2, 0.3), (0.5, 0.5), (0.8, 0.4)]


def test_labels_of_equal_points_do_not_overlap() -> None:
    for box, other in combinations(boxes(labelled([(0.5, 0.5)] * 4)), 2):
        assert not box.overlaps(other)


def test_labels_stay_inside_the_frame() -> None:
    axes = labelled([(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)])
    frame = axes.bbox
    for box in boxes(axes):
        assert frame.x0 <= box.x0 and box.x1 <= frame.x1
        assert frame.y0 <= box.y0 and box.y1 <= frame.y1


def test_of_points_too_close_together_only_the_first_is_labelled() -> None:
    axes = labelled([(0.5, 0.5)])
    labels = [("a", (0.5, 0.5)), ("b", (0.51, 0.5)), ("c", (0.6, 0.5)), ("d", (0.5, 1.2))]
    assert separate_labels(axes, labels) == [labels[0], labels[2]]
    axes.set(xlim=(0.498, 0.602), ylim=(0, 2))  # all separate and in view at a larger scale
    assert separate_labels(axes, labels) == labels
