"""The figure projections: examples, layer and shares of each panel."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.patches import StepPatch
from matplotlib.text import Text
from raising import raises
from runs_with_directions import run_with_directions, scored_direction

from calib.report.figures.io import COLUMN_INCHES, NotDrawn, svg_of
from calib.report.figures.projections import draw
from calib.scoring.intervals import clustered_rate, wilson


def panels(figure):
    return [axes for axes in figure.axes if axes.axison]


def head(axes):
    return " ".join(axes.get_title(loc="left").split())


def texts(figure):
    return " ".join(" ".join(text.get_text() for text in figure.findobj(Text)).split())


def means(axes):
    """The marked means of the sides, the negative side first."""
    return [float(line.get_xdata()[0]) for line in axes.lines if line.get_marker() == "v"]


def test_held_out_examples_at_the_best_layer():
    run = run_with_directions({"a": scored_direction()})
    (axes,) = panels(draw([run], 1))
    interval = "{:.2f} to {:.2f}".format(*scored_direction().auroc_intervals[1])
    assert f"safety, layer 1 (best AUROC of 3 layers) AUROC 0.80 ({interval})" in head(axes)
    # along = -1 ... 1 in 40 steps, shifted by 0.6 and -0.4, and by 0.01 at layer 1
    along = np.linspace(-1, 1, 40) + 0.01
    assert means(axes) == pytest.approx([-0.39, 0.61])
    below, above = int((along + 0.6 < 0).sum()), int((along - 0.4 > 0).sum())
    for side, wrong, where in (("safe", above, "above"), ("unsafe", below, "below")):
        value, low, high = wilson(wrong, 40)[:3]
        share = f"{100 * value:.0f}% ({100 * low:.0f} to {100 * high:.0f}) {where} 0"
        assert f"{side}, n = 40: {share}" in head(axes)
    assert below != above
    drawn = [patch for patch in axes.patches if isinstance(patch, StepPatch)]
    shares = {each.get_label(): each.get_data() for each in drawn if each.get_fill()}
    for side, place in (("safe", "negative"), ("unsafe", "positive")):
        own = run.projections["a"].at(1, place, "validation")
        counted = np.histogram(own, shares[side].edges)[0] / 40
        assert shares[side].values.tolist() == counted.tolist()
        assert shares[side].values.sum() == pytest.approx(1)
    hatches = {each.get_hatch() for each in drawn if each.get_fill()}
    outlines = {each.get_linestyle() for each in drawn if not each.get_fill()}
    assert len(hatches) == len(outlines) == 2  # distinguishable in grey


def test_intervals_count_clusters():
    run = run_with_directions({"a": scored_direction()})
    examples = {
        id: SimpleNamespace(cluster=str(k % 5))
        for k, id in enumerate(dict.fromkeys(run.projections["a"].examples))
    }
    figure = draw([run.replace(examples=examples)], 1)
    assert "by cluster" in texts(figure) and "without a record" in texts(draw([run], 1))
    (axes,) = panels(figure)
    ids = run.projections["a"].ids("positive", "validation")
    along = run.projections["a"].at(1, "positive", "validation")
    rate = clustered_rate((along < 0).tolist(), [examples[id].cluster for id in ids])
    assert f"unsafe, n = 40 in {rate.clusters} clusters: {100 * rate.value:.0f}%" in head(axes)
    assert f"({100 * rate.low:.0f} to {100 * rate.high:.0f}) below 0" in head(axes)


def test_layer_is_the_given_one_or_that_of_the_operating_point():
    run = run_with_directions({"a": scored_direction()}, [("steer", 2)])
    (axes,) = panels(draw([run], 1))
    assert "layer 2 (operating point)" in head(axes) and "AUROC 0.70" in head(axes)
    assert means(axes) == pytest.approx([-0.38, 0.62])
    (axes,) = panels(draw([run], 1, layer=0))
    assert "layer 0 (as requested)" in head(axes)
    assert means(axes) == pytest.approx([-0.4, 0.6])
    with raises("invalid-value", "layer 7"):
        draw([run], 1, layer=7)
    kept = [{**run.operating_points[0], "kept_uncalibrated": True}]
    (axes,) = panels(draw([run.replace(operating_points=kept)], 1))
    assert "layer 1 (best" in head(axes)
    unlike = run_with_directions({"a": scored_direction()}, [("steer", 2), ("ablate", 0)])
    assert "layer 1 (best" in head(panels(draw([unlike], 1))[0])


@pytest.mark.parametrize(("columns", "count"), [(1, 2), (1, 5), (2, 2), (2, 4)])
def test_each_direction_has_a_panel_or_one_is_selected_by_name(columns, count):
    contrasts = ["safety", "refusal", "modality", "false_refusal", "responses"][:count]
    run = run_with_directions({name: scored_direction(contrast=name) for name in contrasts})
    figure = draw([run], columns)
    assert [head(axes).split(",")[0] for axes in panels(figure)] == contrasts
    assert "answered, n = 40" in head(panels(figure)[1])
    assert figure.get_figwidth() == COLUMN_INCHES[columns]
    assert min(axes.bbox.width for axes in panels(figure)) > 0.2 * figure.dpi
    (legend,) = figure.legends
    assert [each.get_text() for each in legend.get_texts()] == ["first side named", "second"]
    (axes,) = panels(draw([run], columns, direction="refusal"))
    assert head(axes).startswith("refusal, layer")


def test_directions_without_projections_are_counted_or_not_drawn():
    run = run_with_directions({"a": scored_direction(), "b": scored_direction(estimator="pca")})
    part = run.replace(projections={"a": run.projections["a"]})
    figure = draw([part], 1)
    assert len(panels(figure)) == 1
    notes = " ".join(figure.legends[0].get_title().get_text().split())
    assert "1 more direction " in notes
    with raises("missing-value", "method.direction", "calib.extract", error=NotDrawn):
        draw([run.replace(projections={})], 1)
    with raises("missing-value", "method.direction", error=NotDrawn):
        draw([part], 1, direction="b")
    with raises("unknown-name", "'c'", error=NotDrawn):
        draw([run], 1, direction="c")
    with raises("missing-value", "validation split", error=NotDrawn):
        draw([run_with_directions({"a": scored_direction(auroc=[], auroc_pairs=0)})], 1)
    with raises("missing-value", "calib.extract", error=NotDrawn):
        draw([run.replace(directions={})], 1)


def test_projections_of_another_run_with_the_same_direction_are_used():
    before = run_with_directions({"a": scored_direction()}, [("steer", 2)], with_projections=False)
    after = run_with_directions({"a": scored_direction()}, name="after")
    (axes,) = panels(draw([before, after], 1))
    assert "layer 2 (operating point)" in head(axes)


def test_examples_with_equal_projections_are_drawn():
    run = run_with_directions({"a": scored_direction()})
    found = run.projections["a"]
    flat = replace(found, values=np.zeros_like(found.values))
    (axes,) = panels(draw([run.replace(projections={"a": flat})], 1))
    assert "0% (0 to 9) above 0" in head(axes)


def test_hostile_names_are_safe():
    figure = draw(
        [run_with_directions({"a": scored_direction(3, "$x^{2$ \x1b <b>", contrast="_$\\frac{")})],
        1,
    )
    text = svg_of(figure)
    assert "\x1b" not in text and "<b>" not in text and "negative side" in text


def test_equal_runs_give_equal_bytes():
    first, again = (
        svg_of(draw([run_with_directions({"a": scored_direction()})], 1)) for _ in range(2)
    )
    assert first == again
