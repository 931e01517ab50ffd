"""calib.report: its folders, its file, and its notes."""

import pytest
import yaml
from made_up_run import write_run
from raising import raises

from calib import judge
from calib.config.commands import ReportConfig, ServeConfig
from calib.config.judge import JudgeConfig, JudgeRunConfig
from calib.config.model import ModelConfig
from calib.config.prompts import NoneMethod
from calib.report import __main__ as report
from calib.report.joint import join_runs
from calib.report.page import drawings
from calib.report.page.write import write_report
from calib.runs.export import chosen_direction
from calib.runs.run import Run
from calib.runs.run_files import CONFIG_FILE, EXTRACTED
from calib.serving.loader import load_served


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    monkeypatch.setattr(drawings, "FIGURES", {})


def test_a_finished_run_gets_its_report(tmp_path, capsys):
    folder = write_run(tmp_path / "run")
    report.main(ReportConfig([str(folder)]))
    shown = capsys.readouterr().out
    assert shown.endswith(f"Open {folder / 'report.html'}\n") and "steer (layer 3" in shown
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "mini-internvl" in text and "steer" in text


def test_missing_pictures_are_noted_on_the_terminal_and_in_the_page(tmp_path, capsys):
    folder = write_run(tmp_path / "run")
    settings = yaml.safe_load((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    settings["data"]["parts"] = ["nothing"]
    (folder / CONFIG_FILE).write_text(yaml.safe_dump(settings), encoding="utf-8")
    out = tmp_path / "new" / "page.html"
    report.main(ReportConfig([str(folder)], out=str(out)))
    note = capsys.readouterr().out.splitlines()[0]
    assert note.startswith("note: run ") and "nothing" in note
    assert note.partition(". ")[0].removeprefix("note: ")[:40] in out.read_text(encoding="utf-8")
    report.main(ReportConfig([str(folder)], out=str(out), pictures=False))
    assert "note:" not in capsys.readouterr().out
    assert "pictures=false" in out.read_text(encoding="utf-8")


def test_the_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_run(tmp_path / "run")
    report.main(ReportConfig(["~/run"], out="~/page.html", examples=3))
    assert "3 of " in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_folder_without_a_finished_run_is_refused(tmp_path):
    with raises("unfinished-run", tmp_path):
        report.main(ReportConfig([str(tmp_path)]))


def test_a_run_of_an_extraction_is_refused_by_name(tmp_path):
    run, extracted = write_run(tmp_path / "run"), tmp_path / "extracted"
    extracted.mkdir()
    (extracted / EXTRACTED).touch()
    for runs in ([extracted], [run, extracted]):
        with raises("unsupported", extracted, "calib.extract", "method.direction"):
            report.main(ReportConfig([str(folder) for folder in runs]))
    none = ModelConfig("internvl"), NoneMethod()
    serving = ServeConfig(*none, run=str(extracted))
    for use in (chosen_direction, lambda found: write_report([found], tmp_path / "page.html"),
                lambda found: join_runs([found, Run.load(run)]),
                lambda found: load_served(serving, found)):  # fmt: skip
        with raises("unsupported", extracted.name, "calib.extract"):
            use(Run.load(extracted))
    with raises("unsupported", extracted, "calib.extract"):
        judge.main(JudgeRunConfig(JudgeConfig("rules"), run=str(extracted)))


@pytest.mark.parametrize(
    ("settings", "values"),
    [({"runs": []}, ["runs"]), ({"runs": ["a"], "examples": 0}, ["examples", 0]),
     ({"runs": [""]}, ["runs"])],
)  # fmt: skip
def test_invalid_settings_are_refused(settings, values):
    with raises("invalid-setting", *values):
        ReportConfig(**settings)
