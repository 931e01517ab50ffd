"""A run's name of its model: in results.csv, in runs of earlier versions, and told apart."""

import json

import pytest
from made_up_run import write_run

from calib.runs.distinct_models import with_distinct_models
from calib.runs.run import Run

PATH = "/home/alice/weights/tuned"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    written = Run.load(write_run(tmp_path_factory.mktemp("models") / "run"))
    points = [p | {"checkpoint": PATH, "model": "tuned"} for p in written.operating_points]
    settings = written.settings_text
    return written.replace(checkpoint=PATH, operating_points=points, settings_text=settings)


def rewritten(run, folder):
    """A copy of the run's folder."""
    folder.mkdir()
    for path in run.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    run.replace(folder=folder).write_scores()
    return folder


def columns(folder):
    lines = (folder / "results.csv").read_text(encoding="utf-8").splitlines()[1:]
    return {tuple(line.split(",")[:2]) for line in lines}


def test_results_name_the_model_and_the_record_keeps_the_path(run, tmp_path) -> None:
    folder = rewritten(run, tmp_path / "a")
    assert columns(folder) == {("a", "tuned")}
    read = Run.load(folder)
    assert (read.model_name, read.checkpoint) == ("tuned", PATH)


def test_a_run_of_an_earlier_version_has_the_path_in_its_results(run, tmp_path) -> None:
    points = [{k: v for k, v in p.items() if k != "model"} for p in run.operating_points]
    folder = rewritten(run.replace(operating_points=points), tmp_path / "a")
    assert columns(folder) == {("a", PATH)}
    read = Run.load(folder)
    assert (read.model_name, read.checkpoint) == ("tuned", PATH)
    read.write_scores()
    assert Run.load(folder).checkpoint == PATH
    (folder / "operating_points.json").unlink()
    assert (Run.load(folder).model_name, Run.load(folder).checkpoint) == ("tuned", PATH)


def test_folders_of_one_name_are_numbered(run, tmp_path) -> None:
    folders = []
    for k, checkpoint in enumerate([PATH, "/home/bob/tuned", PATH + "/"]):
        points = [p | {"checkpoint": checkpoint} for p in run.operating_points]
        changed = run.replace(checkpoint=checkpoint, operating_points=points)
        folders.append(rewritten(changed, tmp_path / str(k)))
    runs = with_distinct_models(Run.load_many(folders))
    assert [each.model_name for each in runs] == ["tuned (1)", "tuned (2)", "tuned (1)"]
    assert [each.model_name for each in with_distinct_models(Run.load_many(folders[::2]))] == [
        "tuned",
        "tuned",
    ]
    runs[1].write_scores()
    assert columns(folders[1]) == {("1", "tuned")}
    (point,) = json.loads((folders[1] / "operating_points.json").read_bytes())[:1]
    assert point["model"] == "tuned"
