"""The figure methods: rows, their order, and the position of each rate."""

import pytest
from curves_made_up import legend, methods_of, one_method
from measured_made_up import HOSTILE, never_mathematics, nothing_is_cut_off, smallest_text, texts
from raising import raises

from calib.report.figures.curves import curves_of, prompt_note
from calib.report.figures.io import NotDrawn
from calib.report.figures.methods import draw
from calib.report.verdict import plain_name

RUN = methods_of({"low": 0.05, "kept": -0.1, "high": 0.2, "say": 0.1}, ["say"])


@pytest.fixture(scope="module")
def figure():
    return draw([RUN], 2)


def marks(axes, marker):
    """Row, value and whether it is hollow."""
    return [
        (round(float(each.get_ydata()[0])), round(float(each.get_xdata()[0]), 4),
         each.get_markerfacecolor() == "white")
        for each in axes.lines
        if each.get_marker() == marker and len(each.get_xdata())
    ]  # fmt: skip


def test_methods_are_ranked_by_change_and_prompts_have_a_star(figure) -> None:
    rows = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert rows == ["high", "say*", "low", "kept"]
    assert figure.axes[0].get_ylim()[0] > figure.axes[0].get_ylim()[1]  # the first row on top
    assert prompt_note(curves_of([RUN], "test")) in texts(figure)


def test_rates_are_in_their_rows_and_a_kept_method_is_at_the_baseline(figure) -> None:
    sra, sides, utility = figure.axes
    assert marks(sra, "D") == [(0, 0.7, False), (1, 0.6, False), (2, 0.55, False), (3, 0.5, True)]
    assert marks(sides, "o") == marks(sides, "s") == marks(sra, "D")
    assert marks(utility, "^")[-1] == (3, 0.95, True) and marks(utility, "^")[0][1] == 0.94
    assert sra.collections[0].get_segments()[0].ravel() == pytest.approx([0.67, 0, 0.73, 0])
    dashed = [each.get_xdata()[0] for each in sra.lines if each.get_marker() == "None"]
    assert dashed == [0.5]
    assert legend(figure) == [plain_name(rate) for rate in ("SRA", "SRA_u", "SRA_s", "utility")]
    assert "Hollow" in texts(figure)


def test_reference_is_ranked_with_the_methods() -> None:
    run = methods_of({"a": 0.1, "b": 0.2, "say": 0.05}, ["say"])
    points = [{**each, "reference": each["method"] == "say"} for each in run.operating_points]
    ranked = draw([run.replace(operating_points=points)], 2)
    assert [each.get_text() for each in ranked.axes[0].get_yticklabels()] == ["b", "a", "say*"]
    assert "Hollow" not in texts(ranked)


def test_unmeasured_utility_has_no_panel() -> None:
    run = methods_of({"a": 0.1, "b": 0.2})
    rest = [r for r in run.results if r.metric != "utility"]
    figure = draw([run.replace(results=rest)], 1)
    assert [axes.get_title().count("SRA") for axes in figure.axes] == [1, 2]


@pytest.mark.parametrize("columns", [1, 2])
def test_hostile_names_fit_both_widths(columns) -> None:
    figure = draw([methods_of({HOSTILE: 0.1, "m" * 60: 0.2}, [HOSTILE], model=HOSTILE)], columns)
    assert figure.get_figwidth() == {1: 3.3, 2: 6.9}[columns]
    assert nothing_is_cut_off(figure) and never_mathematics(figure)
    assert smallest_text(figure) >= 6


def test_one_method_or_runs_of_several_models_are_not_drawn() -> None:
    with raises("unsupported", "'methods'", "1", error=NotDrawn):
        draw([one_method(reference=1.0)], 2)
    two = methods_of({"a": 0.1, "b": 0.2})
    with raises("unsupported", "another/model", error=NotDrawn):
        draw([two, two.replace(checkpoint="another/model")], 2)
