"""What a person who waits sees: a moving bar on a terminal, whole lines in a log.

A log (nohup, SLURM, CI, ``| tee``) keeps every character it is given, so there nothing moves and
few lines are written: the first of a step after ten seconds, then ever fewer, down to one a minute.
All of it goes to stderr; stdout is for results.
"""

import contextlib
import math
import os
import sys
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from itertools import chain, repeat
from time import monotonic
from types import TracebackType
from typing import Any

from calib.util.terminal import terminal_safe

GAPS = (10.0, 20.0, 40.0, 60.0)
"""Seconds from the start of a step to its first line in a log, and from each line to the next; the
last one is kept. A step that took longer than the first also has a line at its end."""

_LABEL: ContextVar[str] = ContextVar("label", default="")


def row_bar(name: str, total: int, unit: str = "rows", done: str = "answered") -> "Step":
    """A step over ``total`` rows, or what ``unit`` names, shown while it is entered.

    ``done`` is what was done to those of an earlier run: "all 30 rows were answered before".
    """
    return Step(name, total, unit, done)


def waiting(name: str) -> "Step":
    """A step of which only its name and how long it takes are known."""
    return Step(name, None, "", "")


def tell(text: str) -> None:
    """One line about the run itself, on stderr."""
    _write_line(sys.stderr, _prefix() + text)


@contextlib.contextmanager
def labelled(label: str) -> Iterator[None]:
    """Lines of what is done inside begin with ``label``, to tell jobs apart that share a log."""
    token = _LABEL.set(label)
    try:
        yield
    finally:
        _LABEL.reset(token)


class Step:
    """What is done of something slow, shown on whatever stderr is. A context manager.

    Rate and time left come from what is done now: rows that were there before cost nothing.
    """

    def __init__(self, name: str, total: int | None, unit: str, done: str) -> None:
        self.name, self.total, self.unit, self.verb = terminal_safe(name), total, unit, done
        self.done = 0
        self.skipped = 0
        """How many of those done were there before this step."""
        self.kept = 0
        """How many of them are of an earlier run."""
        self._prefix, self._stream = _prefix(), sys.stderr
        self._started = monotonic()
        self._over = threading.Event()
        self._bar: Any = None
        self._lines: threading.Thread | None = None

    def update(self, count: int = 1) -> None:
        """``count`` more are done."""
        self.done += count
        if self._bar is not None:
            self._bar.update(count)

    def skip(self, count: int, kept: int = 0) -> None:
        """``count`` more need not be done, ``kept`` of them since an earlier run did them."""
        self.done += count
        self.skipped += count
        self.kept += kept
        if self._bar is not None:  # as if it had begun there, so that its rate is that of today
            self._bar.initial += count
            self._bar.n += count
            self._bar.last_print_n += count
            self._bar.refresh()

    def more(self, count: int) -> None:
        """``count`` more are to be done than was known at the start."""
        self.total = (self.total or 0) + count
        if self._bar is not None:
            self._bar.total = self.total
            self._bar.refresh()

    def __enter__(self) -> "Step":
        self._started = monotonic()
        if self.total == 0:
            return self
        self._bar = _notebook_bar(self) or _terminal_bar(self)
        if self._bar is None:
            self._lines = threading.Thread(target=self._write_lines, daemon=True)
            self._lines.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        if self._lines is not None:
            self._lines.join()
        if self._bar is not None:
            self._bar.close()
        if kind is not None:
            return
        if self.total and self.kept == self.total:
            self._write(f"all {self.total:,} {self.unit} were {self.verb} before")
        elif self._seconds() >= GAPS[0]:
            self._write(self._ending())

    def _write_lines(self) -> None:
        for gap in chain(GAPS, repeat(GAPS[-1])):
            if self._over.wait(gap):
                return
            self._write(self._so_far())

    def _write(self, text: str) -> None:
        _write_line(self._stream, f"{self._prefix}{self.name}: {text}")

    def _seconds(self) -> float:
        return monotonic() - self._started

    def _so_far(self) -> str:
        seconds = self._seconds()
        if self.total is None:
            return f"{duration(seconds)} so far"
        share = f"{100 * self.done // self.total}%"
        if self.skipped:
            share += f", {self.skipped:,} from before"
        text = f"{self.done:,} of {self.total:,} {self.unit} ({share}), {duration(seconds)}"
        new = self.done - self.skipped
        if new <= 0:
            return text
        return f"{text}, about {duration(seconds / new * (self.total - self.done), True)} left"

    def _ending(self) -> str:
        took = duration(self._seconds())
        if self.total is None:
            return f"took {took}"
        before = f", {self.skipped:,} of them from before" if self.skipped else ""
        return f"{self.done:,} {self.unit} in {took}{before}"


def duration(seconds: float, rough: bool = False) -> str:
    """Seconds in words, e.g. 1 min 4 s.

    A ``rough`` one is rounded up to tens of seconds, or above 90 s to minutes, and is never 0.
    """
    if rough:
        step = 60 if seconds > 90 else 10 if seconds > 10 else 1
        seconds = step * max(1, math.ceil(seconds / step))
    whole = int(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if whole < 60 or (rough and whole <= 90):
        return f"{whole} s"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"


def _prefix() -> str:
    """Which job this is, where several write to one log."""
    parts = [_LABEL.get()]
    for rank, size in (("SLURM_PROCID", "SLURM_NTASKS"), ("RANK", "WORLD_SIZE")):
        if os.environ.get(size, "1") != "1" and rank in os.environ:
            parts.append(f"process {os.environ[rank]}")
            break
    if "SLURM_ARRAY_TASK_ID" in os.environ:
        parts.append(f"task {os.environ['SLURM_ARRAY_TASK_ID']}")
    shown = ", ".join(part for part in parts if part)
    return f"[{terminal_safe(shown)}] " if shown else ""


def _terminal_bar(step: Step) -> Any:
    stream = step._stream
    if not stream.isatty() or os.environ.get("TERM") == "dumb":
        return None
    from tqdm import tqdm

    # Some terminals (of containers, of expect) do not know their size; tqdm draws nothing there.
    known = os.get_terminal_size(stream.fileno()).columns > 0
    size = {"dynamic_ncols": True} if known else {"ncols": 80, "nrows": 24}
    return tqdm(**_looks(step), file=stream, **size)


def _notebook_bar(step: Step) -> Any:
    """A bar of widgets; None outside notebooks, and in those without widgets, where lines do."""
    if "ipykernel" not in sys.modules:
        return None
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says at length how to install widgets
        from tqdm.autonotebook import tqdm
    from tqdm.std import tqdm as plain

    return None if tqdm is plain else tqdm(**_looks(step))


def _looks(step: Step) -> dict[str, Any]:
    looks = {"total": step.total, "desc": step._prefix + step.name, "leave": False}
    if step.total is None:
        return looks | {"bar_format": "{desc} ..."}
    counts = "{n:,} of {total:,}{unit}, {rate_noinv_fmt}, {elapsed}, {remaining} left"
    form = "{desc}: {percentage:3.0f}%|{bar}| " + counts
    return looks | {"unit": f" {step.unit}", "bar_format": form}


def _write_line(stream: Any, line: str) -> None:
    # Who closed it, or the disk it goes to, has no use for it; the run goes on without.
    with contextlib.suppress(OSError, ValueError):
        stream.write(line + "\n")
        stream.flush()
