"""Peak memory of the engine or the naive loop on one case, in a process of its own (Linux).

speed.py starts the processes; there is usually no need to call this directly:

    python -m benchmarks.memory ours|naive default|long POSITIONS
"""

import os
import subprocess
import sys
from pathlib import Path

ROWS = {"default": 32, "long": 16}
"""Rows that decode together, in the engine and in the naive loop."""
SETTINGS = 3
"""Enough for rows to queue in the engine; the naive loop's peak does not depend on it."""

# By default, glibc keeps freed memory; returned at once, the peak is what was in use.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "262144", "MALLOC_TRIM_THRESHOLD_": "262144"}


def peak(way: str, case: str, positions: str) -> int:
    """Peak bytes while generating, without those of the loaded and warmed-up model."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", way, case, positions],
        env={**os.environ, **ALLOCATOR},
        cwd=Path(__file__).parents[1],
        check=True,
        stdout=subprocess.PIPE,
        encoding="utf-8",
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
    # Resets the high-water mark: ru_maxrss would include the parent process and model loading.
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    before = _mark()
    if way == "ours":
        ours.answer(case.rows)
    else:
        naive.answer(case)
    return _mark() - before


def _mark() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(s.split()[1]) for s in status.splitlines() if s.startswith("VmHWM")) * 1024


if __name__ == "__main__":
    print(_measure(*sys.argv[1:]))
