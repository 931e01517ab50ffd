"""calib.plot: its folders, the figures that it draws, and the reasons for the others."""

import json

import pytest
from matplotlib.figure import Figure
from measured_made_up import cell, chosen, safety
from raising import raises

from calib import plot
from calib.config.commands import PlotConfig
from calib.report.figures.gallery import FIGURES
from calib.report.figures.io import NotDrawn
from calib.runs.operating_points import OPERATING_POINTS_FILE
from calib.scoring.results import BASELINE, write_results
from calib.util.errors import CalibError


@pytest.fixture
def drawn(monkeypatch):
    """The runs and the width that each figure was drawn with. The figures are empty, or fail."""
    calls = {}

    def stand_in(name, fail=None):
        def draw(runs, columns):
            calls[name] = ([run.name for run in runs], columns)
            if fail:
                raise fail
            return Figure(figsize=(1, 1))

        monkeypatch.setitem(FIGURES, name, draw)

    for name in FIGURES:
        stand_in(name)
    calls["replace"] = stand_in
    return calls


def finished(folder):
    """A finished run of method steer, without a model."""
    results = [
        result
        for split in ("validation", "test")
        for place, rates in (((BASELINE, None, 0.0), safety(0.6, 0.9)),
                             (("steer", 1, 1.0), safety(0.7, 0.9)))
        for result in cell(*place, rates, split=split)
    ]  # fmt: skip
    folder.mkdir(parents=True)
    write_results(folder / "results.csv", folder.name, "model", results)
    (folder / OPERATING_POINTS_FILE).write_text(json.dumps([chosen("steer", 1)]), encoding="utf-8")
    return folder


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_every_possible_figure_is_drawn_and_the_others_are_listed(tmp_path, capsys):
    run = finished(tmp_path / "run")
    plot.main(PlotConfig([str(run)], formats=["png"], out=str(tmp_path / "out")))
    assert files(tmp_path / "out") == [
        "calibration_against_utility.png", "sra_plane.png", "trade_off.png", "vscbench_grid.png",
    ]  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(tmp_path / "out" / "trade_off.png")
    assert [line.split(": ")[1] for line in lines[4:]] == [
        "methods", "heat_map", "layers", "categories", "perturbations", "projections",
    ]  # fmt: skip
    assert "method.layers=all" in lines[5]


def test_folder_formats_and_default_widths(tmp_path, drawn):
    run = finished(tmp_path / "run")
    plot.main(PlotConfig([str(run)], figures=["sra_plane", "methods", "sra_plane"]))
    assert {f"{name}.{kind}" for name in ("methods", "sra_plane") for kind in ("pdf", "png", "svg")
            } <= set(files(run))  # fmt: skip
    assert (drawn["sra_plane"], drawn["methods"]) == ((["run"], 1), (["run"], 2))
    assert "layers" not in drawn


@pytest.mark.parametrize("columns", [1, 2])
def test_the_requested_width(tmp_path, drawn, columns):
    run = finished(tmp_path / "run")
    plot.main(PlotConfig([str(run)], columns=columns, formats=["svg"]))
    assert {drawn[name][1] for name in FIGURES} == {columns}


def test_a_failing_figure_does_not_stop_the_others(tmp_path, drawn, capsys):
    run = finished(tmp_path / "run")
    drawn["replace"]("trade_off", ValueError("a bug"))
    drawn["replace"]("sra_plane", CalibError("unreadable", "damaged"))
    drawn["replace"]("layers", NotDrawn("too-few", "no data"))
    with pytest.raises(ValueError, match="a bug") as bug:
        plot.main(PlotConfig([str(run)], formats=["svg"]))
    (note,) = bug.value.__notes__
    assert [line.split()[0] for line in note.splitlines()] == ["trade_off", "sra_plane"]
    assert "ValueError('a bug')" in note and "damaged" in note
    assert "projections.svg" in files(run) and "trade_off.svg" not in files(run)
    assert "layers: no data" in capsys.readouterr().out
    drawn["replace"]("trade_off")
    with raises("unreadable", "sra_plane", "damaged") as error:
        plot.main(PlotConfig([str(run)], formats=["svg"]))
    assert "layers" not in str(error.value)


def test_a_named_figure_that_cannot_be_drawn_is_an_error_after_the_others(tmp_path, drawn):
    run = finished(tmp_path / "run")
    drawn["replace"]("layers", NotDrawn("too-few", "no data"))
    with raises("too-few", "layers", "no data"):
        plot.main(PlotConfig([str(run)], figures=["layers", "methods"], formats=["svg"]))
    assert "methods.svg" in files(run)


def test_no_figure_at_all_is_an_error(tmp_path, drawn):
    run = finished(tmp_path / "run")
    for name in list(FIGURES):
        drawn["replace"](name, NotDrawn("too-few", "no data"))
    with raises("too-few", *FIGURES):
        plot.main(PlotConfig([str(run)]))


def test_unknown_figures_are_refused_before_a_run_is_read():
    with raises("invalid-setting", "figures", "'heatmap'", "'heat_map'"):
        plot.main(PlotConfig(["nowhere"], figures=["heatmap"]))
    for setting in ("figures", "formats"):
        with raises("invalid-setting", setting):
            PlotConfig(["nowhere"], **{setting: []})


def test_a_folder_without_results_is_not_a_finished_run(tmp_path):
    with raises("unfinished-run", "results.csv"):
        plot.main(PlotConfig([str(tmp_path)]))


def test_a_folder_given_twice_is_refused(tmp_path):
    run = finished(tmp_path / "run")
    with raises("duplicate", tmp_path / "run"):
        plot.main(PlotConfig([str(run), f"{run}/../run"]))


def test_runs_with_the_same_folder_name_get_longer_names(tmp_path, drawn):
    runs = [finished(tmp_path / parent / "run") for parent in ("a", "b")]
    runs.append(finished(tmp_path / "a" / "other"))
    plot.main(PlotConfig([str(run) for run in runs], figures=["methods"], formats=["svg"]))
    assert drawn["methods"][0] == ["a/run", "b/run", "other"]
    assert "methods.svg" in files(runs[0])


def test_the_home_folder_is_expanded(tmp_path, monkeypatch, drawn):
    monkeypatch.setenv("HOME", str(tmp_path))
    finished(tmp_path / "run")
    plot.main(PlotConfig(["~/run"], out="~/figures", formats=["svg"], figures=["methods"]))
    assert files(tmp_path / "figures") == ["methods.svg"]
