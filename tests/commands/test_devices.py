"""devices: a process per device, each of which makes one shard, and the joining of their rows."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from in_process import command, undrawn
from raising import raises

from calib.cli import replicas

ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    "method=steer", "method.layers=[2]", "method.strengths=[0.5]", "data.limit=12",
    "utility.limit=12", "generation.max_new_tokens=4", "generation.batch_rows=4", "report=false",
)  # fmt: skip

STAND_IN = """
import os, pathlib, sys, time
path, shard = sys.argv[1:]
path = pathlib.Path(path)
if shard == "shard=2/2":
    path.write_text(str(os.getpid()))
    time.sleep(600)
while not path.is_file() or not path.read_text():
    time.sleep(0.01)
sys.exit(3)
"""
"""A command whose first shard fails once the second has started, which would run for long."""


@pytest.fixture(scope="module", autouse=True)
def no_figures():
    with undrawn():
        yield


def test_two_processes_give_the_rows_of_one(tmp_path):
    whole, divided = tmp_path / "whole", tmp_path / "divided"
    assert command("sweep", *SMALL, f"out={whole}").code == 0
    done = command("sweep", *SMALL, f"out={divided}", "devices=2")
    assert done.code == 0, done.stderr
    assert (divided / "rows.jsonl").read_bytes() == (whole / "rows.jsonl").read_bytes()
    parts = [divided / "shards" / f"{k}-of-2" / "rows.jsonl" for k in (1, 2)]
    assert all(part.stat().st_size for part in parts)


def test_a_failing_shard_ends_the_others_and_is_named(tmp_path, monkeypatch):
    (tmp_path / "stand_in.py").write_text(STAND_IN, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(replicas, "_arguments", lambda: ["stand_in", str(tmp_path / "second")])
    with raises("unfinished-run", "devices=2", "shard 1/2 (exit code 3"):
        replicas.make_shards("2")
    second = int((tmp_path / "second").read_text(encoding="utf-8"))
    assert not Path(f"/proc/{second}").exists()


def test_a_failing_shard_prints_its_message_without_a_traceback(tmp_path, capfd):
    (tmp_path / "pairs.csv").write_text(
        "query,safety,image\nQ?,safe,missing.png\n", encoding="utf-8"
    )
    done = command("sweep", *SMALL[:3], "data=pairs", f"data.file={tmp_path / 'pairs.csv'}",
                   f"out={tmp_path / 'run'}", "devices=1")  # fmt: skip
    assert done.code == 2
    assert "[unfinished-run]" in done.stderr and "1/1 (exit code 2" in done.stderr
    of_the_shard = capfd.readouterr().err
    assert "missing.png" in of_the_shard and "Traceback" not in of_the_shard


def test_stopping_the_command_stops_its_shards(tmp_path):
    # Shards that never get beyond the start of Python.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, time\n"
        "if any(text.startswith('shard=') for text in sys.orig_argv):\n"
        f"    open(r'{tmp_path}/' + sys.orig_argv[-1][6], 'w').close()\n"
        "    time.sleep(600)\n",
        encoding="utf-8",
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "calib.sweep", *SMALL, "devices=2", f"out={tmp_path / 'run'}"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while not all((tmp_path / shard).exists() for shard in "12"):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    found = children.read_text(encoding="utf-8").split()
    assert len(found) == 2
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 143
    assert not any(Path(f"/proc/{child}").exists() for child in found)


def test_a_shard_ends_with_the_process_that_started_it():
    code = (
        "import time; from calib.cli.replicas import stop_with_parent; stop_with_parent(); "
        "print('started', flush=True); time.sleep(600)"
    )
    shard = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), **replicas._environment([], 1, 2)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert shard.stdout.readline() == b"started\n"
    assert shard.poll() is None
    shard.stdin.close()  # as when the parent is killed
    assert shard.wait(60) == -signal.SIGTERM


@pytest.mark.parametrize(
    "settings",
    [["devices=0"], ["devices=some"], ["devices=true"], ["devices=2", "shard=1/2"],
     ["-m", "devices=2", "seed=0,1"]],
)  # fmt: skip
def test_what_is_no_number_of_processes_is_refused(tmp_path, settings):
    done = command("sweep", *SMALL, f"out={tmp_path / 'run'}", *settings)
    assert done.code == 2 and "devices" in done.stderr


def test_processes_beyond_the_gpus_share_them_in_turn():
    named = [
        replicas._environment(["4", "6"], number, 3)["CUDA_VISIBLE_DEVICES"] for number in (1, 2, 3)
    ]
    assert named == ["4", "6", "4"]
