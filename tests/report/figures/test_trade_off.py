"""The figure trade_off: strengths by part, the plane and the reference."""

from dataclasses import replace

import matplotlib
import pytest
from curves_made_up import IMAGES, RATES, legend, line, one_method, point, results_of
from measured_made_up import (
    HOSTILE,
    never_mathematics,
    nothing_is_cut_off,
    run,
    smallest_text,
    texts,
)
from PIL import Image
from raising import raises

from calib.report.figures.curves import prompt_note
from calib.report.figures.io import NotDrawn, save
from calib.report.figures.trade_off import draw
from calib.report.verdict import plain_name
from calib.scoring.results import BASELINE

BOTH = ("image_centric", "text_centric", "all")
BASELINE_RATES = {0: RATES[0]}


def strengths(by_strength, part="image_centric"):
    """A run with one part, and the totals that SRA is read from."""
    return one_method(by_strength=by_strength, parts=(part, "all"))


def test_each_part_has_a_panel_next_to_the_plane() -> None:
    figure = draw([one_method(parts=BOTH, reference=0.0)], 2)
    image, text, plane = figure.axes
    assert [axes.get_title() for axes in figure.axes] == [
        "Image-centric queries",
        "Text-centric queries",
        "Calibration against utility",
    ]
    assert line(image, "SRA_u: unsafe queries handled safely") == [
        (-2, 0.1), (-1, 0.3), (0, 0.5), (1, 0.9),
    ]  # fmt: skip
    assert [y for _, y in line(text, "SRA_s: safe queries answered")] == [0.9, 0.85, 0.8, 0.5]
    assert [y for _, y in line(image, "utility questions answered right")][0] == 0.9
    assert image.get_xlabel() == "strength in gap units"
    assert line(plane, "steer, layer 3") == [(0.9, 0.5), (0.95, 0.575), (0.96, 0.65), (0.955, 0.7)]
    assert line(plane, "uncalibrated") == [(0.96, 0.65)]
    assert line(plane, "caution*") == [(0.8, 0.75)]
    assert "steer, layer 3, test split\nmodel" in figure.get_suptitle()
    assert ": caution*." in texts(figure)
    assert "on validation" not in texts(figure)  # the note on kept methods omits the reference
    assert "1" in [label.get_text() for label in plane.texts]


def test_bands_are_the_intervals() -> None:
    image = draw([one_method()], 2).axes[0]
    band = image.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((0.07, 0.93))


def test_reference_is_a_line_across_the_panel_with_intervals_at_the_edge() -> None:
    with_it, without = (draw([one_method(reference=r)], 2).axes[0] for r in (0.0, None))
    more = with_it.lines[len(without.lines) - 1 :][:-1]
    assert [list(each.get_ydata()) for each in more[:3]] == [
        [0.8, 0.8], [pytest.approx(0.77), pytest.approx(0.83)], [0.8],
    ]  # fmt: skip
    assert [each.get_ydata()[0] for each in more[3::3]] == [0.7]


@pytest.mark.parametrize("columns", [1, 2])
def test_hostile_names_fit_both_widths(columns) -> None:
    figure = draw([one_method(HOSTILE, reference=1.0, model=HOSTILE * 3, name=HOSTILE)], columns)
    assert figure.get_figwidth() == {1: 3.3, 2: 6.9}[columns]
    assert nothing_is_cut_off(figure) and never_mathematics(figure)
    assert smallest_text(figure) >= 6
    places = [axes.get_position() for axes in figure.axes]
    stacked = places[0].y0 > places[1].y1
    assert stacked == (columns == 1)


def test_method_with_one_strength_is_drawn_next_to_the_uncalibrated_model() -> None:
    results = results_of("caution", None, BASELINE_RATES | {1: (0.8, 0.7, 0.8)})
    alone = run(results, [point("caution", None, 0.0, prompt_only=True)])
    image, plane = draw([alone], 2).axes
    (unsafe,) = [each for each in image.lines if each.get_label().startswith("SRA_u")]
    assert unsafe.get_linestyle() == "None" and list(unsafe.get_ydata()) == [0.5, 0.8]
    assert [label.get_text() for label in image.get_xticklabels()] == ["uncalibrated", "caution"]
    (bars, *_) = image.collections
    assert bars.get_segments()[1][:, 1] == pytest.approx([0.77, 0.83])
    assert line(plane, "caution*") == [(0.8, 0.75)]


def test_run_without_methods_is_drawn() -> None:
    figure = draw([run(results_of("", None, BASELINE_RATES), [point(BASELINE, None, 0.0)])], 2)
    assert line(figure.axes[-1], "uncalibrated") == [(0.96, 0.65)]
    assert figure.get_suptitle().startswith("uncalibrated, test split")
    assert prompt_note([]) not in texts(figure) and "operating point" not in texts(figure)


def test_kept_baseline_is_noted_and_not_marked() -> None:
    kept = run(results_of("steer", 3, RATES), [point("steer", strength=0.0)])
    figure = draw([kept], 2)
    assert ": steer, layer 3." in texts(figure)
    rims = [each for each in figure.axes[-1].lines if each.get_markersize() == 8]
    chosen = [each for each in draw([one_method()], 2).axes[-1].lines if each.get_markersize() == 8]
    assert (len(rims), [list(each.get_xdata()) for each in chosen]) == (0, [[0.955]])


def test_without_utility_the_plane_is_sra_u_against_sra_s() -> None:
    figure = draw([strengths({k: (*v[:2], None) for k, v in RATES.items()})], 2)
    plane = figure.axes[-1]
    assert plane.get_xlabel() == plain_name("SRA_s") and plane.get_ylabel() == plain_name("SRA_u")
    assert line(plane, "steer, layer 3") == [(0.9, 0.1), (0.85, 0.3), (0.8, 0.5), (0.5, 0.9)]
    assert not [entry for entry in legend(figure) if "utility" in entry]


@pytest.mark.parametrize("side", [0, 1])
def test_benchmark_with_one_side_is_drawn(side) -> None:
    empty = (None, None, None)
    rates = {k: (*empty[:side], v[side], *empty[side + 1 :]) for k, v in RATES.items()}
    figure = draw([strengths(rates)], 2)
    wanted = [(v[side], v[side]) for _, v in sorted(RATES.items())]
    assert line(figure.axes[-1], "steer, layer 3") == wanted
    assert figure.axes[-1].get_title() == "Calibration on one side, without utility"


def test_dual_use_only_has_its_own_rates() -> None:
    names = {"SRA_u": "RR_h", "SRA_s": "DAR_b"}
    dual = strengths(RATES, "dual_use")
    renamed = [
        replace(r, metric=names.get(r.metric, r.metric)) if r.dataset == "dual_use" else r
        for r in dual.results
    ]
    figure = draw([run(renamed, [point("steer")])], 2)
    assert [axes.get_title() for axes in figure.axes][0] == "Dual-use pictures"
    assert legend(figure)[:2] == [
        "RR_h: harmful pictures refused or warned of",
        "DAR_b: benign pictures described",
    ]
    # With paired queries, dual-use pictures do not count towards SRA and have no panel.
    with_queries = [*renamed, *results_of("steer", 3, RATES, IMAGES[:1])]
    titles = [axes.get_title() for axes in draw([run(with_queries, [point("steer")])], 2).axes]
    assert titles[0] == "Image-centric queries" and len(titles) == 2


def test_several_methods_or_runs_are_not_drawn() -> None:
    with raises("unsupported", "2 run", "2 method", error=NotDrawn):
        draw([one_method(), one_method(name="second")], 2)
    alone = run(results_of("", None, BASELINE_RATES), [point(BASELINE, None, 0.0)], "second")
    with raises("unsupported", "2 run", "1 method", error=NotDrawn):
        draw([one_method(), alone], 2)
    two = run(
        [*results_of("steer", 3, RATES), *results_of("ablate", 3, {1: RATES[1]})],
        [point("steer"), point("ablate")],
    )
    with raises("unsupported", "1 run", "2 method", "calibration_against_utility", error=NotDrawn):
        draw([two], 2)


def test_equal_results_give_equal_files_with_any_matplotlibrc(tmp_path) -> None:
    first = save(draw([one_method()], 2), tmp_path / "one")
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "svg.fonttype": "path"}):
        other = save(draw([one_method()], 2), tmp_path / "other", ("pdf", "svg"))
    assert [path.suffix for path in first] == [".png", ".pdf", ".svg"]
    assert [p.read_bytes() for p in first[1:]] == [p.read_bytes() for p in other]
    with Image.open(first[0]) as image:
        assert image.width == 1380
    assert "Type3" not in first[1].read_bytes().decode("latin-1")
