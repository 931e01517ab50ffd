"""Hydra's launchers of jobs, checked before anything is submitted."""

import shutil
import subprocess
from collections.abc import Sequence

from calib.util.errors import CalibError

SECONDS = 30.0
"""Longest wait for an answer of SLURM's controller."""


def check_launcher(overrides: Sequence[str], multirun: bool) -> None:
    """Raise CalibError for a launcher of jobs that has no effect here, or no cluster.

    ``overrides`` are the command line's settings, ``multirun`` whether it has the flag -m.
    """
    given = [text.partition("=") for text in overrides]
    chosen = [value for key, _, value in given if key.lstrip("+") == "hydra/launcher"]
    if not chosen or not chosen[-1].startswith("submitit"):
        return
    launcher = chosen[-1]
    if not multirun and not any("MULTIRUN" in text.upper() for text in overrides):
        raise CalibError(
            "conflicting-settings",
            f"hydra/launcher={launcher} submits jobs with the flag -m only; without it, the run "
            "would be made in this process. Add -m, or omit the launcher.",
        )
    if launcher == "submitit_slurm" and (reason := _no_cluster()):
        raise CalibError(
            "unsupported",
            f"hydra/launcher=submitit_slurm: {reason}. Run the command where sbatch works, such as "
            "a cluster's login node. On this machine, hydra/launcher=submitit_local starts the "
            "same jobs as processes, and devices=N starts N shards and joins them.",
        )


def _no_cluster() -> str:
    """Why no job can be submitted to SLURM from here; empty if nothing speaks against it."""
    if shutil.which("sbatch") is None:
        return "there is no SLURM on this machine (no command sbatch)"
    if shutil.which("scontrol") is None:
        return ""
    try:
        reply = subprocess.run(
            ["scontrol", "ping"], capture_output=True, encoding="utf-8", errors="replace",
            timeout=SECONDS,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    said = reply.stdout + reply.stderr
    if " UP" in said or not any(text in said for text in ("DOWN", "rror", "nable")):
        return ""
    return f"SLURM's controller does not answer ({' '.join(said.split())[:200].rstrip('.')})"
