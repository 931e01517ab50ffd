"""The figure vscbench_grid: panels, rows, markers and missing results."""

import pytest
from matplotlib.colors import to_hex
from measured_made_up import (
    HOSTILE,
    cell,
    chosen,
    never_mathematics,
    nothing_is_cut_off,
    run,
    smallest_text,
    swept,
    texts,
)
from raising import raises

from calib.report.figures.io import NotDrawn
from calib.report.figures.vscbench_grid import draw
from calib.scoring.results import ALL, BASELINE


def marks(axes):
    """Coordinates, marker and filling of each rate.

    Dashed lines, legend entries and the markers beside the names of methods are left out.
    """
    return [
        (line.get_xdata()[0], line.get_ydata()[0], line.get_marker(),
         to_hex(line.get_markerfacecolor()))
        for line in axes.lines
        if line.get_marker() != "None" and len(line.get_xdata()) and line.get_clip_on()
    ]  # fmt: skip


def row_names(figure):
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def test_one_column_per_model_calibration_above_helpfulness():
    figure = draw([swept(model="a"), swept(["ablate"], model="b", utility=None)], 2)
    above_a, above_b, below_a, below_b = figure.axes
    assert (above_a.get_title(), above_b.get_title()) == ("a", "b")
    assert above_a.get_xlabel() == "SRA\nn = 100" and below_a.get_xlabel() == "utility\nn = 100"
    assert below_b.get_xlabel() == "SRA_s: no utility\nn = 100"
    assert row_names(figure) == ["uncalibrated", "steer", "ablate"]
    image = [(x, round(y)) for x, y, marker, _ in marks(above_a) if marker == "o"]
    assert image == [(0.6, 0), (0.7, 1)]
    assert [(x, y) for x, y, _, _ in marks(below_b)] == [(0.6, 0), (0.7, 2)]
    bars = [bar.get_segments()[0][:, 0].tolist() for bar in above_a.collections]
    assert [pytest.approx(bar) for bar in ([0.55, 0.65], [0.65, 0.75])] == bars[:2]
    assert above_a.get_xlim() == above_b.get_xlim()
    assert texts(figure).count("(SRA_s)") == 1


def test_models_beyond_a_row_are_drawn_below():
    figure = draw([swept(model=name) for name in "abc"], 1)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["a", "b", "", "", "c", ""]
    assert "3 models" in figure.get_suptitle()


def test_panels_of_one_model_are_side_by_side():
    figure = draw([swept()], 1)
    left, right = figure.axes
    assert left.get_position().y0 == pytest.approx(right.get_position().y0, abs=0.01)
    assert figure.get_suptitle().endswith("model")


def test_runs_of_one_model_share_their_uncalibrated_model():
    figure = draw([swept(name="x"), swept(["ablate"], name="y")], 2)
    assert row_names(figure) == ["uncalibrated", "steer", "ablate"]


def test_runs_that_differ_are_distinguished_by_name():
    figure = draw([swept(name="x"), swept(name="y", before=0.5)], 2)
    assert row_names(figure) == [
        "uncalibrated (x)", "uncalibrated (y)", "steer (x)", "steer (y)",
    ]  # fmt: skip


def test_method_that_kept_the_uncalibrated_model_is_hollow():
    original = swept()
    figure = draw([original.replace(operating_points=[chosen("steer", 3, 0.0)])], 2)
    assert {(round(y), filling) for _, y, _, filling in marks(figure.axes[0])} == {
        (0, "#d55e00"), (0, "#0072b2"), (1, "#ffffff"),
    }  # fmt: skip
    assert {x for x, _, _, _ in marks(figure.axes[0])} == {0.6}
    assert "Hollow" in texts(figure)
    assert "Hollow" not in texts(draw([original], 2))


def test_dual_use_only_has_its_own_marker():
    alone = cell(BASELINE, None, 0.0, {(ALL, "SRA"): 0.4, ("utility", "utility"): 0.9})
    figure = draw([run(alone, name="x"), swept(name="y")], 2)
    assert [(x, round(y)) for x, y, marker, _ in marks(figure.axes[0]) if marker == "D"] == [
        (0.4, 0)
    ]
    # With image- and text-centric queries, the total is over these and not drawn.
    assert "D" not in {marker for _, _, marker, _ in marks(draw([swept()], 2).axes[0])}


def test_benchmark_with_one_side_shows_that_side():
    rates = {(part, "SRA_u"): 0.3 for part in ("image_centric", ALL)}
    figure = draw([run(cell(BASELINE, None, 0.0, rates))], 2)
    above, below = figure.axes
    assert [x for x, *_ in marks(above)] == [0.3]
    assert not marks(below) and below.texts[0].get_text() == "nothing measured"


def test_utility_of_some_methods_only_is_not_shown():
    without = swept(["ablate"], name="y", utility=None)
    _, below = draw([swept(name="x"), without], 2).axes
    assert below.get_xlabel().startswith("SRA_s:")


@pytest.mark.parametrize("columns", [1, 2])
def test_many_methods_and_hostile_names_stay_within_the_figure(columns):
    runs = [swept([f"method_{k}" for k in range(17)], model=HOSTILE),
            swept([HOSTILE], model="b" * 70, name=HOSTILE)]  # fmt: skip
    figure = draw(runs, columns)
    assert nothing_is_cut_off(figure) and never_mathematics(figure)
    assert smallest_text(figure) >= 6
    assert figure.get_figwidth() == {1: 3.3, 2: 6.9}[columns]


def test_missing_results_are_not_drawn():
    with raises("missing-value", "calib.sweep", error=NotDrawn):
        draw([run([])], 2)
    with raises("missing-value", "'run'", "uncalibrated", "train", error=NotDrawn):
        draw([swept()], 2, split="train")
    with raises("missing-value", "'ablate'", "test", error=NotDrawn):
        draw([swept().replace(operating_points=[chosen("ablate", 3)])], 2)
    utility = run(cell(BASELINE, None, 0.0, {("utility", "utility"): 0.9}))
    with raises("missing-value", "test", error=NotDrawn):
        draw([utility], 2)
