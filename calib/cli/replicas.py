"""Replicas of a command on one machine: a process per device, each of which makes one shard."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from calib.cli.command import TERMINATED
from calib.util.errors import CalibError
from calib.util.progress import log_line

POLL = 0.2
_STARTED_BY_DEVICES = "CALIB_STARTED_BY_DEVICES"
"""Environment variable of the shards that make_shards starts."""


def make_shards(devices: str) -> None:
    """Run this command once per device, as shard 1/n to n/n, and return when all have ended.

    ``devices`` is all (one process per GPU) or a number of processes. Processes beyond the GPUs
    share them in turn; without a GPU they share the CPU's cores.

    Raises CalibError: (invalid-setting) there is no GPU for devices=all; (unfinished-run) a shard
    failed. The rows of all shards are saved.
    """
    gpus = _gpus()
    if devices == "all" and not gpus:
        raise CalibError(
            "invalid-setting",
            "devices=all: torch sees no GPU. Give a number of processes, such as devices=2.",
        )
    count = len(gpus) if devices == "all" else int(devices)
    arguments = _arguments()
    log_line(f"{count} shards, " + (f"on GPUs {', '.join(gpus)}" if gpus else "on this CPU"))
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for number in range(1, count + 1):
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", *arguments, f"shard={number}/{count}"],
                    env=os.environ | _environment(gpus, number, count),
                    stdin=subprocess.PIPE,  # closes with this process; see stop_with_parent
                    stdout=subprocess.DEVNULL,  # this process prints the notes of the joined shards
                )
            )
        while any(process.poll() is None for process in processes):
            if any(process.poll() for process in processes):  # the others would wait for its rows
                _stop(processes)
                break
            time.sleep(POLL)
    except BaseException:  # Ctrl-C and SIGTERM
        _stop(processes)
        raise
    finally:
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
    codes = {f"{k}/{count}": process.returncode for k, process in enumerate(processes, 1)}
    # Those that ended after the failure of another one were stopped by this process.
    stopped = {-signal.SIGTERM, TERMINATED}
    failed = {k: code for k, code in codes.items() if code and code not in stopped}
    if failed := failed or {k: code for k, code in codes.items() if code}:
        shown = ", ".join(f"{shard} ({_ending(code)})" for shard, code in failed.items())
        raise CalibError(
            "unfinished-run",
            f"devices={devices}: shard {shown} failed. Recorded rows are saved: run the same "
            "command to resume.",
        )


def stop_with_parent() -> None:
    """Stop this shard, as SIGTERM does, when the process that started it for devices= ends.

    A killed process cannot stop its shards, which would keep the run's folder in use. Does nothing
    in a shard that was started otherwise.
    """
    if os.environ.pop(_STARTED_BY_DEVICES, None) is None:
        return

    def wait() -> None:
        os.read(0, 1)  # until the parent's end of the pipe is closed
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}, with its message above"
    return f"killed by {signal.Signals(-code).name}"


def _arguments() -> list[str]:
    """The command's module and its arguments, without devices."""
    settings = HydraConfig.get()
    if settings.mode is RunMode.MULTIRUN:
        raise CalibError(
            "conflicting-settings",
            "devices cannot be used with -m: the jobs would share the devices. Omit one of them.",
        )
    given = [text for text in sys.argv[1:] if text.lstrip("+").partition("=")[0] != "devices"]
    return [f"calib.{settings.job.config_name}", *given]


def _gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    found = torch.cuda.device_count()
    return named[:found] or [str(index) for index in range(found)]


def _environment(gpus: Sequence[str], number: int, count: int) -> dict[str, str]:
    # Progress as lines: bars of several processes would overwrite others.
    lines = {"TERM": "dumb", _STARTED_BY_DEVICES: "1"}
    if gpus:
        return lines | {"CUDA_VISIBLE_DEVICES": gpus[(number - 1) % len(gpus)]}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return lines | {"OMP_NUM_THREADS": str(max(1, (cores or 1) // count))}


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        process.wait()
