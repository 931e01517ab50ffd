"""Shards as jobs: Hydra's submitit launchers, here and on a SLURM cluster of one node."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from in_process import command, undrawn
from single_node_slurm import cluster

pytest.importorskip("submitit", reason="needs calib[slurm]")

PATHS = os.pathsep.join([str(Path(__file__).resolve().parents[2]), *sys.path])
SMALL = (
    "method=steer", "method.layers=[2]", "method.strengths=[0.5]", "data.limit=12",
    "utility.limit=12", "generation.max_new_tokens=4", "generation.batch_rows=4", "report=false",
)  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    with undrawn():
        assert command("sweep", *SMALL, f"out={folder}").code == 0
    return (folder / "rows.jsonl").read_bytes()


HANGS = 300.0
"""Seconds after which a job that should have ended counts as hanging."""


def launch(folder, environment, *settings):
    log = (folder / "launcher.log").open(
        "w", encoding="utf-8"
    )  # a pipe that is full would stop the launcher
    return subprocess.Popen(
        [sys.executable, "-m", "calib.sweep", "-m", *SMALL, f"out={folder / 'run'}",
         "shard=1/2,2/2", f"hydra.sweep.dir={folder / 'jobs'}", *settings],
        env={**environment, "PYTHONPATH": PATHS}, stdout=log, stderr=log, encoding="utf-8",
    )  # fmt: skip


def assert_joins_to(whole, folder):
    with undrawn():
        assert command("sweep", *SMALL, f"out={folder / 'run'}").code == 0
    assert (folder / "run" / "rows.jsonl").read_bytes() == whole


def test_jobs_on_this_machine(tmp_path, whole):
    process = launch(tmp_path, os.environ, "hydra/launcher=submitit_local")
    assert process.wait() == 0, (tmp_path / "launcher.log").read_text(encoding="utf-8")
    assert_joins_to(whole, tmp_path)


def test_jobs_of_slurm_one_of_which_is_cancelled_and_requeued(tmp_path, whole):
    (tmp_path / "slurm").mkdir()
    with cluster(tmp_path / "slurm") as environment:

        def scontrol(*arguments):
            return subprocess.run(["scontrol", *arguments], env=environment, capture_output=True)

        process = launch(
            tmp_path, environment, "hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=1"
        )
        deadline = time.monotonic() + HANGS

        def is_running():
            assert time.monotonic() < deadline, (tmp_path / "launcher.log").read_text(
                encoding="utf-8"
            )
            return process.poll() is None

        record = tmp_path / "run" / "shards" / "1-of-2" / "rows.jsonl"
        while not (record.is_file() and record.stat().st_size):
            assert is_running(), (tmp_path / "launcher.log").read_text(encoding="utf-8")
            time.sleep(0.02)
        job = subprocess.run(
            ["squeue", "-h", "-r", "-o", "%i", "--sort=i"], env=environment, capture_output=True,
            encoding="utf-8",
        ).stdout.split()[0]  # fmt: skip
        assert scontrol("requeue", job).returncode == 0
        while is_running():  # SLURM lets a requeued job wait for two minutes
            scontrol("update", f"jobid={job}", "StartTime=now")
            time.sleep(0.5)
        assert process.returncode == 0, (tmp_path / "launcher.log").read_text(encoding="utf-8")
        restarts = scontrol("show", "job", job).stdout.decode()
    assert "Restarts=1" in restarts
    assert_joins_to(whole, tmp_path)
