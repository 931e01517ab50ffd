"""The figure heat_map: values, colour scale, frame and notes."""

import numpy as np
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

from calib.report.figures.heat_map import draw
from calib.report.figures.io import NotDrawn
from calib.scoring.results import ALL, BASELINE

STRENGTHS = (-1.0, 1.0, 2.0)


def layered(layers=(2, 3), strengths=STRENGTHS, name="run", method="steer", own=0.0, at=None):
    """SRA rises by 1 point a layer and 10 a strength; ``own`` makes strengths differ by layer."""
    results = cell(BASELINE, None, 0.0, safety(0.6, 0.9), split="validation")
    results += cell(BASELINE, None, 0.0, {("utility", "KL"): 0.0}, split="validation")
    for layer in layers:
        for strength in strengths:
            s = strength * (1 + own * layer)
            rates = safety(0.6 + layer / 100 + strength / 10, 0.9 - abs(strength) / 10)
            results += cell(method, layer, s, rates, split="validation")
            results += cell(
                method, layer, s, {("utility", "KL"): abs(s) / 10}, split="validation", n=64
            )
    return run(results, [at or chosen(method, 3, 1.0)], name)


def maps(figure):
    """The axes of the maps, without the colour bars."""
    return [axes for axes in figure.axes if axes.images]


def values(axes):
    return np.round(np.ma.filled(axes.images[0].get_array().astype(float), np.nan), 4).tolist()


def frames(axes):
    return {patch.get_xy() for patch in axes.patches if isinstance(patch, Rectangle)}


def written(axes):
    return {(round(t.get_position()[0]), round(t.get_position()[1])): t.get_text()
            for t in axes.texts}  # fmt: skip


def test_sra_and_utility_at_every_layer_and_strength():
    sra, utility = maps(draw([layered()], 2))
    assert values(sra) == [[0.52, 0.72, 0.82], [0.53, 0.73, 0.83]]
    assert values(utility) == [[0.8, 0.8, 0.7], [0.8, 0.8, 0.7]]
    assert [label.get_text() for label in sra.get_xticklabels()] == ["-1", "1", "2"]
    assert [label.get_text() for label in sra.get_yticklabels()] == ["2", "3"]
    assert sra.get_title() == "steer: SRA (uncalibrated 60%)"
    assert utility.get_title() == "steer: utility (uncalibrated 90%)"
    assert written(sra)[1, 1] == "73"
    assert sra.images[0].origin == "lower"


def test_middle_of_the_colour_scale_is_the_uncalibrated_model():
    figure = draw([layered()], 2)
    sra, utility = (axes.images[0] for axes in maps(figure))
    assert (sra.norm.vmin + sra.norm.vmax) / 2 == pytest.approx(0.6)
    assert sra.norm.vmax == pytest.approx(0.8)  # the largest gain is 23 points, 20 are shown
    assert (utility.norm.vmin + utility.norm.vmax) / 2 == pytest.approx(0.9)
    bar = next(axes for axes in figure.axes if not axes.images)
    assert bar.get_ylim() == pytest.approx((0.4, 0.8))
    assert "Pointed" in texts(figure)
    assert [line.get_ydata()[0] for line in bar.lines] == [0.6]


def test_colours_get_lighter_from_worse_to_better():
    shades = maps(draw([layered()], 2))[0].images[0].cmap(np.linspace(0, 1, 33))
    grey = shades[:, :3] @ [0.299, 0.587, 0.114]
    assert (np.diff(grey) > 0).all()
    kl = maps(draw([layered()], 2, cost="KL"))[1].images[0].cmap(np.linspace(0, 1, 33))
    assert (np.diff(kl[:, :3] @ [0.299, 0.587, 0.114]) < 0).all()


def test_operating_point_is_framed_or_its_absence_is_noted():
    figure = draw([layered()], 2)
    assert [frames(axes) for axes in maps(figure)] == [{(0.5, 0.5)}, {(0.5, 0.5)}]
    assert "Framed" in texts(figure) and "No frame" not in texts(figure)
    kept = draw([layered(at=chosen("steer", 3, 0.0))], 2)
    assert not frames(maps(kept)[0]) and "Framed" not in texts(kept)
    assert "No frame" in texts(kept)


def test_notes_have_counts_and_the_width_of_intervals():
    notes = texts(draw([layered()], 2))
    assert "SRA: n = 100 " in notes and "±5 points" in notes
    notes = texts(draw([layered()], 2, cost="KL"))
    assert "KL(calibrated ‖ base): n = 64 " in notes and "±0.05." in notes


def test_cost_can_be_kl():
    kl = maps(draw([layered()], 2, cost="KL"))[1]
    assert kl.get_title() == "steer: KL(calibrated ‖ base) (uncalibrated 0)"
    assert values(kl) == [[0.1, 0.1, 0.2], [0.1, 0.1, 0.2]]


def test_settings_that_were_not_run_are_white_and_noted():
    original = layered()
    fewer = [r for r in original.results if (r.layer, r.strength) != (2, 2.0)]
    figure = draw([original.replace(results=fewer)], 2)
    sra = maps(figure)[0]
    assert np.isnan(values(sra)[0][2]) and (2, 0) not in written(sra)
    assert "White" in texts(figure)
    assert "White" not in texts(draw([original], 2))


def test_strengths_that_differ_between_layers_are_written_in_the_cells():
    at = chosen("steer", 3, 1.3)
    figure = draw([layered(range(6), (-1.0, 1.0), own=0.1, at=at)], 2)
    sra = maps(figure)[0]
    assert np.shape(values(sra)) == (6, 2)
    assert written(sra)[1, 3] == "73 (1.3)"
    assert frames(sra) == {(0.5, 2.5)}
    assert "In brackets" in texts(figure)


def test_runs_and_methods_have_separate_rows():
    figure = draw([layered(name="x"), layered(name="y", method="ablate")], 2)
    assert [axes.get_title().partition(":")[0] for axes in maps(figure)] == [
        "steer (x)", "steer (x)", "ablate (y)", "ablate (y)",
    ]  # fmt: skip


def test_without_utility_only_sra_has_a_map():
    original = layered()
    kept = [r for r in original.results if r.dataset == ALL]
    (sra,) = maps(draw([original.replace(results=kept)], 2))
    assert sra.get_title().startswith("steer: SRA")


@pytest.mark.parametrize("columns", [1, 2])
def test_many_layers_and_hostile_names_stay_within_the_figure(columns):
    runs = [layered(range(40)), layered(name=HOSTILE, method=HOSTILE, at=chosen(HOSTILE, 3))]
    figure = draw(runs, columns)
    assert nothing_is_cut_off(figure) and never_mathematics(figure)
    assert smallest_text(figure) >= 6
    assert figure.get_figwidth() == {1: 3.3, 2: 6.9}[columns]
    assert len(maps(figure)[0].get_yticks()) <= 14
    assert not maps(figure)[0].texts  # too small for numbers


def test_method_with_one_layer_is_not_drawn():
    with raises("missing-value", "validation", "method.layers", error=NotDrawn):
        draw([swept()], 2)
    with raises("missing-value", "test", error=NotDrawn):
        draw([layered()], 2, split="test")
