"""A SLURM cluster of one node, this machine, started for a test from the Debian packages slurmctld,
slurmd, slurm-client and munge."""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ports import free_port

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue")
WAIT = 60.0


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Run the cluster with its files in ``folder``; the environment that its commands need.

    Skips the test where the programs are absent or the daemons do not start, with their reason.
    """
    search = os.environ.get("PATH", "") + os.pathsep + "/usr/sbin"
    if missing := [name for name in PROGRAMS if shutil.which(name, path=search) is None]:
        pytest.skip(f"no SLURM here: {', '.join(missing)}")
    environment = {**os.environ, "PATH": search, "SLURM_CONF": str(folder / "slurm.conf")}
    _write_settings(folder)
    daemons = [
        subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        for command, log in _commands(folder)
    ]
    try:
        deadline = time.monotonic() + WAIT
        while "idle" not in _output(["sinfo", "-h", "-o", "%T"], environment):
            dead = [d.args[0] for d in daemons if d.poll() is not None]
            if dead or time.monotonic() > deadline:
                logs = [
                    f"{path.name}: {path.read_text(encoding='utf-8')[-300:]}"
                    for path in folder.glob("*.log")
                ]
                pytest.skip(f"SLURM does not start here ({dead}): {logs}")
            time.sleep(0.2)
        yield environment
    finally:
        # Killed, because a daemon that is asked to end waits for the steps of cancelled jobs.
        _kill_all(environment["SLURM_CONF"])
        for daemon in daemons:
            daemon.kill()
            daemon.wait()


def _kill_all(settings: str) -> None:
    """Kill the processes of the cluster with these settings: daemons, steps of jobs, tasks."""
    setting = f"SLURM_CONF={settings}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            # As bytes: a step of a job writes its title over the first variables.
            if setting in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)


def _commands(folder: Path) -> Iterator[tuple[list[str], int]]:
    munge = folder / "munge"
    files = {name: munge / name for name in ("socket", "pid-file", "log-file", "seed-file")}
    for command in (
        ["munged", "--foreground", "--force", f"--key-file={munge / 'key'}",
         *(f"--{name}={path}" for name, path in files.items())],
        ["slurmctld", "-D"],
        ["slurmd", "-D"],
    ):  # fmt: skip
        deadline = time.monotonic() + WAIT
        while command[0] == "slurmctld" and not files["socket"].exists():
            if time.monotonic() > deadline:
                pytest.skip(
                    f"munged opens no socket: {(folder / 'munged.log').read_text(encoding='utf-8')}"
                )
            time.sleep(0.05)
        with (folder / f"{command[0]}.log").open("w", encoding="utf-8") as log:
            yield command, log.fileno()


def _write_settings(folder: Path) -> None:
    for name in ("munge", "state", "spool"):
        (folder / name).mkdir(parents=True)
    (folder / "munge").chmod(0o711)
    key = folder / "munge" / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    host, user = socket.gethostname().split(".")[0], getpass.getuser()
    settings = {
        "ClusterName": "test",
        "SlurmctldHost": host,
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={folder / 'munge' / 'socket'}",
        "SlurmUser": user,
        "SlurmdUser": user,
        "SlurmctldPort": free_port(),
        "SlurmdPort": free_port(),
        "StateSaveLocation": folder / "state",
        "SlurmdSpoolDir": folder / "spool",
        "SlurmctldPidFile": folder / "slurmctld.pid",
        "SlurmdPidFile": folder / "slurmd.pid",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "JobAcctGatherType": "jobacct_gather/none",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_CPU",
        "ReturnToService": 2,
        "KillWait": 2,
        "SlurmdParameters": "config_overrides",  # two jobs at a time on any machine
    }
    node = f"NodeName={host} CPUs=2 State=UNKNOWN"
    partition = f"PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP"
    lines = [*(f"{name}={value}" for name, value in settings.items()), node, partition]
    (folder / "slurm.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _output(command: list[str], environment: dict[str, str]) -> str:
    return subprocess.run(command, env=environment, capture_output=True, encoding="utf-8").stdout
