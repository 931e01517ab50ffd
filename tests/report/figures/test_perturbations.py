"""The figure perturbations: points, paired intervals and order."""

import math
from dataclasses import replace

import pytest
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

from calib.report.figures.io import NotDrawn
from calib.report.figures.perturbations import draw
from calib.scoring.results import ALL, BASELINE

METRICS = ("DAR_b", "RR_b", "DAR_h", "RR_h", "SCR", "ORR", "delta_IR")


def perturbed(variants=("rotation", "noise"), methods=("steer",), model="model", name="run"):
    results = []
    for k, method in enumerate((BASELINE, *methods)):
        place = (method, None, 0.0) if method == BASELINE else (method, 3, 1.0)
        results += cell(*place, safety(0.5 + k / 10, parts=(ALL,)), split="validation")
        changes = {
            ("dual_use", variant, ALL, f"change_{metric}"): -0.1 * v - k / 5
            for v, variant in enumerate(variants)
            for metric in METRICS
        }
        results += cell(*place, changes, n=12)
    return run(results, [chosen(method, 3) for method in methods], name, model)


def marks(axes):
    return [(round(line.get_xdata()[0], 2), round(line.get_ydata()[0], 2), line.get_marker())
            for line in axes.lines
            if line.get_marker() not in ("None", "") and len(line.get_xdata())]  # fmt: skip


def test_a_panel_per_metric_with_paired_intervals():
    figure = draw([perturbed()], 2)
    assert [axes.get_title() for axes in figure.axes] == [f"{m} (n = 12)" for m in METRICS]
    first = figure.axes[0]
    # In the order of the paper, not of the results.
    assert [label.get_text() for label in first.get_yticklabels()] == ["noise", "rotation"]
    assert marks(first) == [(-0.1, -0.19, "o"), (0.0, 0.81, "o"), (-0.3, 0.19, "D"),
                            (-0.2, 1.19, "D")]  # fmt: skip
    spans = [bar.get_segments()[0][:, 0].tolist() for bar in first.collections]
    assert spans[0] == pytest.approx([-0.15, -0.05])
    assert [0, 0] in [list(line.get_xdata()) for line in first.lines]
    assert first.get_ylim()[0] > first.get_ylim()[1]
    shown = first.xaxis.get_major_formatter()
    assert [shown(value) for value in (-0.25, 0, 0.5)] == ["-25", "0", "+50"]
    assert "percentage points" in texts(figure) and "steer" in texts(figure)


def test_unknown_interval_is_not_drawn():
    original = perturbed()
    unknown = [replace(r, low=math.nan, high=math.nan) for r in original.results]
    figure = draw([original.replace(results=unknown)], 2)
    assert len(marks(figure.axes[0])) == 4 and not figure.axes[0].collections


def test_each_model_has_its_panels():
    runs = [perturbed(model="a", methods=("steer", "ablate")), perturbed(("noise",), model="b")]
    figure = draw(runs, 1)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [f"{name}\n{m} (n = 12)" for name in "ab" for m in METRICS]
    assert [len(marks(axes)) for axes in figure.axes] == [6] * 7 + [2] * 7


def test_only_the_three_best_methods_are_drawn_and_the_note_counts_them():
    figure = draw([perturbed(methods=("one", "two", "three", "four"))], 2)
    assert "3 of 4" in texts(figure) and "one" not in texts(figure).split()
    assert {marker for *_, marker in marks(figure.axes[0])} == {"o", "D", "s", "^"}


@pytest.mark.parametrize("columns", [1, 2])
def test_hostile_names_stay_within_the_figure(columns):
    variants = ("real_background", "noise", "rotation", "small_font", "translation")
    runs = [perturbed(variants, methods=(HOSTILE, "b", "c"), model=HOSTILE),
            perturbed(variants, model="other")]  # fmt: skip
    figure = draw(runs, columns)
    assert nothing_is_cut_off(figure) and never_mathematics(figure)
    assert smallest_text(figure) >= 6
    assert figure.get_figwidth() == {1: 3.3, 2: 6.9}[columns]


def test_run_without_perturbations_is_not_drawn():
    with raises("missing-value", "test", "data=dualbench", error=NotDrawn):
        draw([swept()], 2)
