"""The figure categories: lengths, order and names of bars, and methods left out."""

import pytest
from matplotlib.patches import Rectangle
from measured_made_up import (
    HOSTILE,
    cell,
    chosen,
    never_mathematics,
    nothing_is_cut_off,
    run,
    safety,
    smallest_text,
    swept,
    texts,
)
from raising import raises

from calib.report.figures.categories import draw
from calib.report.figures.io import NotDrawn
from calib.scoring.results import ALL, BASELINE

RATES = {"fire": (0.8, 0.6), "blades": (0.2, 0.1), "drugs": (0.2, 0.5)}


def by_category(rates=None, part="image_centric", metrics=("SRA_u", "SRA_s"), gain=0.1,
                methods=("steer",), name="run", model="model", counts=(20, 20)):  # fmt: skip
    rates = RATES if rates is None else rates
    results = []
    for k, method in enumerate((BASELINE, *methods)):
        place = (method, None, 0.0) if method == BASELINE else (method, 3, 1.0)
        results += cell(*place, {(part, metric): 0.5 for metric in metrics})
        results += cell(*place, safety(0.5 + k / 10, parts=(ALL,)), split="validation")
        for category, values in rates.items():
            for metric, value, n in zip(metrics, values, counts, strict=True):
                if value is not None:
                    measured = {(part, ALL, category, metric): value + k * gain}
                    results += cell(*place, measured, n=n)
    return run(results, [chosen(method, 3) for method in methods], name, model)


def bars(axes):
    return [(round(patch.get_y() + patch.get_height() / 2, 2), round(patch.get_width(), 2))
            for patch in axes.patches if isinstance(patch, Rectangle)]  # fmt: skip


def labels(axes):
    return [label.get_text() for label in axes.get_yticklabels()]


def test_bars_of_both_sides_lowest_category_first():
    figure = draw([by_category()], 2)
    unsafe, safe = figure.axes
    assert [axes.get_title() for axes in figure.axes] == [
        "image-centric, SRA_u", "image-centric, SRA_s",
    ]  # fmt: skip
    assert labels(unsafe) == ["blades (20)", "drugs (20)", "fire (20)"]
    assert bars(unsafe) == [(-0.2, 0.2), (0.8, 0.2), (1.8, 0.8), (0.2, 0.3), (1.2, 0.3), (2.2, 0.9)]
    assert [width for _, width in bars(safe)] == [0.1, 0.5, 0.6, 0.2, 0.6, 0.7]
    lines = [line.get_segments()[0][:, 0].tolist() for line in unsafe.collections]
    assert lines[0] == pytest.approx([0.15, 0.25]) and len(lines) == 6
    assert unsafe.get_ylim()[0] > unsafe.get_ylim()[1]


def test_settings_differ_in_hatch_and_are_named():
    figure = draw([by_category()], 2)
    hatches = [patch.get_hatch() or "" for patch in figure.axes[0].patches]
    assert hatches == ["", "", "", "////", "////", "////"]
    text = texts(figure)
    assert "uncalibrated" in text and "steer" in text and "95%" in text


def test_different_counts_of_the_two_sides_are_both_shown():
    figure = draw([by_category(counts=(20, 30))], 2)
    assert labels(figure.axes[0])[0] == "blades (20, 30)"


def test_category_with_one_side_is_only_in_that_panel():
    rates = {"privacy": (None, 0.3), "contrast_privacy": (0.4, None), "fire": (0.5, 0.9)}
    unsafe, safe = draw([by_category(rates, part="text_centric", counts=(20, 30))], 2).axes
    assert labels(unsafe) == ["contrast_privacy (20)", "fire (20)"]
    assert labels(safe) == ["privacy (30)", "fire (30)"]


def test_rate_without_responses_has_no_panel():
    figure = draw([by_category(counts=(20, 0))], 2)
    assert [axes.get_title() for axes in figure.axes] == ["image-centric, SRA_u"]
    assert labels(figure.axes[0])[0] == "blades (20)"


def test_dual_use_has_its_own_rates():
    original = by_category(part="dual_use", metrics=("RR_h", "DAR_b"))
    assert [axes.get_title() for axes in draw([original], 1).axes] == [
        "dual-use, RR_h", "dual-use, DAR_b",
    ]  # fmt: skip


def test_three_best_methods_on_validation_are_drawn_and_the_note_counts_them():
    names = ("one", "two", "three", "four")
    figure = draw([by_category(methods=names, gain=0.01)], 2)
    words = texts(figure).split()
    assert "one" not in words and all(name in words for name in names[1:])
    assert "3 of 4" in texts(figure)
    assert len(bars(figure.axes[0])) == 3 * 4
    chosen_ones = texts(draw([by_category(methods=names)], 2, methods=["one"]))
    assert "one" in chosen_ones.split() and "two" not in chosen_ones.split()


def test_method_that_kept_the_uncalibrated_model_is_left_out_and_noted():
    original = by_category()
    kept = run(original.results, [chosen("steer", 3, 0.0)])
    figure = draw([kept], 2)
    assert len(bars(figure.axes[0])) == 3
    assert "Not shown: 1 method " in texts(figure)


def test_each_model_has_its_rows():
    titles = [axes.get_title() for axes in
              draw([by_category(model="a"), by_category(model="b")], 2).axes]  # fmt: skip
    assert titles == [
        "a: image-centric, SRA_u", "a: image-centric, SRA_s",
        "b: image-centric, SRA_u", "b: image-centric, SRA_s",
    ]  # fmt: skip


@pytest.mark.parametrize("columns", [1, 2])
def test_many_and_hostile_categories_stay_within_the_figure(columns):
    rates = {f"{HOSTILE} {k}": (0.9, 0.9) for k in range(12)}
    rates |= {f"Category number {k}": (None, 0.9) for k in range(12)}
    figure = draw([by_category(rates, gain=0.05, methods=("a", HOSTILE))], columns)
    assert nothing_is_cut_off(figure) and never_mathematics(figure)
    assert smallest_text(figure) >= 6
    assert figure.get_figwidth() == {1: 3.3, 2: 6.9}[columns]
    rows = figure.axes[0].get_window_extent().height / figure.dpi * 72 / 12
    assert rows >= 8  # points, so that labels do not overlap


def test_missing_results_and_unknown_methods_are_not_drawn():
    with raises("missing-value", "test", error=NotDrawn):
        draw([swept()], 2)
    with raises("unknown-name", "'steerr'", error=NotDrawn):
        draw([by_category()], 2, methods=["steerr"])
