"""Commands that are killed at random moments and run again, compared with undisturbed ones.

    python -m benchmarks.kill kills=25
    python -m benchmarks.kill kills=8 only=sweep,remote seed=1
    python -m benchmarks.kill only=points            # at each change of a file in a sweep

Each kill is a SIGKILL at a random moment of a random phase: start-up, loading, reading
activations, fitting, generating, judging, scoring, drawing. The same command is run again, and
after up to four kills it runs undisturbed; every file of its folder is then compared byte by byte
with that of a command that was never killed. With a remote model, every third kill hits the server.

The kinds of commands run side by side. Left out of the comparison: the dates in run.json, and, of
rows of a remote model, the seconds that a request took and the order of the lines, which is that of
arrival.
"""

import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import kill_commands, report
from benchmarks.kill_process import SHORTEST, Logged, Target

KINDS = ("sweep", "judge", "extract", "remote")
POINTS = "points"
"""A sweep that is killed at each change of a file instead of at random moments."""
PER_STORY = 4
"""Most kills before a command runs undisturbed."""
RECORDS = ("rows.jsonl", "verdicts.jsonl")
TRIES = 4
"""Runs after a kill of the server: the command may give up before the server is back."""


def main(*arguments: str) -> None:
    """Kill, compare, write results/kill.csv, and exit with 1 where anything differs."""
    settings = dict(argument.split("=", 1) for argument in arguments)
    kills, seed = int(settings.pop("kills", 25)), int(settings.pop("seed", 0))
    chosen = settings.pop("only", ",".join(KINDS)).split(",")
    only = [kind for kind in (*KINDS, POINTS) if kind in chosen]
    if settings or len(only) < len(chosen):
        sys.exit(f"there are kills=, seed= and only={','.join(KINDS)},{POINTS}; not {arguments}")
    os.environ["CALIB_KILL_KEY"] = "none"
    known = report.circumstances()
    lines: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name, ExitStack() as servers:
        base = Path(name)
        at_random = [kind for kind in only if kind != POINTS]
        numbers = Counter(at_random[k % len(at_random)] for k in range(kills if at_random else 0))
        trials = [
            Trial(kind, base, random.Random(f"{seed} {kind}"), servers)
            for kind in only
            if numbers[kind] or kind == POINTS
        ]
        with ThreadPoolExecutor(len(trials)) as pool:
            counts = [numbers[trial.kind] for trial in trials]
            for killed in pool.map(Trial.killed, trials, counts):
                lines += killed
    report.show(lines)
    if set(only) == set(KINDS):
        report.save("kill", lines, known)
    identical = all(line["identical"] for line in lines)
    bounded = all(line["rows_lost"] <= line["in_flight"] for line in lines)
    if not bounded:
        print("a kill cost more rows than were in flight")
    print(
        f"kills={len(lines)} identical={str(identical).lower()} "
        f"regenerated_rows={sum(line['rows_lost'] for line in lines)}"
    )
    sys.exit(0 if identical and bounded else 1)


class Trial:
    """An undisturbed run of one kind of command, and stories of kills that end as it does."""

    def __init__(self, kind: str, base: Path, rng: random.Random, servers: ExitStack) -> None:
        self.kind, self.base, self.rng, self.stories = kind, base, rng, 0
        self.command = self._command(servers)
        self.reference = self._folder("undisturbed")
        logged = self._start(self.reference)
        logged.wait()
        if logged.process.returncode:
            sys.exit(f"the undisturbed {kind} failed:\n{logged.output()}")
        self.progress = logged.progress
        self.durations = logged.progress.durations(time.monotonic())

    def _command(self, servers: ExitStack) -> kill_commands.Command:
        if self.kind == "judge":
            finished = self.base / "sweep-undisturbed" / "run"
            if not finished.exists():
                Trial("sweep", self.base, self.rng, servers)
            url = servers.enter_context(kill_commands.judge_endpoint())
            return kill_commands.judge(finished, url)
        if self.kind == "remote":
            server = kill_commands.Served(self.base / "serve.log")
            servers.callback(server.kill)
            return kill_commands.remote(server)
        return kill_commands.extract() if self.kind == "extract" else kill_commands.sweep()

    def killed(self, count: int) -> list[dict[str, Any]]:
        """One line per kill: ``count`` at random moments, or one at each change of a file."""
        lines = self._points() if self.kind == POINTS else self._kills(count)
        print(f"{self.kind}: {len(lines)} kills in {self.stories} stories", flush=True)
        return lines

    def _kills(self, count: int) -> list[dict[str, Any]]:
        lines: list[dict[str, Any]] = []
        phases = self._phases()
        while len(lines) < count:
            drawn = [
                Target(next(phases), self.rng.random())
                for _ in range(min(PER_STORY, count - len(lines)))
            ]
            order = list(self.durations)
            drawn.sort(key=lambda target: (order.index(target.phase), target.share))
            lines += self._story(drawn, first=len(lines))
        return lines

    def _points(self) -> list[dict[str, Any]]:
        lines: list[dict[str, Any]] = []
        points = list(dict.fromkeys(self.progress.changes))
        while points:
            before = len(points)
            lines += self._story(points, first=len(lines))
            if len(points) == before:
                print(f"{self.kind}: not reached, and left out: {points.pop(0)}", flush=True)
        return lines

    def _story(self, targets: list[Any], first: int) -> list[dict[str, Any]]:
        """Run, kill and run again until a run ends by itself; points that were hit leave the list.

        The last line also counts the rows that the last, undisturbed run made a second time.
        """
        self.stories += 1
        folder = self._folder(str(self.stories))
        lines: list[dict[str, Any]] = []
        for target in list(targets):
            recorded = _recorded(folder)
            hits_server = self.command.server is not None and (first + len(lines)) % 3 == 2
            point = target if isinstance(target, str) else None
            logged = self._start(folder, point or "-")
            if point:
                logged.wait()
                hit = logged.process.returncode == -signal.SIGKILL
            else:
                hit = target.wait(logged, self.durations)
            phase = logged.progress.phase
            if hit and hits_server:
                self.command.server.kill()
                self.command.server.start()
                logged.wait()
            else:
                logged.kill()
            made = logged.progress.counts.get(self.command.counted, 0)
            lost = made - (_recorded(folder) - recorded)
            if not hit:
                break
            targets.remove(target)
            lines.append(
                {
                    "kind": self.kind,
                    "story": self.stories,
                    "killed": "server" if hits_server else "command",
                    "moment": point or phase,
                    "rows_lost": lost,
                    "in_flight": self.command.in_flight,
                    "identical": True,
                }
            )
        differing = self._finish(folder)
        for line in lines:
            line["identical"] = not differing
        for difference in differing:
            print(f"{self.kind}, story {self.stories}: {difference}", flush=True)
        return lines

    def _finish(self, folder: Path) -> list[str]:
        for _ in range(TRIES):
            logged = self._start(folder)
            logged.wait()
            if not logged.process.returncode:
                return list(differences(self.reference, folder, self.command.is_ordered))
        return [f"exit code {logged.process.returncode}:\n{logged.output()}"]

    def _phases(self) -> Iterator[str]:
        """Phases in a random order, each as often as the others."""
        phases = [name for name, seconds in self.durations.items() if seconds >= SHORTEST]
        while True:
            yield from self.rng.sample(phases, len(phases))

    def _folder(self, name: str) -> Path:
        folder = self.base / f"{self.kind}-{name}"
        folder.mkdir()
        self.command.prepare(folder)
        return folder

    def _start(self, folder: Path, point: str = "-") -> Logged:
        return Logged(self.command.arguments, folder, folder.with_suffix(".log"), point)


def differences(expected: Path, found: Path, is_ordered: bool = True) -> Iterator[str]:
    """The files that only one of two folders has, or that differ."""
    names = [
        {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        for folder in (expected, found)
    ]
    for name in sorted(names[0] | names[1]):
        if name not in names[1]:
            yield f"{name} is missing"
        elif name not in names[0]:
            yield f"{name} is left over"
        elif _content(expected / name, is_ordered) != _content(found / name, is_ordered):
            yield f"{name} differs"


def _content(path: Path, is_ordered: bool) -> object:
    """What must be equal in a file of a run."""
    data = path.read_bytes()
    if path.name == "run.json":
        manifest = json.loads(data)
        for dated in (manifest["provenance"], *manifest.get("sessions", [])):
            dated.pop("date", None)
        return manifest
    if path.name == "rows.jsonl" and not is_ordered:
        rows = [json.loads(line) for line in data.splitlines()]
        return sorted(json.dumps(_timeless(row), sort_keys=True) for row in rows)
    return data


def _timeless(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in ("seconds", "crc32")}


def _recorded(folder: Path) -> int:
    """Number of complete lines in the records of a folder."""
    return sum(
        path.read_bytes().count(b"\n") for path in folder.rglob("*.jsonl") if path.name in RECORDS
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
