"""calib.report: which folders it takes, where it writes, and what it says."""

import json

import pytest
from made_up_run import write_run

from calib.config.commands import ReportConfig
from calib.report import __main__ as report
from calib.report.page import drawings
from calib.util.errors import CalibError


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    monkeypatch.setattr(drawings, "FIGURES", {})


def test_a_finished_run_gets_its_report(tmp_path, capsys):
    folder = write_run(tmp_path / "run")
    report.main(ReportConfig([str(folder)]))
    assert capsys.readouterr().out == f"report  {folder / 'report.html'}\n"
    text = (folder / "report.html").read_text()
    assert "mini-internvl is a model organism" in text and "steer" in text


def test_why_there_are_no_pictures_is_printed_and_in_the_page(tmp_path, capsys):
    folder = write_run(tmp_path / "run")
    run = json.loads((folder / "run.json").read_text())
    run["identity"]["data"]["parts"] = ["nothing"]
    (folder / "run.json").write_text(json.dumps(run))
    out = tmp_path / "new" / "page.html"
    report.main(ReportConfig([str(folder)], out=str(out)))
    assert "note: run is shown without the pictures of its queries" in capsys.readouterr().out
    assert "run is shown without the pictures of its queries" in out.read_text()
    report.main(ReportConfig([str(folder)], out=str(out), pictures=False))
    assert "note" not in capsys.readouterr().out
    assert "pictures=false" in out.read_text()


def test_the_home_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_run(tmp_path / "run")
    report.main(ReportConfig(["~/run"], out="~/page.html", examples=3))
    assert "3 of " in (tmp_path / "page.html").read_text()


def test_a_folder_that_is_no_finished_run_is_refused(tmp_path):
    with pytest.raises(CalibError, match="no run.json"):
        report.main(ReportConfig([str(tmp_path)]))


@pytest.mark.parametrize("given", [{"runs": []}, {"runs": ["a"], "examples": 0}, {"runs": [""]}])
def test_settings_that_cannot_be_are_refused(given):
    with pytest.raises(CalibError):
        ReportConfig(**given)
