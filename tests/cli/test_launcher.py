"""Launchers of jobs that have no effect here, or no cluster."""

import types

import pytest
from raising import raises

from calib.cli import launcher
from calib.cli.launcher import check_launcher

SLURM = ["hydra/launcher=submitit_slurm", "shard=1/2,2/2"]


@pytest.fixture
def slurm(monkeypatch):
    """Programs of SLURM on this machine, and what its controller says."""

    def install(*programs, said=""):
        monkeypatch.setattr(launcher.shutil, "which", lambda name: name in programs or None)
        reply = types.SimpleNamespace(stdout=said, stderr="", returncode=0)
        monkeypatch.setattr(launcher.subprocess, "run", lambda *_, **__: reply)

    return install


def test_without_slurm_nothing_is_submitted(slurm):
    slurm()
    with raises("unsupported", "sbatch", "submitit_local", "devices=N"):
        check_launcher(SLURM, multirun=True)
    check_launcher(["hydra/launcher=submitit_local"], multirun=True)
    check_launcher(["model=internvl"], multirun=False)


def test_a_controller_that_is_down_is_quoted(slurm):
    slurm("sbatch", "scontrol", said="Slurmctld(primary) at node1 is DOWN")
    with raises("unsupported", "node1 is DOWN"):
        check_launcher(SLURM, multirun=True)
    for said in ("Slurmctld(primary) at node1 is UP", "", "another text"):
        slurm("sbatch", "scontrol", said=said)
        check_launcher(SLURM, multirun=True)


def test_a_launcher_needs_several_runs(slurm):
    slurm("sbatch")
    with raises("conflicting-settings", "-m", "submitit_slurm"):
        check_launcher(SLURM, multirun=False)
    check_launcher([*SLURM, "hydra.mode=MULTIRUN"], multirun=False)
