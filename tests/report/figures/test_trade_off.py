"""Figures: what is drawn, that names are harmless, and that equal results give equal bytes."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from calib.errors import CalibError
from calib.report.figures import trade_off as figures
from calib.scoring.results import BASELINE, Result, RunResults

RATES = {-2: (0.1, 0.9, 0.9), -1: (0.3, 0.85, 0.95), 0: (0.5, 0.8, 0.96), 1: (0.9, 0.4, 0.95)}
"""By strength: SRA_u, SRA_s, utility."""


def results(method="steer", layers=(3,), splits=("test",), parts=("image_centric", "all")):
    found = []
    for split in splits:
        for strength, (sra_u, sra_s, utility) in RATES.items():
            for layer in layers if strength else (None,):
                cell = (method if strength else BASELINE, layer, float(strength), split)
                values = {(part, "SRA_u"): sra_u for part in parts}
                values |= {(part, "SRA_s"): sra_s for part in parts}
                values |= {(part, "SRA"): (sra_u + sra_s) / 2 for part in parts}
                values["utility", "utility"] = utility
                for (dataset, metric), value in values.items():
                    bounds = (value - 0.03, min(1, value + 0.03), 200)
                    found.append(Result(*cell, dataset, "all", "all", metric, value, *bounds))
    return found


RUN = RunResults(
    "run-1", "some/checkpoint", results(parts=("image_centric", "text_centric", "all"))
)


@pytest.fixture
def drawn(monkeypatch):
    """The figures of a test, laid out but not written: writing takes most of the time."""
    kept = []

    def keep(figure, stem):
        figure.draw_without_rendering()
        kept.append(figure)
        return []

    monkeypatch.setattr(figures, "save", keep)
    return kept


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_trade_off_draws_both_sides_and_the_plane(tmp_path, drawn) -> None:
    figures.trade_off(RUN, tmp_path / "f")
    image, text, plane = drawn[0].axes
    assert [axes.get_title() for axes in drawn[0].axes] == [
        "Image-centric queries",
        "Text-centric queries",
        "Calibration against utility",
    ]
    assert image.lines[0].get_xydata().tolist() == [[-2, 0.1], [-1, 0.3], [0, 0.5], [1, 0.9]]
    assert text.lines[1].get_ydata().tolist() == [0.9, 0.85, 0.8, 0.4]
    curve, star, front = plane.lines
    expected = [[0.9, 0.5], [0.95, 0.575], [0.96, 0.65], [0.95, 0.65]]
    assert curve.get_xydata() == pytest.approx(np.array(expected))
    assert star.get_xydata().tolist() == [[0.96, 0.65]]
    assert front.get_label() == "Pareto front"
    assert [text.get_text() for text in plane.texts] == ["-2", "-1", "1"]
    assert "some/checkpoint" in drawn[0].get_suptitle()


def test_nothing_drawn_is_cut_off(tmp_path, drawn) -> None:
    long = RunResults("r" * 80, "MODEL-" * 30, results(parts=("image_centric", "all")))
    other = RunResults("other", "another/" + "y" * 60, results(method="m" * 60))
    figures.trade_off(long, tmp_path / "a")
    figures.calibration_against_utility([long, other], tmp_path / "b")
    figures.steering_curves(long, tmp_path / "c")
    for figure in drawn:
        width, height = figure.get_size_inches() * figure.dpi
        extents = [text.get_window_extent() for text in figure.texts]
        extents += [legend.get_window_extent() for legend in figure.legends]
        extents += [axes.get_tightbbox() for axes in figure.axes]
        for box in extents:
            assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height


def test_files_have_the_promised_kind(tmp_path) -> None:
    png, pdf, svg = figures.steering_curves(RUN, tmp_path / "new" / "v1.2")
    assert (png.name, pdf.name) == ("v1.2.png", "v1.2.pdf")
    with Image.open(png) as image:
        assert image.info["dpi"] == pytest.approx((200, 200), abs=0.1)
    content = pdf.read_bytes()
    assert b"/FontFile2" in content and b"/Type3" not in content
    assert b"CreationDate" not in content


def test_equal_results_give_equal_bytes(tmp_path) -> None:
    one = figures.trade_off(RUN, tmp_path / "one")
    other = figures.trade_off(RUN, tmp_path / "other")
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in other]


def test_several_models_are_named_and_each_has_its_star(tmp_path, drawn) -> None:
    other = RunResults("run-2", "other", results(method="ablate"))
    figures.calibration_against_utility([RUN, other], tmp_path / "f")
    assert legend(drawn[0]) == [
        "some/checkpoint: steer, layer 3",
        "other: ablate, layer 3",
        "uncalibrated some/checkpoint",
        "uncalibrated other",
        "Pareto front",
    ]


def test_runs_that_differ_only_in_name_are_told_apart(tmp_path, drawn) -> None:
    figures.calibration_against_utility([RUN, replace(RUN, run="run-2")], tmp_path / "f")
    assert legend(drawn[0])[:2] == ["steer, layer 3 (run-1)", "steer, layer 3 (run-2)"]


@pytest.mark.parametrize(
    "name", ["$\\frac{$", "$x^2$", "\\$a$", "_hidden", "a\x1b[0mb\n", "\u7403", "$" * 7]
)
def test_names_are_shown_as_they_are(tmp_path, drawn, name) -> None:
    run = RunResults(name, name, results(method=name))
    other = RunResults("r", "m", RUN.results)
    figures.calibration_against_utility([run, other], tmp_path / "f")
    assert len(legend(drawn[0])) == 5
    shown = [text for text in drawn[0].findobj(Text) if text.get_text()]
    for text in shown:
        assert text._preprocess_math(text.get_text())[1] is False


def test_without_utility_the_plane_is_unsafe_against_safe(tmp_path, drawn) -> None:
    run = replace(RUN, results=[r for r in RUN.results if r.metric != "utility"])
    figures.trade_off(run, tmp_path / "f")
    plane = drawn[0].axes[-1]
    assert (plane.get_xlabel(), plane.get_ylabel()) == ("SRA_s", "SRA_u")
    assert plane.lines[0].get_xydata().tolist() == [[0.9, 0.1], [0.85, 0.3], [0.8, 0.5], [0.4, 0.9]]
    assert len(drawn[0].axes[0].lines) == 3  # SRA_u, SRA_s and the line at strength 0


def test_of_several_layers_the_one_chosen_on_validation_is_drawn(tmp_path, drawn) -> None:
    both = results(layers=(2, 3), splits=("validation", "test"))
    better = [
        replace(r, value=r.value + 0.3) if r.layer == 3 and r.dataset == "all" else r for r in both
    ]
    figures.calibration_against_utility([RunResults("r", "m", better)], tmp_path / "f")
    assert legend(drawn[0])[0] == "steer, layer 3"
    assert len(drawn[0].axes[0].lines) == 3


def test_the_uncalibrated_model_alone_can_be_drawn(tmp_path, drawn) -> None:
    alone = [r for r in RUN.results if r.method == BASELINE]
    figures.trade_off(replace(RUN, results=alone), tmp_path / "f")
    assert drawn[0].axes[-1].lines[0].get_xydata().tolist() == [[0.96, 0.65]]


def test_what_cannot_be_drawn_is_explained(tmp_path) -> None:
    with pytest.raises(CalibError, match="Run 'run-1' has no SRA on split 'train'"):
        figures.trade_off(RUN, tmp_path / "f", split="train")
    steered = [r for r in RUN.results if r.method != BASELINE]
    with pytest.raises(CalibError, match="uncalibrated model .* not among the results"):
        figures.trade_off(replace(RUN, results=steered), tmp_path / "f")
    two = replace(RUN, results=[*RUN.results, *results(method="ablate")])
    with pytest.raises(CalibError, match="holds 2 curves"):
        figures.steering_curves(two, tmp_path / "f")
    (tmp_path / "file").write_text("")
    with pytest.raises(CalibError, match="Cannot write the figure"):
        figures.steering_curves(RUN, tmp_path / "file" / "f")


def of_dual_use():
    names = {"SRA_u": "RR_h", "SRA_s": "DAR_b"}
    more = [
        replace(r, dataset="dual_use", metric=names[r.metric])
        for r in RUN.results
        if r.dataset == "all" and r.metric in names
    ]
    return [r for r in RUN.results if r.dataset in ("all", "utility")] + more


def test_dual_use_alone_is_drawn_by_its_own_rates(tmp_path, drawn) -> None:
    figures.trade_off(replace(RUN, results=of_dual_use()), tmp_path / "f")
    dual, plane = drawn[0].axes
    assert (dual.get_title(), plane.get_title()) == (
        "Dual-use pictures",
        "Calibration against utility",
    )
    assert dual.lines[0].get_ydata().tolist() == [0.1, 0.3, 0.5, 0.9]
    assert dual.lines[1].get_ydata().tolist() == [0.9, 0.85, 0.8, 0.4]
    assert legend(drawn[0])[0].startswith("RR_h")
    # Beside queries the dual-use part is not what SRA counts, and has no panel.
    figures.trade_off(replace(RUN, results=[*RUN.results, *of_dual_use()[-4:]]), tmp_path / "g")
    assert "Dual-use pictures" not in [axes.get_title() for axes in drawn[1].axes]


@pytest.mark.parametrize("utility", [True, False])
@pytest.mark.parametrize("side", ["SRA_u", "SRA_s"])
def test_one_side_alone_is_drawn_with_and_without_utility(tmp_path, drawn, side, utility) -> None:
    kept = {side, "utility"} if utility else {side}
    run = replace(RUN, results=[r for r in RUN.results if r.metric in kept])
    figures.trade_off(run, tmp_path / "f")
    image, text, plane = drawn[0].axes
    wanted = [RATES[k][side == "SRA_s"] for k in sorted(RATES)]
    assert image.lines[0].get_ydata().tolist() == wanted
    x, y = plane.lines[0].get_xydata().T
    assert sorted(y) == sorted(wanted) and np.isfinite([*x, *y]).all()
    assert plane.get_xlabel() == ("utility" if utility else "SRA")
    if not utility:
        assert x.tolist() == y.tolist()
        assert plane.get_title() == "Calibration on one side, without utility"
