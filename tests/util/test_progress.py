"""Progress of a step: lines in a log, a bar on a terminal, and the remaining time."""

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from types import SimpleNamespace

import pytest

from calib.util import progress
from calib.util.progress import duration, job_label, log_line, row_bar, waiting


class Clock:
    """A clock that a test sets."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Waits:
    """In place of the event at the end of a step: a wait passes at once and runs an action."""

    def __init__(self, clock, actions):
        self.clock, self.actions, self.gaps = clock, list(actions), []

    def wait(self, gap):
        if not self.actions:
            return True
        self.gaps.append(gap)
        self.clock.now += gap
        self.actions.pop(0)()
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
    """The text on stderr so far."""
    so_far = io.StringIO()

    def getvalue():
        captured = capsys.readouterr()
        assert captured.out == ""  # stdout is for results
        so_far.write(captured.err)
        return so_far.getvalue()

    return SimpleNamespace(getvalue=getvalue)


def lines_of(step, clock, log, actions):
    """The lines of a step and the gaps between them, with one action before each line."""
    waits = Waits(clock, actions)
    step._over = waits
    step._write_at_intervals()
    return log.getvalue().splitlines(), waits.gaps


def test_lines_show_counts_duration_and_remaining_time(clock, log) -> None:
    step = row_bar("validation", 67_386)
    actions = [lambda: None, lambda: step.update(6_000), lambda: step.update(6_000)]
    lines, _ = lines_of(step, clock, log, actions)
    assert lines == [
        "validation: 0 of 67,386 rows (0%), 10 s",
        "validation: 6,000 of 67,386 rows (8%), 30 s, about 6 min left",  # 307 s
        "validation: 12,000 of 67,386 rows (17%), 1 min 10 s, about 6 min left",  # 323 s
    ]


def test_the_remaining_time_follows_the_last_rows_and_grows_while_none_ends(clock, log) -> None:
    step = row_bar("test", 100)
    actions = [lambda: step.update(90), lambda: step.update(7), lambda: None, lambda: None]
    lines, _ = lines_of(step, clock, log, actions)
    left = [re.search(r"\(9\d%\), .*, about (.*) left", line)[1] for line in lines]
    # 97 rows in 30 s would leave a second for the last three. They are as slow as the seven before
    # them, and nothing ends for another 40 and 100 s.
    assert left == ["2 s", "9 s", "40 s", "2 min"]


@pytest.mark.parametrize(("ended", "left"), [(255, "about 50 s"), (511, "about 20 s")])
def test_the_last_row_of_a_batch_does_not_count_alone(clock, log, ended, left) -> None:
    step = row_bar("test", 800)
    for count, seconds in ((ended, 7), (1, 3)):
        clock.now += seconds
        step.update(count)
    lines, _ = lines_of(step, clock, log, [lambda: None])
    assert left in lines[0], lines


def test_gaps_grow_up_to_a_minute(clock, log) -> None:
    _, gaps = lines_of(row_bar("test", 10), clock, log, [lambda: None] * 6)
    assert gaps == [10, 20, 40, 60, 60, 60]


def test_skipped_rows_count_as_done_but_not_for_the_remaining_time(clock, log) -> None:
    step = row_bar("test", 1_000)
    step.skip(900, 900)
    # 10 rows took 10 s, so the remaining 90 take 90 s. At 910 rows in 10 s it would be one second.
    lines, _ = lines_of(step, clock, log, [lambda: step.update(10)])
    assert lines == ["test: 910 of 1,000 rows (91%, 900 already saved), 10 s, about 90 s left"]


def test_the_rate_of_a_bar_excludes_skipped_rows() -> None:
    step = row_bar("test", 10)
    step._bar = SimpleNamespace(initial=0, n=2, last_print_n=1, refresh=lambda: None)
    step.skip(5, 5)
    # tqdm computes its rate from n - initial, and from n - last_print_n since it was last drawn.
    assert (step._bar.initial, step._bar.n, step._bar.last_print_n) == (5, 7, 6)


def test_rows_that_were_unknown_at_the_start_extend_the_total(clock, log) -> None:
    step = row_bar("test", 10)
    step.update(10)
    step.extend(30)
    lines, _ = lines_of(step, clock, log, [lambda: None])
    assert lines == ["test: 10 of 40 rows (25%), 10 s, about 30 s left"]


def test_reading_prompts_is_shown_before_the_first_token(clock, log) -> None:
    step = row_bar("test", 40)
    step.expect_tokens(lambda: "reading prompts: 300 tokens")
    actions = [lambda: None, lambda: step.count_tokens(12), lambda: step.update(1)]
    lines, _ = lines_of(step, clock, log, actions)
    assert lines[:2] == [
        "test: 0 of 40 rows (0%), reading prompts: 300 tokens, 10 s",
        "test: 0 of 40 rows (0%), 12 tokens, 30 s",
    ]
    assert "reading" not in lines[2]


def test_tokens_are_shown_before_the_first_row_ends(clock, log) -> None:
    step = row_bar("test", 40)
    lines, _ = lines_of(step, clock, log, [lambda: step.count_tokens(1_204)])
    assert lines == ["test: 0 of 40 rows (0%), 1,204 tokens, 10 s"]


def test_a_total_that_may_still_grow_is_said_to() -> None:
    step = row_bar("test", 40)
    step.may_grow = True
    assert step._so_far().startswith("0 of 40 rows or more (0%)")


def test_a_long_step_ends_with_its_duration_and_a_short_step_silently(clock, log) -> None:
    for seconds in (9.9, 10.0, 363.0):
        with row_bar("judging", 3_204, "responses", "judged") as step:
            step.skip(4, 0)
            step.update(3_200)
            clock.now += seconds
    assert log.getvalue().splitlines() == [
        "judging: 3,204 responses in 10 s, 4 of them already saved",
        "judging: 3,204 responses in 6 min 3 s, 4 of them already saved",
    ]


def test_items_of_an_earlier_run_are_reported_in_one_line(clock, log) -> None:
    with row_bar("judging", 3_204, "responses", "judged") as step:
        step.skip(3_204, 3_204)
    with row_bar("test", 8) as step:  # one of them from this run: nothing to report
        step.skip(8, 7)
    with row_bar("nothing", 0):
        pass
    assert log.getvalue() == "judging: all 3,204 responses were judged before\n"


def test_a_failing_step_reports_nothing(clock, log) -> None:
    with pytest.raises(KeyboardInterrupt), row_bar("test", 8) as step:
        step.skip(8, 8)
        clock.now += 60
        raise KeyboardInterrupt
    assert log.getvalue() == ""


def test_a_step_of_unknown_length_shows_its_duration(clock, log) -> None:
    lines, _ = lines_of(waiting("loading"), clock, log, [lambda: None] * 2)
    assert lines == ["loading: 10 s so far", "loading: 30 s so far"]
    with waiting("loading"):
        clock.now += 75
    assert log.getvalue().splitlines()[2:] == ["loading: took 1 min 15 s"]


def test_lines_are_written_by_a_thread_and_flushed(clock, monkeypatch) -> None:
    """A step that hangs also shows its progress, and nothing stays in a buffer."""

    class Stream(io.StringIO):
        flushed = threading.Event()

        def flush(self):
            if self.getvalue():
                self.flushed.set()

    stream = Stream()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "GAPS", (0.01, 3600.0))
    with row_bar("test", 5):
        assert stream.flushed.wait(20)
        assert stream.getvalue() == "test: 0 of 5 rows (0%), 0 s\n"
        monkeypatch.setattr(progress, "GAPS", (3600.0,))
    assert stream.getvalue().count("\n") == 1


def test_jobs_and_processes_in_one_log_have_labels(clock, log, monkeypatch) -> None:
    with job_label("method=steer seed=\x1b[1m"):
        log_line("inside")
        step = row_bar("test", 5)
    log_line("alone")
    step._write("later")  # the label from its start
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setenv("SLURM_PROCID", "0")
    log_line("one task")
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_PROCID", "3")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "17")
    log_line("several")
    monkeypatch.delenv("SLURM_NTASKS")
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    log_line("torchrun")
    assert log.getvalue().splitlines() == [
        "[method=steer seed=\\x1b[1m] inside",
        "alone",
        "[method=steer seed=\\x1b[1m] test: later",
        "one task",
        "[process 3, task 17] several",
        "[process 1] torchrun",
    ]


def test_control_characters_in_names_are_escaped(clock, log) -> None:
    row_bar("cost of \x1b[2Jmine\n", 5)._write("x")
    assert log.getvalue() == "cost of \\x1b[2Jmine\\n: x\n"


def test_a_closed_log_does_not_stop_the_run(monkeypatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with row_bar("test", 5) as step:
        stream.close()
        step.skip(5, 5)
    log_line("nobody reads this")


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
from calib.util import progress
progress.GAPS = (0.0, 60.0)
progress.monotonic = lambda: 100.0  # however slow the machine is
with progress.row_bar("validation", 20) as step:
    step.skip(5, 5)
    step.update(5)
    step.extend(10)
    step._bar and step._bar.refresh()
with progress.waiting("loading"):
    pass
print("a result")
"""


def on_a_terminal(columns=0, **environment):
    """The text on a terminal as stderr, and on stdout; 0 columns mean an unknown width."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24 if columns else 0, columns, 0, 0))
    inherited = {k: v for k, v in os.environ.items() if k not in ("TERM", "NO_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-c", WATCHED],
        stdout=subprocess.PIPE,
        stderr=slave,
        env={**inherited, "TERM": "xterm-256color", **environment},
        encoding="utf-8",
    )
    os.close(slave)
    written = b""
    while True:
        try:
            data = os.read(master, 4096)
        except OSError:  # end of file on Linux
            break
        if not data:
            break
        written += data
    os.close(master)
    assert process.stdout is not None
    output = process.stdout.read()
    assert process.wait() == 0
    return written.decode(), output


@pytest.mark.parametrize("columns", [0, 90])
def test_a_terminal_has_a_moving_bar_and_a_line_at_the_end(columns) -> None:
    screen, output = on_a_terminal(columns, NO_COLOR="1")
    assert output == "a result\n"
    assert "validation:  25%|" in screen  # 5 of 20 were skipped
    assert "validation:  33%|" in screen and "| 10 of 30 rows, " in screen
    assert re.search(r"rows/s, \d\d:\d\d, \d\d:\d\d left", screen)  # times of tqdm
    assert "loading ..." in screen
    assert "\x1b[3" not in screen and "\x1b[9" not in screen  # no colours
    drawn = [line.split("\r") for line in screen.replace("\r\n", "\n").split("\n")]
    assert max(len(bar) for line in drawn for bar in line) <= (columns or 80)
    # The bar is erased before the last line.
    assert drawn[0][-1] == "validation: 10 rows in 0 s, 5 of them already saved"
    assert drawn[0][-2].isspace()


def test_a_terminal_without_cursor_movement_has_lines() -> None:
    screen, _ = on_a_terminal(TERM="dumb")
    assert "\r" not in screen.replace("\r\n", "\n") and "\x1b" not in screen and "%|" not in screen
    assert "validation: 10 rows in 0 s, 5 of them already saved" in screen


def test_a_bar_without_a_total_is_used_in_a_notebook(monkeypatch) -> None:
    from tqdm import tqdm

    bar = tqdm(total=None, file=io.StringIO())
    monkeypatch.setattr("calib.util.progress._notebook_bar", lambda _: bar)
    with progress.Step("loading", None, "", "") as step:
        assert step._bar is bar
