"""calib.plot: which folders it takes, which figures it draws, and what it says of the others."""

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
    """What each figure was asked for; they draw nothing, or fail as their name says."""
    asked = {}

    def stand_in(name, fail=None):
        def draw(runs, columns):
            asked[name] = ([run.name for run in runs], columns)
            if fail:
                raise fail
            return Figure(figsize=(1, 1))

        monkeypatch.setitem(FIGURES, name, draw)

    for name in FIGURES:
        stand_in(name)
    asked["replace"] = stand_in
    return asked


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
    (folder / OPERATING_POINTS_FILE).write_text(json.dumps([chosen("steer", 1)]))
    return folder


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_every_figure_that_can_be_drawn_is_and_the_others_are_told(tmp_path, capsys):
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
    assert "Run calib.sweep with method.layers=all" in lines[5]
    assert lines[5].startswith("not drawn: heat_map: No method")


def test_folder_formats_and_natural_widths(tmp_path, drawn):
    run = finished(tmp_path / "run")
    plot.main(PlotConfig([str(run)], figures=["sra_plane", "methods", "sra_plane"]))
    assert {f"{name}.{kind}" for name in ("methods", "sra_plane") for kind in ("pdf", "png", "svg")
            } <= set(files(run))  # fmt: skip
    assert (drawn["sra_plane"], drawn["methods"]) == ((["run"], 1), (["run"], 2))
    assert "layers" not in drawn


@pytest.mark.parametrize("columns", [1, 2])
def test_the_width_that_is_asked_for(tmp_path, drawn, columns):
    run = finished(tmp_path / "run")
    plot.main(PlotConfig([str(run)], columns=columns, formats=["svg"]))
    assert {drawn[name][1] for name in FIGURES} == {columns}


def test_one_figure_failing_does_not_lose_the_others(tmp_path, drawn, capsys):
    run = finished(tmp_path / "run")
    drawn["replace"]("trade_off", ValueError("a bug"))
    drawn["replace"]("sra_plane", CalibError("damaged"))
    drawn["replace"]("layers", NotDrawn("nothing there"))
    with pytest.raises(ValueError, match="a bug") as bug:
        plot.main(PlotConfig([str(run)], formats=["svg"]))
    notes = "trade_off was not drawn: ValueError('a bug')\nsra_plane was not drawn: damaged"
    assert bug.value.__notes__ == [notes]
    assert "projections.svg" in files(run) and "trade_off.svg" not in files(run)
    assert "not drawn: layers: nothing there" in capsys.readouterr().out
    drawn["replace"]("trade_off")
    with pytest.raises(CalibError, match="^sra_plane was not drawn: damaged$"):
        plot.main(PlotConfig([str(run)], formats=["svg"]))


def test_what_was_asked_for_and_cannot_be_drawn_is_an_error_after_the_others(tmp_path, drawn):
    run = finished(tmp_path / "run")
    drawn["replace"]("layers", NotDrawn("nothing there"))
    with pytest.raises(CalibError, match="^layers was not drawn: nothing there$"):
        plot.main(PlotConfig([str(run)], figures=["layers", "methods"], formats=["svg"]))
    assert "methods.svg" in files(run)


def test_nothing_drawn_at_all_is_an_error(tmp_path, drawn):
    run = finished(tmp_path / "run")
    for name in list(FIGURES):
        drawn["replace"](name, NotDrawn("nothing there"))
    with pytest.raises(CalibError, match="trade_off was not drawn: nothing there\ncalibration_"):
        plot.main(PlotConfig([str(run)]))


def test_wrong_settings_are_told_before_a_run_is_read():
    with pytest.raises(CalibError, match="figures: 'heatmap' is not one.*mean 'heat_map'"):
        plot.main(PlotConfig(["nowhere"], figures=["heatmap"]))
    with pytest.raises(CalibError, match="formats: 'jpg' is not one of png, pdf, svg"):
        plot.main(PlotConfig(["nowhere"], formats=["jpg"]))
    with pytest.raises(CalibError, match="columns: 3 is not 1 or 2"):
        PlotConfig(["nowhere"], columns=3)
    with pytest.raises(CalibError, match="figures: the list is empty"):
        PlotConfig(["nowhere"], figures=[])
    with pytest.raises(CalibError, match="formats: the list is empty"):
        PlotConfig(["nowhere"], formats=[])


def test_a_folder_without_results_is_no_finished_run(tmp_path):
    with raises("unfinished-run", "results.csv"):
        plot.main(PlotConfig([str(tmp_path)]))


def test_a_folder_given_twice_is_refused(tmp_path):
    run = finished(tmp_path / "run")
    with raises("duplicate", tmp_path / "run"):
        plot.main(PlotConfig([str(run), f"{run}/../run"]))


def test_folders_of_one_name_are_told_apart(tmp_path, drawn):
    runs = [finished(tmp_path / parent / "run") for parent in ("a", "b")]
    runs.append(finished(tmp_path / "a" / "other"))
    plot.main(PlotConfig([str(run) for run in runs], figures=["methods"], formats=["svg"]))
    assert drawn["methods"][0] == ["a/run", "b/run", "other"]
    assert "methods.svg" in files(runs[0])


def test_the_home_folder_is_found(tmp_path, monkeypatch, drawn):
    monkeypatch.setenv("HOME", str(tmp_path))
    finished(tmp_path / "run")
    plot.main(PlotConfig(["~/run"], out="~/figures", formats=["svg"], figures=["methods"]))
    assert files(tmp_path / "figures") == ["methods.svg"]
