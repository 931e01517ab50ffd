"""The figure calibration_against_utility: curves, points and both scales."""

from dataclasses import replace

import pytest
from curves_made_up import RATES, legend, line, methods_of, one_method
from measured_made_up import HOSTILE, never_mathematics, nothing_is_cut_off, smallest_text, texts
from raising import raises

from calib.report.figures.calibration_against_utility import draw
from calib.report.figures.curves import prompt_note
from calib.report.figures.io import NotDrawn

MANY = {f"m{k}": k / 100 for k in range(1, 8)} | {"kept": -0.1, "say": 0.03, "said": -0.05}
"""Gains by method. Of those that are not prompt-only, m7 down to m2 have the largest areas."""


@pytest.fixture(scope="module")
def single():
    return draw([one_method(reference=0.0)], 2)


@pytest.fixture(scope="module")
def many():
    return draw([methods_of(MANY, prompts=["say", "said"])], 1)


def test_a_few_methods_have_full_curves_at_both_scales(single) -> None:
    whole, near = single.axes
    curve = [(0.9, 0.5), (0.95, 0.575), (0.96, 0.65), (0.955, 0.7)]
    assert line(whole, "steer, layer 3") == line(near, "steer, layer 3") == curve
    for axes in single.axes:
        assert line(axes, "uncalibrated") == [(0.96, 0.65)]
        assert line(axes, "caution*") == [(0.8, 0.75)]
    assert legend(single) == ["steer, layer 3", "caution*", "uncalibrated", "Pareto front"]
    assert [axes.get_xlabel() for axes in single.axes] == ["utility", "utility"]


def test_intervals_are_drawn_in_both_directions(single) -> None:
    across, up = single.axes[0].collections[:2]
    assert across.get_segments()[0].ravel() == pytest.approx([0.87, 0.5, 0.93, 0.5])
    assert up.get_segments()[0].ravel() == pytest.approx([0.9, 0.47, 0.9, 0.53])


def test_the_operating_point_is_marked(single) -> None:
    for axes in single.axes:
        marked = [point for point in axes.lines if point.get_markersize() == 8]
        assert [tuple(point.get_xydata()[0].round(4)) for point in marked] == [(0.955, 0.7)]


def test_the_second_scale_shows_the_operating_points_and_their_intervals(single) -> None:
    left, right = single.axes[1].get_xlim()
    assert 0.92 < left < 0.925 and 0.99 < right < 0.995  # 0.925 to 0.99 and some room
    bottom, top = single.axes[1].get_ylim()
    assert 0.61 < bottom < 0.62 and 0.73 < top < 0.74


def test_each_strength_is_written_once(single) -> None:
    whole, near = ([text.get_text() for text in axes.texts] for axes in single.axes)
    assert (sorted(whole), near) == (["-1", "-2"], ["1"])
    assert "strengths" in texts(single)


def test_the_front_is_a_step_line_over_all_settings(single) -> None:
    places = line(single.axes[0], "Pareto front")
    # The reference gains most SRA, then strength 1, then the uncalibrated model.
    assert places[1:-1] == [(0.8, 0.75), (0.955, 0.7), (0.96, 0.65)]
    assert places[0][1] == 0.75 and places[-1][0] == 0.96


def test_of_many_methods_six_have_full_curves(many) -> None:
    whole, points = many.axes
    curves = [each.get_label() for each in whole.lines if len(each.get_xdata()) > 2]
    numbers = {7: 1, 6: 2, 5: 3, 4: 4, 3: 5, 2: 7}  # say* is the sixth
    assert curves == [*(f"{number} m{k}" for k, number in numbers.items()), "Pareto front"]
    assert line(points, "8 m1") == [(0.94, 0.51)] and line(points, "3 m5") == [(0.94, 0.55)]
    assert [text.get_text() for text in points.texts] == [str(k) for k in range(1, 9)]
    assert not whole.texts
    assert legend(many)[:8] == [
        "1 m7", "2 m6", "3 m5", "4 m4", "5 m3", "6 say*", "7 m2", "8 m1",
    ]  # fmt: skip
    assert ": kept, said*." in texts(many)


def test_prompt_only_methods_are_always_drawn(many) -> None:
    for axes in many.axes:
        # At one setting: the operating point, or the weakest setting if none was chosen.
        assert line(axes, "6 say*") == [(0.94, 0.53)]
        assert line(axes, "said*") == [(0.94, 0.45)]
        assert line(axes, "uncalibrated") == [(0.95, 0.5)]
    looks = {each.get_label(): each for each in many.axes[0].lines}
    assert looks["6 say*"].get_markerfacecolor() == "white"
    assert looks["6 say*"].get_marker() != looks["said*"].get_marker()


def test_many_methods_are_distinguishable_without_colour() -> None:
    figure = draw([methods_of({f"m{k}": 0.1 + k / 1000 for k in range(25)})], 2)
    looks = {
        (each.get_marker(), each.get_fillstyle())
        for each in figure.axes[1].lines
        if " m" in each.get_label()
    }
    assert len(looks) == 25
    assert nothing_is_cut_off(figure)


def test_no_setting_but_the_chosen_one_decides_which_curves_are_drawn() -> None:
    gains = {f"m{k}": 0.1 + k / 1000 for k in range(6)}
    run = methods_of(gains | {"lucky": 0.01})
    # The best setting of all on test, which was not chosen on validation.
    better = [
        replace(r, value=0.99) if (r.method, r.strength) == ("lucky", 2) else r for r in run.results
    ]
    figure = draw([run.replace(results=better)], 2)
    curves = [each.get_label() for each in figure.axes[0].lines if len(each.get_xdata()) == 3]
    assert [name for name in curves if " m" in name] == [f"{k + 1} m{5 - k}" for k in range(6)]
    assert line(figure.axes[1], "7 lucky")


def test_missing_prompt_only_method_is_noted(single, many) -> None:
    missing = prompt_note([])
    assert missing in texts(draw([one_method()], 1))
    assert missing not in texts(single) + texts(many)


def test_each_model_has_a_star_and_a_front() -> None:
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
    dashed = [each for each in figure.axes[0].lines if each.get_drawstyle() == "steps-pre"]
    assert [round(float(each.get_ydata()[0]), 3) for each in dashed] == [0.7, 0.8]
    assert [round(float(each.get_xdata()[-1]), 3) for each in dashed] == [0.96, 1]


@pytest.mark.parametrize("columns", [1, 2])
def test_hostile_names_fit_both_widths(columns) -> None:
    runs = [
        one_method(HOSTILE, 1.0, model=HOSTILE * 2, name=HOSTILE),
        one_method("_" * 60, 1.0, model="m" * 60, name="n" * 60),
    ]
    figure = draw(runs, columns)
    assert figure.get_figwidth() == {1: 3.3, 2: 6.9}[columns]
    assert len(legend(figure)) == 7
    assert nothing_is_cut_off(figure) and never_mathematics(figure)
    assert smallest_text(figure) >= 6


def test_prompt_only_methods_do_not_displace_curves() -> None:
    runs = [one_method(reference=1.0, model=f"model {k}", name=f"run {k}") for k in range(4)]
    figure = draw(runs, 2)
    assert figure.axes[1].get_title() == "near the operating points"
    for axes in figure.axes:
        assert len(line(axes, "model 3: steer, layer 3")) == 4


def test_prompt_only_methods_need_no_second_scale() -> None:
    figure = draw([methods_of({"say": 0.1}, prompts=["say"])], 2)
    assert len(figure.axes) == 1 and line(figure.axes[0], "say*")[0] == (0.94, 0.6)


def test_split_without_results_is_not_drawn() -> None:
    with raises("missing-value", "'train'", error=NotDrawn):
        draw([one_method()], 2, split="train")
