"""Time of several ways of doing the same work, taken in alternation."""

import gc
import statistics
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Work = Callable[[], Any]
Ready = Callable[[], Work]
"""Makes one repetition ready, untimed, and returns what is to be timed."""


@dataclass
class Times:
    """Seconds of each repetition."""

    cpu: list[float] = field(default_factory=list)
    """Of this process and all its threads: what the neighbours on the machine change least."""
    wall: list[float] = field(default_factory=list)


def ratio(above: Sequence[float], below: Sequence[float]) -> tuple[float, float, float]:
    """Median, lower and upper quartile of the ratios of neighbours in time.

    What slows the machine for a while slows both of a pair.
    """
    pairs = [a / b for a, b in zip(above, below, strict=True)]
    low, middle, high = statistics.quantiles(pairs, n=4, method="inclusive")
    return middle, low, high


def alternate(
    ways: Mapping[str, Ready],
    repetitions: int,
    check: Callable[[Mapping[str, Any]], Collection[str]] | None = None,
) -> dict[str, Times]:
    """In turns, each round in the reverse order of the one before: who comes first gains nothing.

    ``check`` is given what each way returned the first time, and says which are wrong: those are
    not timed any further, and left out.
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
