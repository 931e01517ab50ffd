"""All properties, and the requests of schemathesis, with random examples for a given time.

    python -m benchmarks.fuzz minutes=10
    python -m benchmarks.fuzz minutes=2 only=test_rates seed=7

The properties of tests/properties take turns, each time with another seed and the profile "fuzz".
One that fails is written to a file in ``out``, with the command that repeats it, and the others go
on. The last line has the counts, and results/fuzz.csv a line per run.
"""

import datetime
import functools
import itertools
import os
import random
import re
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from _pytest.runner import runtestprotocol

from benchmarks import report

CHECKOUT = Path(__file__).parents[1]
PROPERTIES = CHECKOUT / "tests" / "properties"
PROFILE = "--hypothesis-profile=fuzz"


class Turns:
    """A plugin of pytest that runs the collected properties in turn until the time is over."""

    def __init__(self, minutes: float, seed: int, out: Path) -> None:
        self.minutes, self.random, self.out = minutes, random.Random(seed), out
        self.examples = self.turns = self.properties = 0
        self.failures: Counter[str] = Counter()
        self._seed = 0
        self._counted: set[int] = set()

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            raise session.Interrupted("the properties cannot be collected")
        items = [item for item in session.items if hasattr(_function(item), "hypothesis")]
        if not items:
            raise session.Interrupted("no property has such a name")
        self.properties = len(items)
        end = time.monotonic() + 60 * self.minutes
        for item, following in itertools.pairwise(itertools.cycle(items)):
            self._prepare(item)
            runtestprotocol(item, nextitem=following)
            self.turns += 1
            if time.monotonic() >= end:
                break
        session._setupstate.teardown_exact(None)
        return True

    def _prepare(self, item: pytest.Item) -> None:
        """Give the property another seed, and count its examples."""
        item._initrequest()  # type: ignore[attr-defined]
        self._seed = self.random.getrandbits(32)
        function = _function(item)
        hypothesis.seed(self._seed)(function)
        if id(function) not in self._counted:
            self._counted.add(id(function))
            function.hypothesis.inner_test = self._counting(function.hypothesis.inner_test)

    def _counting(self, inner: Any) -> Any:
        @functools.wraps(inner)
        def counted(*arguments: Any, **named: Any) -> Any:
            self.examples += 1
            return inner(*arguments, **named)

        return counted

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.failed:
            return
        self.failures[report.nodeid] += 1
        command = f"python -m pytest '{report.nodeid}' {PROFILE} --hypothesis-seed={self._seed}"
        self.out.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"\W+", "_", report.nodeid.rpartition("/")[2])
        path = self.out / f"{name}_{self._seed}.txt"
        path.write_text(f"{command}\n\n{report.longreprtext}\n", encoding="utf-8")
        print(f"\nfailed: {command}\n  {path}", flush=True)


def _function(item: pytest.Item) -> Any:
    return getattr(item.obj, "__func__", item.obj)  # type: ignore[attr-defined]


def main(*arguments: str) -> None:
    """Run the properties, write failing ones, and add a line to results/fuzz.csv."""
    settings = dict(argument.split("=", 1) for argument in arguments)
    minutes = float(settings.pop("minutes", 10))
    seed = int(settings.pop("seed", random.SystemRandom().getrandbits(32)))
    out = Path(settings.pop("out", "fuzz_failures"))
    only = settings.pop("only", "")
    if settings:
        sys.exit(f"unknown settings: {', '.join(settings)}; there are minutes, seed, only and out")
    started = datetime.datetime.now().isoformat(" ", "minutes")
    known = report.circumstances()
    turns = Turns(minutes, seed, out.resolve())
    os.chdir(CHECKOUT)
    options = ["-qq", "--no-header", "--no-summary", "-p", "no:cacheprovider", PROFILE]
    pytest.main([str(PROPERTIES), *options, *(["-k", only] if only else [])], plugins=[turns])
    if not turns.turns:
        sys.exit(2)
    line = {
        "started": started,
        "minutes": minutes,
        "cpu_minutes": time.process_time() / 60,
        "seed": seed,
        "properties": turns.properties,
        "turns": turns.turns,
        "examples": turns.examples,
        "failures": len(turns.failures),
        "failing": " ".join(sorted(name.rpartition("/")[2] for name in turns.failures)),
    }
    if not only:
        earlier = report.saved_lines("fuzz", report.RESULTS)
        report.save("fuzz", [*earlier, {**line, **known}], {}, report.RESULTS)
    print(
        f"\nproperties={turns.properties} turns={turns.turns} examples={turns.examples} "
        f"failures={len(turns.failures)} minutes={minutes:g} "
        f"cpu_minutes={line['cpu_minutes']:.1f} seed={seed}"
    )
    sys.exit(1 if turns.failures else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
