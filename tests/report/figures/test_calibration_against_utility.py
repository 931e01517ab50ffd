"""SRA against utility: which curves, which points, both scales, and what is never missing."""

from dataclasses import replace

import pytest
from curves_made_up import RATES, legend, line, methods_of, one_method
from measured_made_up import HOSTILE, never_mathematics, nothing_is_cut_off, smallest_text, texts

from calib.report.figures.calibration_against_utility import draw
from calib.report.figures.io import NotDrawn

MANY = {f"m{k}": k / 100 for k in range(1, 8)} | {"kept": -0.1, "say": 0.03, "said": -0.05}
"""Of the eight that are no prompts, m7 down to m2 gain the largest areas."""


@pytest.fixture(scope="module")
def one():
    return draw([one_method(reference=0.0)], 2)


@pytest.fixture(scope="module")
def many():
    return draw([methods_of(MANY, prompts=["say", "said"])], 1)


def test_a_few_methods_have_their_whole_curves_at_both_scales(one) -> None:
    whole, near = one.axes
    curve = [(0.9, 0.5), (0.95, 0.575), (0.96, 0.65), (0.955, 0.7)]
    assert line(whole, "steer, layer 3") == line(near, "steer, layer 3") == curve
    for axes in one.axes:
        assert line(axes, "uncalibrated") == [(0.96, 0.65)]
        assert line(axes, "caution*") == [(0.8, 0.75)]
    assert legend(one) == ["steer, layer 3", "caution*", "uncalibrated", "Pareto front"]
    assert [axes.get_xlabel() for axes in one.axes] == ["utility", "utility"]


def test_intervals_are_drawn_both_ways(one) -> None:
    across, up = one.axes[0].collections[:2]
    assert across.get_segments()[0].ravel() == pytest.approx([0.87, 0.5, 0.93, 0.5])
    assert up.get_segments()[0].ravel() == pytest.approx([0.9, 0.47, 0.9, 0.53])


def test_the_operating_point_is_marked(one) -> None:
    for axes in one.axes:
        marked = [point for point in axes.lines if point.get_markersize() == 8]
        assert [tuple(point.get_xydata()[0].round(4)) for point in marked] == [(0.955, 0.7)]


def test_the_second_scale_shows_the_operating_points_and_their_intervals(one) -> None:
    left, right = one.axes[1].get_xlim()
    assert 0.92 < left < 0.925 and 0.99 < right < 0.995  # 0.925 to 0.99 and some room
    bottom, top = one.axes[1].get_ylim()
    assert 0.61 < bottom < 0.62 and 0.73 < top < 0.74


def test_each_strength_is_written_once(one) -> None:
    whole, near = ([text.get_text() for text in axes.texts] for axes in one.axes)
    assert (sorted(whole), near) == (["-1", "-2"], ["1"])
    assert "Numbers: strengths." in texts(one)


def test_the_front_is_a_step_line_over_all_settings(one) -> None:
    places = line(one.axes[0], "Pareto front")
    # The reference gains most SRA, then strength 1, then the uncalibrated model.
    assert places[1:-1] == [(0.8, 0.75), (0.955, 0.7), (0.96, 0.65)]
    assert places[0][1] == 0.75 and places[-1][0] == 0.96


def test_of_many_methods_a_handful_keep_their_curves(many) -> None:
    whole, points = many.axes
    curves = [one.get_label() for one in whole.lines if len(one.get_xdata()) > 2]
    assert curves == [*(f"m{k}" for k in range(2, 8)), "Pareto front"]
    assert {"m1", "m5"} <= {one.get_label() for one in points.lines}
    assert line(points, "m1") == [(0.94, 0.51)] and line(points, "m5") == [(0.94, 0.55)]
    assert "m1" in legend(many) and not [text for axes in many.axes for text in axes.texts]
    assert "No better than uncalibrated on validation: kept, said*." in texts(many)


def test_prompt_only_methods_are_there_however_many_methods(many) -> None:
    for axes in many.axes:
        assert line(axes, "say*") == [(0.94, 0.53), (0.85, 0.515)]
        assert line(axes, "said*") == [(0.94, 0.45), (0.85, 0.475)]
        assert line(axes, "uncalibrated") == [(0.95, 0.5)]
    looks = {one.get_label(): one for one in many.axes[0].lines}
    assert looks["say*"].get_markerfacecolor() == "white"
    assert looks["say*"].get_marker() != looks["said*"].get_marker()


def test_many_methods_can_be_told_apart_without_colour() -> None:
    figure = draw([methods_of({f"m{k}": 0.1 + k / 1000 for k in range(25)})], 2)
    looks = {
        (one.get_marker(), one.get_fillstyle())
        for one in figure.axes[1].lines
        if one.get_label().startswith("m")
    }
    assert len(looks) == 25
    assert nothing_is_cut_off(figure)


def test_a_curve_that_reaches_the_front_comes_before_larger_areas() -> None:
    gains = {f"m{k}": 0.1 + k / 1000 for k in range(6)}
    run = methods_of(gains | {"small": 0.01})
    # Much utility at a small gain: on the front, and yet a small area.
    better = [
        replace(r, value=0.99) if (r.method, r.metric, r.strength) == ("small", "utility", 1) else r
        for r in run.results
    ]
    figure = draw([run.replace(results=better)], 2)
    curves = [one.get_label() for one in figure.axes[0].lines if len(one.get_xdata()) == 3]
    assert "small" in curves and "m0" not in curves and len(curves) == 6


def test_without_a_prompt_only_method_the_figure_says_so(one, many) -> None:
    missing = "No prompt-only method in these runs."
    assert missing in texts(draw([one_method()], 1))
    assert missing not in texts(one) + texts(many)


def test_several_models_have_a_star_and_a_front_each() -> None:
    rates = RATES | {0: (1, 0.4, 1), 1: (1, 0.6, 0.955)}
    other = one_method("ablate", name="second", model="other", by_strength=rates)
    figure = draw([one_method(), other], 2)
    assert legend(figure) == [
        "model: steer, layer 3",
        "other: ablate, layer 3",
        "uncalibrated model",
        "uncalibrated other",
        "Pareto front",
    ]
    dashed = [one for one in figure.axes[0].lines if one.get_drawstyle() == "steps-pre"]
    assert [round(float(one.get_ydata()[0]), 3) for one in dashed] == [0.7, 0.8]
    assert [round(float(one.get_xdata()[-1]), 3) for one in dashed] == [0.96, 1]


@pytest.mark.parametrize("columns", [1, 2])
def test_names_of_any_kind_fit_either_width(columns) -> None:
    runs = [
        one_method(HOSTILE, 1.0, model=HOSTILE * 2, name=HOSTILE),
        one_method("_" * 60, 1.0, model="m" * 60, name="n" * 60),
    ]
    figure = draw(runs, columns)
    assert figure.get_figwidth() == {1: 3.3, 2: 6.9}[columns]
    assert len(legend(figure)) == 7
    assert nothing_is_cut_off(figure) and never_mathematics(figure)
    assert smallest_text(figure) >= 6


def test_prompts_do_not_crowd_out_curves() -> None:
    runs = [one_method(reference=1.0, model=f"model {k}", name=f"run {k}") for k in range(4)]
    figure = draw(runs, 2)
    assert figure.axes[1].get_title() == "near the operating points"
    for axes in figure.axes:
        assert len(line(axes, "model 3: steer, layer 3")) == 4


def test_prompts_alone_need_no_second_scale() -> None:
    figure = draw([methods_of({"say": 0.1}, prompts=["say"])], 2)
    assert len(figure.axes) == 1 and line(figure.axes[0], "say*")[0] == (0.94, 0.6)


def test_nothing_on_that_split_is_not_drawn() -> None:
    with pytest.raises(NotDrawn, match="no SRA on split 'train'"):
        draw([one_method()], 2, split="train")
