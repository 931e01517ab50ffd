"""Time and memory of the engine compared with a plain hook and ``generate``.

    python -m benchmarks.speed

Both are timed in alternation in one process, from the examples (drawing images, running the
processor) to the tokens. If a single token differs, the benchmark stops. The time of a sweep
includes measuring the KL of each row.
"""

import dataclasses
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

from benchmarks import naive, report
from benchmarks.cases import Case, Setting, default_case, long_case
from benchmarks.memory import peak
from benchmarks.ours import Ours, read_layers, read_prompts
from benchmarks.timing import Ready, Times, alternate, ratio

SHORT = 9
"""Repetitions of measurements that take less than a second."""
MEMORY = (("default", "last_prompt"), ("long", "response"), ("long", "all"))


def main() -> None:
    """Print the tables and the ratios; write results/speed.csv and results/memory.csv."""
    report.one_thread()
    known = report.circumstances()
    print(" ".join(f"{key}={value}" for key, value in known.items()), "\n")
    default, default_all = default_case("last_prompt"), default_case("all")
    # With one setting, rows share nothing: use as many prompts as a user puts into one batch.
    batch, batch_all = default_case("last_prompt", every=12), default_case("all", every=12)
    long = long_case("response")
    long_all = long_case("all", long.vlm)
    many = long_case("all", long.vlm, copies=2)  # a batch of eight prompts
    lines = {
        "default": sweep(default),
        "default_all": sweep(default_all, 3),
        "long_response": sweep(long),
        "long_all": sweep(long_all),
        "steered": single("steered", batch_all, batch_all.settings[batch.mild], SHORT),
        "steered, long": single("steered", many, many.settings[many.mild]),
        "idle": single("idle", batch, None, SHORT),
        "idle, long": single("idle", many, None),
        "prompts": prompts(batch, SHORT),
        "prompts, long": prompts(many),
        "extract": extraction("extract", batch, None, SHORT),
        "extract, long": extraction("extract", many, None),
        "half": extraction("extract, lower half", many, range(many.vlm.num_layers // 2)),
    }
    report.show(list(lines.values()))
    print("\nratios: medians over pairs of repetitions, with their quartiles; seconds: medians\n")
    peaks = [memory(*case) for case in MEMORY]
    report.show(peaks)
    saved = report.save("speed", list(lines.values()), known)
    saved_memory = report.save("memory", peaks, known)
    print(f"\nwritten to {saved.name} and {saved_memory.name}\n")
    sweeps = {key: lines[key]["CPU"] for key in ("default", "long_response", "long_all")}
    singles = {key: max(lines[key]["CPU"], lines[f"{key}, long"]["CPU"]) for key in SINGLES}
    print(
        *(f"{key}={value:.1f}" for key, value in sweeps.items()),
        *(f"{key}={value:.2f}" for key, value in singles.items()),
    )


SINGLES = ("steered", "idle")
"""Measurements of which the last line has the worse of the two cases."""


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
