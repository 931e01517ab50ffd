"""Time of several ways of doing the same work, taken in alternation."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

REPETITIONS = 5

Work = Callable[[], Any]
Ready = Callable[[], Work]
"""Makes one repetition ready, untimed, and returns what is to be timed."""


@dataclass
class Times:
    """Seconds of each repetition."""

    cpu: list[float] = field(default_factory=list)
    """Of this process and all its threads: what the neighbours on the machine hardly change."""
    wall: list[float] = field(default_factory=list)

    @property
    def cpu_median(self) -> float:
        return statistics.median(self.cpu)

    @property
    def wall_median(self) -> float:
        return statistics.median(self.wall)

    @property
    def spread(self) -> float:
        """(slowest - fastest) / median of the CPU times: what of a ratio is noise."""
        return (max(self.cpu) - min(self.cpu)) / self.cpu_median


def alternate(ways: Mapping[str, Ready], repetitions: int = REPETITIONS) -> dict[str, Times]:
    """ABAB...: a slow minute of the machine meets all ways alike."""
    times = {name: Times() for name in ways}
    for _ in range(repetitions):
        for name, ready in ways.items():
            work = ready()
            gc.collect()
            wall, cpu = time.perf_counter(), time.process_time()
            work()
            times[name].cpu.append(time.process_time() - cpu)
            times[name].wall.append(time.perf_counter() - wall)
    return times
