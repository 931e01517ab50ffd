"""What is seen of a step: lines in a log, a bar on a terminal, and the time that is left."""

import fcntl
import io
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
from types import SimpleNamespace

import pytest

from calib.util import progress
from calib.util.progress import duration, labelled, row_bar, tell, waiting


class Clock:
    """Time that passes when it is told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Waits:
    """Stands for the end of a step: waits pass at once, ``doing`` what is done meanwhile."""

    def __init__(self, clock, doing):
        self.clock, self.doing, self.gaps = clock, list(doing), []

    def wait(self, gap):
        if not self.doing:
            return True
        self.gaps.append(gap)
        self.clock.now += gap
        self.doing.pop(0)()
        return False

    def set(self):
        pass


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "monotonic", clock)
    for name in ("SLURM_PROCID", "SLURM_NTASKS", "RANK", "WORLD_SIZE", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    return clock


@pytest.fixture
def log(capsys):
    """What went to stderr so far."""
    so_far = io.StringIO()

    def getvalue():
        captured = capsys.readouterr()
        assert captured.out == ""  # that is for results
        so_far.write(captured.err)
        return so_far.getvalue()

    return SimpleNamespace(getvalue=getvalue)


def lines_of(step, clock, log, doing):
    """What a step writes while these things are done, one before each of its lines."""
    waits = Waits(clock, doing)
    step._over = waits
    step._write_lines()
    return log.getvalue().splitlines(), waits.gaps


def test_lines_say_how_many_how_long_and_how_long_still(clock, log) -> None:
    step = row_bar("validation", 67_386)
    doing = [lambda: None, lambda: step.update(6_000), lambda: step.update(6_000)]
    lines, _ = lines_of(step, clock, log, doing)
    assert lines == [
        "validation: 0 of 67,386 rows (0%), 10 s",
        "validation: 6,000 of 67,386 rows (8%), 30 s, about 6 min left",  # 307 s
        "validation: 12,000 of 67,386 rows (17%), 1 min 10 s, about 6 min left",  # 323 s
    ]


def test_gaps_grow_to_a_minute_and_no_further(clock, log) -> None:
    _, gaps = lines_of(row_bar("test", 10), clock, log, [lambda: None] * 6)
    assert gaps == [10, 20, 40, 60, 60, 60]


def test_rows_of_before_count_as_done_and_not_for_the_time_left(clock, log) -> None:
    step = row_bar("test", 1_000)
    step.skip(900, 900)
    # 10 rows in 10 s: the 90 that are left take 90 s, not the second that 910 rows in 10 s would.
    lines, _ = lines_of(step, clock, log, [lambda: step.update(10)])
    assert lines == ["test: 910 of 1,000 rows (91%, 900 from before), 10 s, about 90 s left"]


def test_the_rate_of_a_bar_is_that_of_today() -> None:
    step = row_bar("test", 10)
    step._bar = SimpleNamespace(initial=0, n=2, last_print_n=1, refresh=lambda: None)
    step.skip(5, 5)
    # tqdm's rate is of n less initial, or of n less last_print_n since it was last drawn.
    assert (step._bar.initial, step._bar.n, step._bar.last_print_n) == (5, 7, 6)


def test_rows_that_were_not_known_at_the_start_are_added(clock, log) -> None:
    step = row_bar("test", 10)
    step.update(10)
    step.more(30)
    lines, _ = lines_of(step, clock, log, [lambda: None])
    assert lines == ["test: 10 of 40 rows (25%), 10 s, about 30 s left"]


def test_a_long_step_says_how_long_it_took_and_a_short_one_nothing(clock, log) -> None:
    for seconds in (9.9, 10.0, 363.0):
        with row_bar("judging", 3_204, "responses", "judged") as step:
            step.skip(4, 0)
            step.update(3_200)
            clock.now += seconds
    assert log.getvalue().splitlines() == [
        "judging: 3,204 responses in 10 s, 4 of them from before",
        "judging: 3,204 responses in 6 min 3 s, 4 of them from before",
    ]


def test_what_an_earlier_run_did_is_said_in_one_line(clock, log) -> None:
    with row_bar("judging", 3_204, "responses", "judged") as step:
        step.skip(3_204, 3_204)
    with row_bar("test", 8) as step:  # some of this very run: no news
        step.skip(8, 7)
    with row_bar("nothing", 0):
        pass
    assert log.getvalue() == "judging: all 3,204 responses were judged before\n"


def test_a_step_that_fails_claims_nothing(clock, log) -> None:
    with pytest.raises(KeyboardInterrupt), row_bar("test", 8) as step:
        step.skip(8, 8)
        clock.now += 60
        raise KeyboardInterrupt
    assert log.getvalue() == ""


def test_waiting_says_how_long(clock, log) -> None:
    lines, _ = lines_of(waiting("loading"), clock, log, [lambda: None] * 2)
    assert lines == ["loading: 10 s so far", "loading: 30 s so far"]
    with waiting("loading"):
        clock.now += 75
    assert log.getvalue().splitlines()[2:] == ["loading: took 1 min 15 s"]


def test_lines_come_by_themselves_and_at_once(monkeypatch) -> None:
    """A step that hangs is seen to: nothing calls it, and nothing is left in a buffer."""

    class Stream(io.StringIO):
        flushed = threading.Event()

        def flush(self):
            if self.getvalue():
                self.flushed.set()

    stream = Stream()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "GAPS", (0.01, 60.0))
    with row_bar("test", 5):
        assert stream.flushed.wait(20)
        assert stream.getvalue() == "test: 0 of 5 rows (0%), 0 s\n"
        monkeypatch.setattr(progress, "GAPS", (60.0,))
    assert stream.getvalue().count("\n") == 1


def test_jobs_and_processes_that_share_a_log_are_told_apart(clock, log, monkeypatch) -> None:
    with labelled("method=steer seed=\x1b[1m"):
        tell("told")
        step = row_bar("test", 5)
    tell("alone")
    step._write("later")  # a step keeps the label it began with
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setenv("SLURM_PROCID", "0")
    tell("one task")
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_PROCID", "3")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "17")
    tell("several")
    monkeypatch.delenv("SLURM_NTASKS")
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    tell("torchrun")
    assert log.getvalue().splitlines() == [
        "[method=steer seed=\\x1b[1m] told",
        "alone",
        "[method=steer seed=\\x1b[1m] test: later",
        "one task",
        "[process 3, task 17] several",
        "[process 1] torchrun",
    ]


def test_names_of_others_are_shown_not_obeyed(clock, log) -> None:
    row_bar("cost of \x1b[2Jmine\n", 5)._write("x")
    assert log.getvalue() == "cost of \\x1b[2Jmine\\n: x\n"


def test_a_log_that_was_closed_stops_no_run(monkeypatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with row_bar("test", 5) as step:
        stream.close()
        step.skip(5, 5)
    tell("nobody reads this")


@pytest.mark.parametrize(
    ("seconds", "exact", "rough"),
    [
        (0.2, "0 s", "1 s"),
        (9.4, "9 s", "10 s"),
        (41, "41 s", "50 s"),
        (64, "1 min 4 s", "70 s"),
        (120, "2 min", "2 min"),
        (290, "4 min 50 s", "5 min"),
        (3600, "1 h 0 min", "1 h 0 min"),
        (7505, "2 h 5 min", "2 h 6 min"),
    ],
)
def test_durations(seconds, exact, rough) -> None:
    assert duration(seconds) == exact
    assert duration(seconds, rough=True) == rough


WATCHED = """
import sys
from calib import progress
progress.GAPS = (0.0, 60.0)
with progress.row_bar("validation", 20) as step:
    step.skip(5, 5)
    step.update(5)
    step.more(10)
    step._bar and step._bar.refresh()
with progress.waiting("loading"):
    pass
print("a result")
"""


def on_a_terminal(columns=0, **environment):
    """What a terminal gets from stderr, and what stdout holds; 0 columns are an unknown width."""
    there, here = pty.openpty()
    fcntl.ioctl(here, termios.TIOCSWINSZ, struct.pack("HHHH", 24 if columns else 0, columns, 0, 0))
    inherited = {k: v for k, v in os.environ.items() if k not in ("TERM", "NO_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-c", WATCHED],
        stdout=subprocess.PIPE,
        stderr=here,
        env={**inherited, "TERM": "xterm-256color", **environment},
        text=True,
    )
    os.close(here)
    seen = b""
    while True:
        try:
            data = os.read(there, 4096)
        except OSError:  # what Linux says at the end
            break
        if not data:
            break
        seen += data
    os.close(there)
    assert process.stdout is not None
    said = process.stdout.read()
    assert process.wait() == 0
    return seen.decode(), said


@pytest.mark.parametrize("columns", [0, 90])
def test_a_terminal_has_a_bar_that_goes_and_a_line_that_stays(columns) -> None:
    seen, said = on_a_terminal(columns, NO_COLOR="1")
    assert said == "a result\n"
    assert "validation:  25%|" in seen  # 5 of 20 were there
    assert "validation:  33%|" in seen and "| 10 of 30 rows, " in seen
    assert "rows/s, 00:00, 00:00 left" in seen
    assert "loading ..." in seen
    assert "\x1b[3" not in seen and "\x1b[9" not in seen  # no colours
    drawn = [line.split("\r") for line in seen.replace("\r\n", "\n").split("\n")]
    assert max(len(bar) for line in drawn for bar in line) <= (columns or 80)
    # The bar is wiped before the line that stays.
    assert drawn[0][-1] == "validation: 10 rows in 0 s, 5 of them from before"
    assert drawn[0][-2].isspace()


def test_a_terminal_that_cannot_move_has_lines() -> None:
    seen, _ = on_a_terminal(TERM="dumb")
    assert "\r" not in seen.replace("\r\n", "\n") and "\x1b" not in seen and "%|" not in seen
    assert "validation: 10 rows in 0 s, 5 of them from before" in seen
