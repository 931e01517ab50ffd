"""A logged command in a process of its own, its phases, and a SIGKILL at a moment of one."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
LONGEST = 600.0
"""Seconds after which a process is given up."""
SHORTEST = 0.03
"""Seconds of the shortest phase that kills are aimed at."""
POLL = 0.005


@dataclass
class Progress:
    """What the log of a process says so far."""

    phases: list[tuple[str, float]] = field(default_factory=list)
    """Names of the phases in their order, with the time at which each began."""
    counts: dict[str, int] = field(default_factory=dict)
    """Rows, items of other steps ("item"), and requests ("sent")."""
    changes: list[str] = field(default_factory=list)
    """Calls that changed files, without the time."""
    _steps: list[str] = field(default_factory=list)

    def read(self, line: str) -> None:
        """Take in one line of the log."""
        seconds, _, event = line.partition(" ")
        sign, _, rest = event.partition(" ")
        if sign == "+":
            self._steps.append(rest)
            self._enter(rest, float(seconds))
        elif sign == "-":
            if rest in self._steps:
                self._steps.remove(rest)
            self._enter(self._steps[-1] if self._steps else f"after {rest}", float(seconds))
        elif sign == ">":
            self._enter("start-up", float(seconds))
        elif sign in ("row", "item", "sent"):
            self.counts[sign] = self.counts.get(sign, 0) + int(rest or 1)
        else:
            self.changes.append(event)

    def _enter(self, name: str, seconds: float) -> None:
        self.phases.append((name, seconds))

    @property
    def phase(self) -> str:
        return self.phases[-1][0] if self.phases else "start-up"

    def durations(self, end: float) -> dict[str, float]:
        """Seconds of the longest occurrence of each phase, in the order of first occurrence."""
        starts = [*(start for _, start in self.phases), end]
        longest: dict[str, float] = {}
        for (name, start), following in zip(self.phases, starts[1:], strict=True):
            longest[name] = max(longest.get(name, 0.0), following - start)
        return longest


class Logged:
    """A command of calib in a process of its own, whose log is read as it grows."""

    def __init__(self, command: Sequence[str], folder: Path, log: Path, point: str = "-") -> None:
        """``folder`` is the current folder of the process; ``point`` is the change of a file at
        which it kills itself."""
        self.progress = Progress()
        self._log, self._offset, self._rest = log, 0, b""
        log.unlink(missing_ok=True)
        self._output = log.with_suffix(".out")
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.killed_command", str(log), point, *command],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def read(self) -> Progress:
        """The progress so far."""
        if self._log.exists():
            with self._log.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
            self._offset += len(data)
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                self.progress.read(line.decode())
        return self.progress

    def wait(self, until: Callable[[Progress], bool] = lambda progress: False) -> bool:
        """Wait until the condition holds or the process ends; whether it still runs."""
        deadline = time.monotonic() + LONGEST
        while self.process.poll() is None:
            if until(self.read()):
                return True
            if time.monotonic() > deadline:
                self.kill()
                sys.exit(f"a process did not end within {LONGEST:g} s:\n{self.output()}")
            time.sleep(POLL)
        self.read()
        return False

    def kill(self) -> None:
        """Send SIGKILL to the process and wait for its end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.read()

    def output(self) -> str:
        return self._output.read_text(encoding="utf-8", errors="replace")[-3000:]


@dataclass(frozen=True)
class Target:
    """A moment to kill at: a share of the time that a phase took in the undisturbed run."""

    phase: str
    share: float

    def wait(self, logged: Logged, durations: dict[str, float]) -> bool:
        """Wait for the moment, or for the same share of the first later phase where this one is
        skipped; whether the process still runs then."""
        order = list(durations)
        place = order.index(self.phase)

        def reached(progress: Progress) -> bool:
            if not progress.phases or progress.phase not in durations:
                return False
            name, start = progress.phases[-1]
            moment = start + self.share * durations[name]
            return order.index(name) >= place and time.monotonic() >= moment

        return logged.wait(reached)
