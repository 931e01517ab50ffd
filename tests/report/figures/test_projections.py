"""The figure of projections: the right examples at the right layer, counted right."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.patches import StepPatch
from runs_with_directions import run_with_directions, scored_direction

from calib.report.figures.io import COLUMN_INCHES, NotDrawn, svg_of
from calib.report.figures.projections import draw
from calib.scoring.intervals import wilson
from calib.util.errors import CalibError


def panels(figure):
    return [axes for axes in figure.axes if axes.axison]


def head(axes):
    return " ".join(axes.get_title(loc="left").split())


def means(axes):
    """Where a side's mean is marked, the negative side first."""
    return [float(line.get_xdata()[0]) for line in axes.lines if line.get_marker() == "v"]


def test_held_out_examples_at_the_best_layer():
    run = run_with_directions({"a": scored_direction()})
    (axes,) = panels(draw([run], 1))
    low, high = scored_direction().auroc_intervals[1]
    assert f"safety, layer 1 (best AUROC of 3) AUROC 0.80 ({low:.2f} to {high:.2f})" in head(axes)
    # along = -1 ... 1 in 40 steps, shifted by 0.6 and -0.4, and by 0.01 at layer 1
    along = np.linspace(-1, 1, 40) + 0.01
    assert means(axes) == pytest.approx([-0.39, 0.61])
    below, above = int((along + 0.6 < 0).sum()), int((along - 0.4 > 0).sum())
    for side, wrong, where in (("safe", above, "above"), ("unsafe", below, "below")):
        value, low, high, _ = wilson(wrong, 40)
        share = f"{100 * value:.0f}% ({100 * low:.0f} to {100 * high:.0f}) {where} 0"
        assert f"{side}, n = 40: {share}" in head(axes)
    assert below != above
    drawn = [patch for patch in axes.patches if isinstance(patch, StepPatch)]
    shares = {one.get_label(): one.get_data() for one in drawn if one.get_fill()}
    for side, place in (("safe", "negative"), ("unsafe", "positive")):
        own = run.projections["a"].at(1, place, "validation")
        counted = np.histogram(own, shares[side].edges)[0] / 40
        assert shares[side].values.tolist() == counted.tolist()
        assert shares[side].values.sum() == pytest.approx(1)
    hatches = {one.get_hatch() for one in drawn if one.get_fill()}
    outlines = {one.get_linestyle() for one in drawn if not one.get_fill()}
    assert len(hatches) == len(outlines) == 2  # told apart in grey


def test_the_layer_of_the_operating_point_comes_first_and_one_asked_for_before_that():
    run = run_with_directions({"a": scored_direction()}, [("steer", 2)])
    (axes,) = panels(draw([run], 1))
    assert "layer 2 (operating point)" in head(axes) and "AUROC 0.70" in head(axes)
    assert means(axes) == pytest.approx([-0.38, 0.62])
    (axes,) = panels(draw([run], 1, layer=0))
    assert "layer 0 (as asked)" in head(axes)
    assert means(axes) == pytest.approx([-0.4, 0.6])
    with pytest.raises(CalibError, match="layer 7"):
        draw([run], 1, layer=7)
    kept = [{**run.operating_points[0], "kept_uncalibrated": True}]
    (axes,) = panels(draw([run.replace(operating_points=kept)], 1))
    assert "layer 1 (best" in head(axes)
    unlike = run_with_directions({"a": scored_direction()}, [("steer", 2), ("ablate", 0)])
    assert "layer 1 (best" in head(panels(draw([unlike], 1))[0])


@pytest.mark.parametrize(("columns", "count"), [(1, 2), (1, 5), (2, 2), (2, 4)])
def test_a_panel_for_each_direction_and_one_alone_by_name(columns, count):
    contrasts = ["safety", "refusal", "modality", "false_refusal", "responses"][:count]
    run = run_with_directions({name: scored_direction(contrast=name) for name in contrasts})
    figure = draw([run], columns)
    assert [head(axes).split(",")[0] for axes in panels(figure)] == contrasts
    assert "answered, n = 40" in head(panels(figure)[1])
    assert figure.get_figwidth() == COLUMN_INCHES[columns]
    assert min(axes.bbox.width for axes in panels(figure)) > 0.2 * figure.dpi
    (legend,) = figure.legends
    assert [one.get_text() for one in legend.get_texts()] == ["side named first", "second"]
    (axes,) = panels(draw([run], columns, direction="refusal"))
    assert head(axes).startswith("refusal, layer")


def test_directions_without_projections_are_counted_or_explained():
    run = run_with_directions({"a": scored_direction(), "b": scored_direction(estimator="pca")})
    part = run.replace(projections={"a": run.projections["a"]})
    figure = draw([part], 1)
    assert len(panels(figure)) == 1
    said = " ".join(figure.legends[0].get_title().get_text().split())
    assert "1 more direction is without projections on record" in said
    with pytest.raises(NotDrawn, match="not on record: .*delete the run's directions folder"):
        draw([run.replace(projections={})], 1)
    with pytest.raises(NotDrawn, match="not on record"):
        draw([part], 1, direction="b")
    with pytest.raises(NotDrawn, match="no direction 'c'"):
        draw([run], 1, direction="c")
    with pytest.raises(NotDrawn, match="measured on no held-out|measured on held-out"):
        draw([run_with_directions({"a": scored_direction(auroc=[], auroc_pairs=0)})], 1)
    with pytest.raises(NotDrawn, match="fitted no direction"):
        draw([run.replace(directions={})], 1)


def test_projections_of_another_run_of_the_same_direction_are_used():
    before = run_with_directions({"a": scored_direction()}, [("steer", 2)], with_projections=False)
    after = run_with_directions({"a": scored_direction()}, name="after")
    (axes,) = panels(draw([before, after], 1))
    assert "layer 2 (operating point)" in head(axes)


def test_examples_that_all_lie_at_one_point_are_drawn():
    run = run_with_directions({"a": scored_direction()})
    found = run.projections["a"]
    flat = replace(found, values=np.zeros_like(found.values))
    (axes,) = panels(draw([run.replace(projections={"a": flat})], 1))
    assert "0% (0 to 9) above 0" in head(axes)


def test_names_of_others_are_harmless():
    figure = draw(
        [run_with_directions({"a": scored_direction(3, "$x^{2$ \x1b <b>", contrast="_$\\frac{")})],
        1,
    )
    text = svg_of(figure)
    assert "\x1b" not in text and "<b>" not in text and "negative side" in text


def test_equal_runs_are_equal_bytes():
    first, again = (
        svg_of(draw([run_with_directions({"a": scored_direction()})], 1)) for _ in range(2)
    )
    assert first == again
