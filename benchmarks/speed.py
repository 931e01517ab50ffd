"""Time of the engine against what one writes without it, in alternation in one process.

    python -m benchmarks.speed

Process CPU time and wall time, medians of five repetitions. Both sides begin at the examples (draw
the pictures, run the processor) and end at the tokens, which must be the same in every row before
anything is timed. The engine also computes each row's KL in that time, the other side does not.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from benchmarks import naive, report
from benchmarks.cases import Case, Setting, default_case, long_case
from benchmarks.memory import peak
from benchmarks.ours import Ours
from benchmarks.timing import Ready, Times, alternate
from calib.vlm.pictures import Pictures
from calib.engine.reading import read_activations


SHORT = 15
"""Repetitions of what takes less than a second."""


def main() -> None:
    """Print the tables and the ratios; write results/speed.csv and results/memory.csv."""
    report.one_thread()
    known = report.circumstances()
    print(" ".join(f"{key}={value}" for key, value in known.items()), "\n")
    default, default_all = default_case("last_prompt"), default_case("all")
    long = long_case("response")
    long_all = long_case("all", long.vlm)
    many = long_case("all", long.vlm, copies=2)
    lines = {
        "default": sweep(default),
        "default_all": sweep(default_all),
        "long_response": sweep(long),
        "long_all": sweep(long_all),
        "steered": single("steered", default_all, default.settings[-1]),
        "steered_long": single("steered", many, many.settings[-1]),
        "idle": single("idle", default, None),
        "idle_long": single("idle", many, None),
        "extract": extraction(default),
        "extract_long": extraction(many),
    }
    report.show(list(lines.values()))
    print(
        "\nSeconds are medians; spread is (slowest - fastest) / median of the CPU times, the larger "
        "of both sides:\na ratio is uncertain by about that much over the root of the repetitions.\n"
    )
    remembered = [memory(*of) for of in MEMORY]
    report.show(remembered)
    saved = report.save("speed", list(lines.values()), known)
    saved_memory = report.save("memory", remembered, known)
    print(f"\nwritten to {saved.name} and {saved_memory.name}\n")
    worse = {key: max((key, f"{key}_long"), key=lambda k: lines[k]["CPU"]) for key in SINGLE}
    print(
        *(f"{key}={lines[key]['CPU']:.1f}" for key in ("default", "long_response", "long_all")),
        *(f"{key}={lines[worse[key]]['CPU']:.2f}" for key in SINGLE),
    )


SINGLE = ("steered", "idle")
"""Of these the worse of both cases is reported."""


def sweep(case: Case) -> dict[str, object]:
    """The whole case: naive time / our time, higher is better."""
    identical = Ours(case).answer(case.rows) == naive.answer(case)
    times = alternate({"ours": _ready(case), "other": lambda: lambda: naive.answer(case)})
    return _line(f"sweep: {case.name}", "naive / ours", len(case.rows), times, identical)


def single(what: str, case: Case, setting: Setting) -> dict[str, object]:
    """One setting over a batch of prompts: our time / that of generate without hooks."""
    one = dataclasses.replace(case, settings=[setting])
    plain = dataclasses.replace(case, settings=[None])
    identical = Ours(one).answer(one.rows) == naive.answer(one)
    times = alternate({"ours": _ready(one), "other": lambda: lambda: naive.answer(plain)}, SHORT)
    return _line(f"{what}: {case.name}", "ours / plain", len(one.rows), times, identical)


def extraction(case: Case) -> dict[str, object]:
    """Every layer at the last prompt token: our time / that of one plain forward pass."""

    def read() -> Callable[[], Any]:
        fresh = dataclasses.replace(case.vlm, pictures=Pictures())
        count = len(case.examples)
        return lambda: read_activations(fresh, case.examples, "last_prompt", count)

    times = alternate({"ours": read, "other": lambda: lambda: naive.forward(case)}, SHORT)
    return _line(f"extract: {case.name}", "ours / plain", len(case.examples), times, None)


def _ready(case: Case) -> Ready:
    def ready() -> Callable[[], Any]:
        ours = Ours(case)
        return lambda: ours.answer(case.rows)

    return ready


def _line(
    what: str, ratio: str, rows: int, times: dict[str, Times], identical: bool | None
) -> dict[str, object]:
    ours, other = times["ours"], times["other"]
    cpu, wall = ours.cpu_median / other.cpu_median, ours.wall_median / other.wall_median
    if ratio == "naive / ours":
        cpu, wall = 1 / cpu, 1 / wall
    return {
        "what": what,
        "rows": rows,
        "ratio": ratio,
        "CPU": cpu,
        "wall": wall,
        "ours, s": ours.cpu_median,
        "other, s": other.cpu_median,
        "ours, wall s": ours.wall_median,
        "other, wall s": other.wall_median,
        "spread": max(ours.spread, other.spread),
        "identical": "" if identical is None else identical,
    }


MEMORY = (("default", "last_prompt"), ("long", "response"), ("long", "all"))


def memory(case: str, positions: str) -> dict[str, object]:
    """Peak memory at the same number of rows in flight: our bytes / those of the naive loop."""
    ours, other = peak("ours", case, positions), peak("naive", case, positions)
    return {
        "what": f"memory: {case}, {positions}",
        "ratio": "ours / naive",
        "peak": ours / other,
        "ours, MiB": round(ours / 2**20),
        "naive, MiB": round(other / 2**20),
    }


if __name__ == "__main__":
    main()
