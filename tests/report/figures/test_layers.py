"""The figure layers: curves, intervals, names and missing measurements."""

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from raising import raises
from runs_with_directions import AUROC, EFFECT, run_with_directions, scored_direction, with_effects

from calib.config.choices import CONTRASTS
from calib.report.figures.fitted import side_names
from calib.report.figures.io import COLUMN_INCHES, NotDrawn, svg_of
from calib.report.figures.layers import draw


def panel(figure, name):
    return next((axes for axes in figure.axes if axes.get_ylabel().startswith(name)), None)


def curves(axes):
    """Points by label."""
    lines = {line.get_label(): line.get_xydata() for line in axes.lines}
    return {label: at for label, at in lines.items() if not label.startswith("_")}


def intervals(axes):
    """Low and high of every interval, curve by curve."""
    drawn = [each for each in axes.collections if isinstance(each, LineCollection)]
    return [[tuple(bar[:, 1]) for bar in each.get_segments() if bar.size] for each in drawn]


def words(figure):
    (legend,) = figure.legends
    return " ".join(legend.get_title().get_text().split())


def test_direction_with_effects_and_pair_cosines():
    direction = with_effects(scored_direction(pair_cosine=[0.1, 0.3, float("nan")]))
    figure = draw([run_with_directions({"a": direction})], 1)
    auroc = panel(figure, "held-out AUROC")
    assert curves(auroc)["safety"].tolist() == [[0, AUROC[0]], [1, AUROC[1]], [2, AUROC[2]]]
    (found,) = intervals(auroc)
    np.testing.assert_allclose(found, direction.auroc_intervals)
    assert [line.get_ydata()[0] for line in auroc.lines if line.get_linestyle() == ":"] == [0.5]
    effect = panel(figure, "effect")
    np.testing.assert_array_equal(curves(effect)["safety"][:, 1], 100 * np.array(EFFECT))
    (found,) = intervals(effect)
    assert found[0] == pytest.approx((5, 15)) and found[-1] == pytest.approx((85, 95))
    cosine = curves(panel(figure, "pair cosine"))["safety"]
    np.testing.assert_array_equal(cosine[:, 1], [0.1, 0.3, np.nan])
    title = figure.get_suptitle()
    assert "safe to unsafe" in title and "mini" in title
    notes = words(figure)
    assert "n = 40 " in notes and "0.1 nats of KL, n = 96" in notes
    assert "AUROC only" not in notes


def test_only_measured_quantities_have_a_panel():
    figure = draw([run_with_directions({"a": scored_direction()})], 2)
    assert [axes.get_ylabel() for axes in figure.axes] == ["held-out AUROC"]
    assert "Effect" not in words(figure)
    from_before = with_effects(scored_direction(), effect_low=[], effect_high=[])
    assert "AUROC only" in words(draw([run_with_directions({"a": from_before})], 1))


def test_names_include_what_distinguishes_directions():
    run = run_with_directions(
        {
            "a": scored_direction(),
            "b": scored_direction(estimator="pca", auroc_pairs=30),
            "c": scored_direction(contrast="refusal"),
        }
    )
    again = run_with_directions({"x": scored_direction(pair_set="others")}, name="again")
    figure = draw([run, again], 2)
    labels = list(curves(figure.axes[0]))
    assert labels == [
        "safety, mean_difference, run (n = 40)",
        "safety, pca (n = 30)",
        "refusal, mean_difference (n = 40)",
        "safety, mean_difference, again (n = 40)",
    ]
    looks = [
        (line.get_marker(), line.get_linestyle())
        for line in figure.axes[0].lines
        if not line.get_label().startswith("_")
    ]
    assert len(set(looks)) == 4
    # No interval hides another.
    starts = [each.get_segments()[0][0, 0] for each in figure.axes[0].collections]
    assert len(set(starts)) == 4 and max(map(abs, starts)) < 0.2


def test_equal_directions_of_two_runs_are_one_curve_with_the_effects_of_either():
    swept = run_with_directions({"a": scored_direction()}, [("steer", 1)])
    extracted = run_with_directions({"a": with_effects(scored_direction())}, name="extract")
    figure = draw([swept, extracted], 1)
    assert list(curves(figure.axes[0])) == ["safety", "layer of the operating point"]
    assert panel(figure, "effect") is not None
    marked = [line.get_xdata()[0] for line in figure.axes[1].lines if "point" in line.get_label()]
    assert marked == [1]
    dearer = run_with_directions(
        {"a": with_effects(scored_direction(), effect=[0.2, 0.3, 0.4])}, name="dearer"
    )
    assert len(curves(draw([extracted, dearer], 1).axes[0])) == 2


def test_operating_points_at_different_layers_are_not_marked():
    run = run_with_directions(
        {"a": scored_direction()}, [("steer", 1), ("steer_pca", 2), ("cot", None)]
    )
    assert list(curves(draw([run], 1).axes[0])) == ["safety"]


def test_models_of_different_depth_share_relative_depth():
    small, deep = (
        run_with_directions({"a": scored_direction()}),
        run_with_directions({"a": scored_direction(5, "deep")}, name="other"),
    )
    figure = draw([small, deep], 2)
    found = curves(figure.axes[0])
    assert list(found) == ["mini, safety", "deep, safety"]
    assert found["mini, safety"][:, 0].tolist() == [0, 0.5, 1]
    assert found["deep, safety"][:, 0].tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert figure.axes[-1].get_xlabel() == "relative depth (0: first layer, 1: last)"
    same = draw([small, run_with_directions({"a": scored_direction(3, "other")})], 2)
    assert same.axes[-1].get_xlabel() == "layer"
    assert curves(same.axes[0])["mini, safety"][:, 0].tolist() == [0, 1, 2]


def test_single_layer_is_a_point():
    direction = scored_direction().select_layers([1])
    assert curves(draw([run_with_directions({"a": direction})], 1).axes[0])["safety"].tolist() == [
        [1, 0.8]
    ]


def test_more_directions_than_styles():
    many = {f"d{k}": scored_direction(pair_set=f"{k}") for k in range(9)}
    figure = draw([run_with_directions(many)], 2)
    lines = [line for line in figure.axes[0].lines if not line.get_label().startswith("_")]
    assert lines[0].get_marker() == lines[8].get_marker()
    assert lines[0].get_markerfacecolor() != lines[8].get_markerfacecolor() == "white"
    more = {f"d{k}": scored_direction(pair_set=f"{k}") for k in range(17)}
    with raises("too-large", "17", "16", error=NotDrawn):
        draw([run_with_directions(more)], 2)


@pytest.mark.parametrize("columns", COLUMN_INCHES)
def test_hostile_names_are_safe_at_both_widths(columns):
    direction = scored_direction(5, "$x^{2$ \x1b[1m <b> " + "long " * 40, contrast="_$\\frac{")
    figure = draw([run_with_directions({"a": direction})], columns)
    text = svg_of(figure)
    assert figure.get_figwidth() == COLUMN_INCHES[columns]
    assert "\x1b" not in text and "<b>" not in text and "negative side" in text


def test_missing_directions_are_not_drawn():
    with raises("missing-value", "calib.extract", error=NotDrawn):
        draw([run_with_directions({"a": scored_direction()}).replace(directions={})], 1)
    with raises("missing-value", "validation split", error=NotDrawn):
        draw([run_with_directions({"a": scored_direction(auroc=[], auroc_pairs=0)})], 1)


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_every_contrast_has_names_for_its_sides(contrast):
    assert "side" not in " ".join(side_names(contrast))
