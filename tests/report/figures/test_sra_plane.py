"""The figure sra_plane: coordinates of points, arrows and lines."""

import pytest
from curves_made_up import RATES, legend, line, methods_of, one_method
from measured_made_up import HOSTILE, never_mathematics, nothing_is_cut_off, smallest_text, texts
from raising import raises

from calib.report.figures.curves import prompt_note
from calib.report.figures.io import NotDrawn
from calib.report.figures.sra_plane import draw
from calib.report.verdict import plain_name


def arrows(axes):
    """The start and the end of each arrow."""
    return [(text.xyann, text.xy) for text in axes.texts]


def test_an_arrow_leads_from_the_uncalibrated_model_to_the_operating_point() -> None:
    figure = draw([one_method(reference=0.0)], 2)
    (axes,) = figure.axes
    assert axes.get_xlabel() == plain_name("SRA_s") and axes.get_ylabel() == plain_name("SRA_u")
    assert line(axes, "uncalibrated") == [(0.8, 0.5)]
    assert line(axes, "steer, layer 3") == [(0.5, 0.9)]
    assert line(axes, "caution*") == [(0.7, 0.8)]  # kept the uncalibrated model: no arrow
    assert arrows(axes) == [((0.8, 0.5), (0.5, 0.9))]
    assert ": caution*." in texts(figure)
    across, up = axes.collections[:2]
    assert across.get_segments()[0].ravel() == pytest.approx([0.47, 0.9, 0.53, 0.9])
    assert up.get_segments()[0].ravel() == pytest.approx([0.5, 0.87, 0.5, 0.93])


def test_ideal_corner_and_both_lines_are_in_view() -> None:
    (axes,) = draw([one_method()], 1).axes
    low, high = axes.get_xlim()
    assert (low, high) == axes.get_ylim() and high > 1
    assert low == pytest.approx(0.4)  # the lowest interval ends at 0.47, with room below
    assert line(axes, "ideal") == [(1, 1)]
    assert line(axes, "SRA_u = SRA_s") == [(0.4, 0.4), (1, 1)]
    assert line(axes, "SRA as uncalibrated") == [(0.4, 0.9), (0.9, 0.4)]
    assert axes.get_aspect() == 1


def test_several_models_have_no_line_of_equal_sra() -> None:
    other = one_method("ablate", name="b", model="other", by_strength=RATES | {0: (0.3, 0.9, 1)})
    figure = draw([one_method(), other], 2)
    assert legend(figure)[:4] == [
        "model: steer, layer 3",
        "other: ablate, layer 3",
        "uncalibrated model",
        "uncalibrated other",
    ]
    assert arrows(figure.axes[0]) == [((0.8, 0.5), (0.5, 0.9)), ((0.9, 0.3), (0.5, 0.9))]
    assert "SRA as uncalibrated" not in legend(figure)


def test_method_that_kept_the_uncalibrated_model_is_named_in_the_note() -> None:
    figure = draw([methods_of({"a": 0.1, "b": -0.1})], 1)
    assert legend(figure)[:2] == ["a", "uncalibrated"]
    assert ": b." in texts(figure)
    assert prompt_note([]) in texts(figure)


def test_uncalibrated_models_alone_have_no_notes_about_methods() -> None:
    figure = draw([methods_of({}), methods_of({}, model="other")], 1)
    assert legend(figure)[:2] == ["uncalibrated model", "uncalibrated other"]
    assert prompt_note([]) not in texts(figure) and "operating point" not in texts(figure)


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("name", [HOSTILE, "m"])
def test_many_methods_and_hostile_names_fit_both_widths(columns, name) -> None:
    count = 22 if name == "m" else 3
    gains = {f"{name}{k}": 0.1 + k / 100 for k in range(count)}
    figure = draw([methods_of(gains, name=name, model=name * 3)], columns)
    assert figure.get_figwidth() == {1: 3.3, 2: 6.9}[columns]
    assert nothing_is_cut_off(figure) and never_mathematics(figure)
    assert smallest_text(figure) >= 6
    names, axes = figure.legends[0].get_window_extent(), figure.axes[0].get_window_extent()
    assert names.y1 < axes.y0 if columns == 1 else names.x0 > axes.x1


def test_run_with_one_side_of_sra_is_not_drawn() -> None:
    one_sided = {k: (v[0], None, v[2]) for k, v in RATES.items()}
    with raises("missing-value", "sra_plane", "SRA_u", "SRA_s", error=NotDrawn):
        draw([one_method(by_strength=one_sided)], 2)
