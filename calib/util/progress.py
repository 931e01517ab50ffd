"""Progress for the user: a moving bar on a terminal or in a notebook, lines in a log.

A log (nohup, SLURM, CI, ``| tee``) stores every character, so it gets few and complete lines: the
first of a step after ten seconds, then at growing intervals of up to a minute. Everything is on
stderr; stdout is for results.
"""

import contextlib
import math
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from itertools import chain, repeat
from time import monotonic
from types import TracebackType
from typing import Any

from calib.util.terminal import terminal_safe

GAPS = (10.0, 20.0, 40.0, 60.0)
"""Seconds from the start of a step to its first line in a log, and from each line to the next; the
last gap repeats. A step that takes longer than the first gap also writes a line at its end."""

_LABEL: ContextVar[str] = ContextVar("label", default="")


def row_bar(name: str, total: int, unit: str = "rows", done: str = "answered") -> "Step":
    """A step over ``total`` items, named by ``unit``, whose progress is shown inside ``with``.

    ``done`` completes the line on items of an earlier run: "all 30 rows were answered before".
    """
    return Step(name, total, unit, done)


def waiting(name: str) -> "Step":
    """A step of unknown length, shown with its name and duration."""
    return Step(name, None, "", "")


def log_line(text: str) -> None:
    """Write a line about the run to stderr."""
    _write_line(sys.stderr, _prefix() + text)


@contextlib.contextmanager
def job_label(label: str) -> Iterator[None]:
    """Prefix the lines written inside with ``label``, which distinguishes jobs that share a log."""
    token = _LABEL.set(label)
    try:
        yield
    finally:
        _LABEL.reset(token)


class Step:
    """The progress of a slow step, shown on stderr. A context manager.

    Rate and remaining time are computed from the items done inside, not from skipped items, and
    the remaining time from the last quarter of the time, since the last rows of a batch are slower.
    """

    def __init__(self, name: str, total: int | None, unit: str, done: str) -> None:
        self.name, self.total, self.unit, self.verb = terminal_safe(name), total, unit, done
        self.done = 0
        self.skipped = 0
        """Number of done items that existed before this step."""
        self.reused = 0
        """Number of skipped items from an earlier run."""
        self.tokens = 0
        """Tokens generated inside, which grow long before the first row of a slow model ends."""
        self.before_tokens: Callable[[], str] | None = None
        """What happens until the first token, such as reading prompts, which takes minutes with a
        slow model."""
        self.may_grow = False
        """Whether ``extend`` may still raise the total."""
        self._prefix, self._stream = _prefix(), sys.stderr
        self._started = monotonic()
        self._marks = deque([(self._started, 0)])
        """Times of the last quarter, and the one before, with the items done inside until then."""
        self._over = threading.Event()
        self._bar: Any = None
        self._writer: threading.Thread | None = None

    def update(self, count: int = 1) -> None:
        """Count further items as done."""
        self.done += count
        self._mark()
        if self._bar is not None:
            self._bar.update(count)

    def expect_tokens(self, before: Callable[[], str]) -> None:
        """Show what ``before`` returns until the first token."""
        self.before_tokens = before
        if self._bar is not None and not self.tokens:
            self._bar.set_postfix_str(before())

    def count_tokens(self, count: int) -> None:
        """Count further tokens as generated."""
        self.tokens += count
        if self._bar is not None:
            self._bar.set_postfix_str(f"{self.tokens:,} tokens", refresh=False)
            self._bar.update(0)  # draws at most every tenth of a second

    def skip(self, count: int, reused: int = 0) -> None:
        """Count items that need not be done, ``reused`` of them from an earlier run."""
        self.done += count
        self.skipped += count
        self.reused += reused
        if self._bar is not None:  # as if it had begun there, so that its rate excludes them
            self._bar.initial += count
            self._bar.n += count
            self._bar.last_print_n += count
            self._bar.refresh()

    def extend(self, count: int) -> None:
        """Raise the total by ``count`` items that were not known at the start."""
        self.total = (self.total or 0) + count
        if self._bar is not None:
            self._bar.total = self.total
            self._bar.refresh()

    def __enter__(self) -> "Step":
        self._started = monotonic()
        self._marks = deque([(self._started, self.done - self.skipped)])
        if self.total == 0:
            return self
        self._bar = _notebook_bar(self)
        if self._bar is None:  # a bar without a total has no truth value
            self._bar = _terminal_bar(self)
        if self._bar is None:
            self._writer = threading.Thread(target=self._write_at_intervals, daemon=True)
            self._writer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        if self._writer is not None:
            self._writer.join()
        if self._bar is not None:
            self._bar.close()
        if kind is not None:
            return
        if self.total and self.reused == self.total:
            self._write(f"all {self.total:,} {self.unit} were {self.verb} before")
        elif self._seconds() >= GAPS[0]:
            self._write(self._ending())

    def _write_at_intervals(self) -> None:
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
            share += f", {self.skipped:,} already saved"
        total = f"{self.total:,} {self.unit}{' or more' * self.may_grow}"
        tokens = f", {self.tokens:,} tokens" if self.tokens else ""
        if not self.tokens and self.done == self.skipped and self.before_tokens is not None:
            tokens = f", {self.before_tokens()}"
        text = f"{self.done:,} of {total} ({share}){tokens}, {duration(seconds)}"
        if self.done <= self.skipped:
            return text
        return f"{text}, about {duration(self._remaining(), True)} left"

    def _mark(self) -> None:
        now = monotonic()
        self._marks.append((now, self.done - self.skipped))
        while len(self._marks) > 2 and self._is_before_the_last(self._marks[1], now):
            self._marks.popleft()

    def _is_before_the_last(self, mark: tuple[float, int], now: float) -> bool:
        """Whether a quarter of the time and a twentieth of the items lie after a mark."""
        many = ((self.total or 0) - self.skipped) / 20
        return mark[0] <= now - self._seconds() / 4 and mark[1] <= self.done - self.skipped - many

    def _remaining(self) -> float:
        """Seconds for the other items, at the mean rate for the first half of them, then at the
        rate of the last quarter of the time, and of a twentieth of the items or more.

        Items of a batch end together, so that a short time says little about the rate. Nothing is
        nearer to its end than the time for which nothing was done.
        """
        now, new, seconds = monotonic(), self.done - self.skipped, self._seconds()
        marks = tuple(self._marks)  # at once: the other thread adds to them
        waited = now - marks[-1][0]
        missing = (self.total or 0) - self.done
        if missing < new:
            before = [mark for mark in marks if self._is_before_the_last(mark, now)]
            since, count = before[-1] if before else marks[0]
            seconds, new = now - since, new - count
        return max(seconds / new * missing, waited if missing else 0.0)

    def _ending(self) -> str:
        took = duration(self._seconds())
        if self.total is None:
            return f"took {took}"
        before = f", {self.skipped:,} of them already saved" if self.skipped else ""
        return f"{self.done:,} {self.unit} in {took}{before}"


def duration(seconds: float, rough: bool = False) -> str:
    """Seconds as text, e.g. 1 min 4 s.

    With ``rough``, rounded up to seconds below 10 s, to tens of seconds, or above 90 s to minutes.
    """
    if rough:
        step = 60 if seconds > 90 else 10 if seconds > 10 else 1
        seconds = step * max(1, math.ceil(seconds / step))
    total = int(seconds)
    hours, minutes, rest = total // 3600, total // 60 % 60, total % 60
    if total < 60 or (rough and total <= 90):
        return f"{total} s"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"


def _prefix() -> str:
    """The label, process and task of this job; "" for a single job."""
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

    # Some terminals (in containers, of expect) report no size, and tqdm would draw nothing.
    known = os.get_terminal_size(stream.fileno()).columns > 0
    size = {"dynamic_ncols": True} if known else {"ncols": 80, "nrows": 24}
    return tqdm(**_bar_settings(step), file=stream, **size)


def _notebook_bar(step: Step) -> Any:
    """A bar of widgets; None outside notebooks and in notebooks without widgets."""
    if "ipykernel" not in sys.modules:
        return None
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tqdm explains how to install widgets
        from tqdm.autonotebook import tqdm
    from tqdm.std import tqdm as plain

    return None if tqdm is plain else tqdm(**_bar_settings(step))


def _bar_settings(step: Step) -> dict[str, Any]:
    settings = {"total": step.total, "desc": step._prefix + step.name, "leave": False}
    if step.total is None:
        return settings | {"bar_format": "{desc} ..."}
    counts = "{n:,} of {total:,}{unit}, {rate_noinv_fmt}, {elapsed}, {remaining} left{postfix}"
    form = "{desc}: {percentage:3.0f}%|{bar}| " + counts
    return settings | {"unit": f" {step.unit}", "bar_format": form}


def _write_line(stream: Any, line: str) -> None:
    # A closed stream or a full disk must not stop the run.
    with contextlib.suppress(OSError, ValueError):
        stream.write(line + "\n")
        stream.flush()
