"""Time and memory of the engine compared with a plain hook and ``generate``.

    python -m benchmarks.speed          # all cases
    python -m benchmarks.speed real     # only measurements whose name begins with a given word

Both are timed in alternation in one process, from the examples (drawing images, running the
processor) to the tokens. If a single token differs, the benchmark stops. The time of a sweep
includes measuring the KL of each row.
"""

import dataclasses
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from statistics import median
from typing import Any

from benchmarks import naive, report
from benchmarks.cases import Case, Setting, default_case, long_case
from benchmarks.memory import peak
from benchmarks.ours import Ours, read_layers, read_prompts
from benchmarks.real import random_smollm2, real_case
from benchmarks.timing import Ready, Times, alternate, ratio
from calib.config.choices import Positions

SHORT = 9
"""Repetitions of measurements that take less than a second."""
MEMORY = (("default", "last_prompt"), ("long", "response"), ("long", "all"))


def main() -> None:
    """Print the tables and the ratios; write results/speed.csv and results/memory.csv.

    With words as arguments, only the measurements that begin with one of them are made, and their
    lines of results/speed.csv are replaced.
    """
    report.one_thread()
    known = report.circumstances()
    print(" ".join(f"{key}={value}" for key, value in known.items()), "\n")
    lines = {
        name: measure()
        for name, measure in measurements().items()
        if not sys.argv[1:] or name.startswith(tuple(sys.argv[1:]))
    }
    if not lines:
        raise SystemExit(f"no such measurement; there are {', '.join(measurements())}")
    report.show(list(lines.values()))
    print("\nratios: medians over pairs of repetitions, with their quartiles; seconds: medians\n")
    if sys.argv[1:]:
        saved = report.update("speed", list(lines.values()), known)
    else:
        peaks = [memory(*case) for case in MEMORY]
        report.show(peaks)
        report.save("memory", peaks, known)
        saved = report.save("speed", list(lines.values()), known)
    print(f"\nwritten to {saved.parent.name}/\n")
    print(*(f"{name}={line['CPU']:.2f}" for name, line in lines.items()))


def measurements() -> dict[str, Callable[[], dict[str, Any]]]:
    """Measurements by name, in the order of the table; models are built when they are needed."""
    long_vlm = cache(lambda: long_case().vlm)
    real_vlm = cache(random_smollm2)

    # With one setting, rows share nothing: use as many prompts as a user puts into one batch.
    def batch(positions: Positions = "last_prompt") -> Case:
        return default_case(positions, every=12)

    def many() -> Case:  # a batch of eight prompts
        return long_case("all", long_vlm(), copies=2)

    def steered(case: Case, repetitions: int) -> dict[str, Any]:
        return single("steered", case, case.settings[case.mild], repetitions)

    return {
        "default": lambda: sweep(default_case("last_prompt")),
        "default_all": lambda: sweep(default_case("all"), 3),
        "long_response": lambda: sweep(long_case("response", long_vlm())),
        "long_all": lambda: sweep(long_case("all", long_vlm())),
        "real_text": lambda: sweep(real_case(real_vlm(), pictures=False)),
        "real_pictures": lambda: sweep(real_case(real_vlm(), pictures=True), 3),
        "steered": lambda: steered(batch("all"), SHORT),
        "steered_long": lambda: steered(many(), 5),
        "idle": lambda: single("idle", batch(), None, SHORT),
        "idle_long": lambda: single("idle", many(), None),
        "prompts": lambda: prompts(batch(), SHORT),
        "prompts_long": lambda: prompts(many()),
        "extract": lambda: extraction("extract", batch(), None, SHORT),
        "extract_long": lambda: extraction("extract", many(), None),
        "extract_half": lambda: extraction(
            "extract, lower half", many(), range(many().vlm.num_layers // 2)
        ),
    }


def sweep(case: Case, repetitions: int = 5) -> dict[str, Any]:
    """Time of the naive loop / time of the engine for a case; higher is better."""
    ways = {"ours": _ready(case), "other": lambda: lambda: naive.answer(case)}
    times = alternate(ways, repetitions, check=_same)
    return _line(f"sweep: {case.name}", len(case.rows), times, inverse=True)


def single(what: str, case: Case, setting: Setting, repetitions: int = 5) -> dict[str, Any]:
    """One setting over a batch of prompts: time of the engine / time of generate without hooks.

    Without KL, which would also read the unedited prompts.
    """
    edited = dataclasses.replace(case, settings=[setting])
    plain = dataclasses.replace(case, settings=[None])
    _same({"ours": Ours(edited).answer(edited.rows), "other": naive.answer(edited)})
    ways = {"ours": _ready(edited, kl=False), "other": lambda: lambda: naive.answer(plain)}
    return _line(f"{what}: {case.name}", len(edited.rows), alternate(ways, repetitions))


def prompts(case: Case, repetitions: int = 5) -> dict[str, Any]:
    """The part before the decoder: the processor and the vision tower."""
    ways: dict[str, Ready] = {
        "ours": lambda: read_prompts(case),
        "other": lambda: lambda: naive.encode(case),
    }
    return _line(f"prompts: {case.name}", len(case.examples), alternate(ways, repetitions))


def extraction(what: str, case: Case, layers: range | None, repetitions: int = 5) -> dict[str, Any]:
    """Activations at the last prompt token: time of calib / time of one plain forward pass."""
    ways: dict[str, Ready] = {
        "ours": lambda: read_layers(case, layers),
        "other": lambda: lambda: naive.forward(case),
    }
    return _line(f"{what}: {case.name}", len(case.examples), alternate(ways, repetitions))


def memory(case: str, positions: str) -> dict[str, Any]:
    """Peak memory with equally many rows: bytes of the engine / bytes of the naive loop."""
    with ThreadPoolExecutor(2) as pool:  # in parallel, because no time is measured
        ours, other = pool.map(lambda way: peak(way, case, positions), ("ours", "naive"))
    return {
        "memory": f"{case}, {positions}",
        "ours / naive": ours / other,
        "ours, MiB": round(ours / 2**20),
        "naive, MiB": round(other / 2**20),
    }


def _ready(case: Case, kl: bool = True) -> Ready:
    ours = Ours(case, kl=kl)

    def ready() -> Callable[[], Any]:
        ours.forget()
        return lambda: ours.answer(case.rows)

    return ready


def _same(returned: Mapping[str, list[naive.Tokens]]) -> tuple[()]:
    differing = sum(a != b for a, b in zip(returned["ours"], returned["other"], strict=True))
    if differing:
        raise SystemExit(
            f"{differing} rows have other tokens than in the naive loop, so nothing was timed"
        )
    return ()


def _line(what: str, rows: int, times: dict[str, Times], inverse: bool = False) -> dict[str, Any]:
    ours, other = times["ours"], times["other"]
    above, below = (other, ours) if inverse else (ours, other)
    middle, low, high = ratio(above.cpu, below.cpu)
    return {
        "time": what,
        "ratio": "naive / ours" if inverse else "ours / plain",
        "CPU": middle,
        "lower": low,
        "upper": high,
        "wall": ratio(above.wall, below.wall)[0],
        "rows": rows,
        "repetitions": len(ours.cpu),
        "ours, CPU s": median(ours.cpu),
        "other, CPU s": median(other.cpu),
        "ours, wall s": median(ours.wall),
        "other, wall s": median(other.wall),
    }


if __name__ == "__main__":
    main()
