"""The kill harness tells what differs, and kills at changes of files leave nothing that stays."""

import json
import os
import signal

import pytest
from in_process import command

from benchmarks.kill import differences
from benchmarks.kill_process import Progress
from benchmarks.killed_command import inject

SMALL = (
    "method=steer", "method.layers=[2]", "method.strengths=[0.5]", "method@reference=none",
    "data.limit=6", "data.parts=[image_centric]", "utility.limit=2",
    "generation.max_new_tokens=4", "generation.batch_rows=2", "out=run",
)  # fmt: skip
POINTS = (
    "flock after .lock",
    "replace before run.json",
    "replace before safety-mean_difference-last_prompt-residual.safetensors",
    "write within rows.jsonl",
    "fsync before rows.jsonl",
    "replace after labels.jsonl",
    "replace before results.csv",
    "fsync after report.html",
)


@pytest.mark.usefixtures("undrawn")
def test_kills_at_changes_of_files_leave_the_bytes_of_an_undisturbed_run(tmp_path, monkeypatch):
    expected, found = tmp_path / "undisturbed", tmp_path / "killed"
    for folder in (expected, found):
        folder.mkdir()
    monkeypatch.chdir(expected)
    assert command("sweep", *SMALL).code == 0
    monkeypatch.chdir(found)
    for point in POINTS:
        assert killed(found, point) == signal.SIGKILL, point
    done = command("sweep", *SMALL)
    assert done.code == 0, done.stderr
    assert list(differences(expected, found)) == []


def killed(folder, point):
    """The signal that ends the command in a copy of this process, which kills itself at a point."""
    # A new process would import torch, which takes longer than the sweep.
    process = os.fork()
    if process == 0:
        try:
            inject(folder, point=point)
            command("sweep", *SMALL)
        finally:
            os._exit(0)
    return os.WTERMSIG(os.waitpid(process, 0)[1])


def run_folder(path, date="2026-01-01", **files):
    path.mkdir(parents=True)
    manifest = {"identity": {"seed": 0}, "provenance": {"date": date, "threads": 1}}
    (path / "run.json").write_text(json.dumps(manifest), encoding="utf-8")
    for name, text in files.items():
        (path / name).write_text(text, encoding="utf-8")
    return path


def test_dates_do_not_count(tmp_path):
    one, other = run_folder(tmp_path / "one"), run_folder(tmp_path / "other", "2026-01-02")
    assert list(differences(one, other)) == []


@pytest.mark.parametrize(
    ("files", "name"),
    [({"labels": "a"}, "labels"), ({}, "labels"), ({"labels": "b", ".x.1.tmp": ""}, ".x.1.tmp")],
)
def test_files_that_differ_are_named(tmp_path, files, name):
    one = run_folder(tmp_path / "one", labels="b")
    (difference,) = differences(one, run_folder(tmp_path / "other", **files))
    assert difference.startswith(name)


def test_rows_of_a_remote_model_have_no_order_and_no_time(tmp_path):
    rows = ['{"row": "a", "seconds": 1}\n', '{"row": "b", "seconds": 2}\n']
    again = ['{"row": "b", "seconds": 3}\n', '{"row": "a", "seconds": 4}\n']
    folders = [
        run_folder(tmp_path / str(k), **{"rows.jsonl": "".join(lines)})
        for k, lines in enumerate((rows, again, again[:1]))
    ]
    assert list(differences(*folders[:2], is_ordered=False)) == []
    assert list(differences(*folders[:2])) == ["rows.jsonl differs"]
    assert list(differences(folders[0], folders[2], is_ordered=False)) == ["rows.jsonl differs"]


def test_phases_of_a_log():
    progress = Progress()
    lines = ["1 > 17", "3 + reading", "3 item 5", "6 - reading", "7 + test", "8 row 2", "8 row 1"]
    for line in [*lines, "9 - test", "9 fsync after rows.jsonl"]:
        progress.read(line)
    assert progress.phase == "after test"
    assert progress.durations(11) == {
        "start-up": 2, "reading": 3, "after reading": 1, "test": 2, "after test": 2,
    }  # fmt: skip
    assert progress.counts == {"item": 5, "row": 3}
    assert progress.changes == ["fsync after rows.jsonl"]
