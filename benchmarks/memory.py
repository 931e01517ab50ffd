"""Peak memory of one way of answering a case, in a process that does nothing else (Linux).

speed.py starts one process for each; nobody else need call this:

    python -m benchmarks.memory ours|naive default|long POSITIONS
"""

import os
import subprocess
import sys
from pathlib import Path

ROWS = {"default": 32, "long": 16}
"""Rows in flight on both sides."""
SETTINGS = 3
"""Enough that the engine's rows wait for each other; the naive loop's peak is the same for any."""

# glibc keeps what is freed; given back at once, the peak is what was really in use.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "262144", "MALLOC_TRIM_THRESHOLD_": "262144"}


def peak(way: str, case: str, positions: str) -> int:
    """Bytes that answering took above what the loaded and warmed-up model holds."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", way, case, positions],
        env={**os.environ, **ALLOCATOR},
        cwd=Path(__file__).parents[1],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return int(done.stdout.split()[-1])


def _measure(way: str, name: str, positions: str) -> int:
    import dataclasses
    from functools import partial

    from benchmarks import naive, report
    from benchmarks.cases import default_case, long_case
    from benchmarks.ours import Ours

    report.one_thread()
    rows = ROWS[name]
    made = {"default": default_case, "long": partial(long_case, copies=rows // 4)}
    case = made[name](positions)
    case = dataclasses.replace(
        case, examples=case.examples[:rows], settings=case.settings[-SETTINGS:]
    )
    warm_up = dataclasses.replace(case, examples=case.warm_up, settings=[None])
    if way == "ours":
        ours = Ours(case, batch_rows=rows)
        ours.answer(warm_up.rows)
    else:
        naive.answer(warm_up)
    # The high-water mark of this process alone: ru_maxrss also remembers whoever started it, and
    # what loading took.
    Path("/proc/self/clear_refs").write_text("5")
    before = _mark()
    if way == "ours":
        ours.answer(case.rows)
    else:
        naive.answer(case)
    return _mark() - before


def _mark() -> int:
    status = Path("/proc/self/status").read_text()
    return next(int(s.split()[1]) for s in status.splitlines() if s.startswith("VmHWM")) * 1024


if __name__ == "__main__":
    print(_measure(*sys.argv[1:]))
