"""Time several implementations of the same work in alternation."""

import gc
import statistics
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Work = Callable[[], Any]
Ready = Callable[[], Work]
"""Prepares one repetition, which is not timed, and returns the work to time."""


@dataclass
class Times:
    """Seconds of each repetition."""

    cpu: list[float] = field(default_factory=list)
    """CPU time of this process with all threads; least affected by other processes."""
    wall: list[float] = field(default_factory=list)


def ratio(above: Sequence[float], below: Sequence[float]) -> tuple[float, float, float]:
    """Median, lower and upper quartile of the ratios of consecutive measurements.

    A temporary slowdown of the machine affects both measurements of a pair.
    """
    pairs = [a / b for a, b in zip(above, below, strict=True)]
    low, middle, high = statistics.quantiles(pairs, n=4, method="inclusive")
    return middle, low, high


def alternate(
    ways: Mapping[str, Ready],
    repetitions: int,
    check: Callable[[Mapping[str, Any]], Collection[str]] | None = None,
) -> dict[str, Times]:
    """Time each way once per round, in an order that is reversed every round.

    ``check`` gets the results of the first round and returns the names of the wrong ones, which are
    dropped.
    """
    times = {name: Times() for name in ways}
    for repetition in range(repetitions):
        returned = {}
        for name in list(times)[:: 1 if repetition % 2 == 0 else -1]:
            work = ways[name]()
            gc.collect()
            wall, cpu = time.perf_counter(), time.process_time()
            returned[name] = work()
            times[name].cpu.append(time.process_time() - cpu)
            times[name].wall.append(time.perf_counter() - wall)
        if repetition == 0 and check is not None:
            for name in check(returned):
                del times[name]
    return times
