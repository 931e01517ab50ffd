"""Time of other tools compared with the engine: same model, same rows, same tokens.

    python -m benchmarks.peers

A way of using a tool is timed, in alternation with the engine, only if it gives the tokens of a
plain hook in every row. Each tool has its own copy of the model, because two of them modify it.
Tools that are not installed are skipped.
"""

import copy
import dataclasses
import importlib
import importlib.metadata
from collections.abc import Callable, Mapping
from functools import partial
from statistics import median
from typing import Any

from benchmarks import naive, report
from benchmarks.cases import Case, default_case, long_case
from benchmarks.ours import Ours
from benchmarks.peers.ways import layer_by_layer, setting_by_setting
from benchmarks.timing import Ready, alternate, ratio

PEERS = {
    "nnsight": ("with_nnsight", "Nnsight", "pip install -c constraints.txt nnsight==0.8.1"),
    "pyvene": ("with_pyvene", "Pyvene", "pip install -c constraints.txt pyvene==0.1.8"),
    "steering-vectors": (
        "with_steering_vectors",
        "SteeringVectors",
        "pip install --no-deps steering-vectors==0.12.2",
    ),
}
"""Module, class and installation command, by distribution."""
OURS = "ours"
BEYOND = "a batch per layer"
"""A way that no tool's documentation shows, although its interface allows it."""

Way = Callable[[], Any]


def main() -> None:
    """Print the table and the smallest ratios; write results/peers.csv."""
    report.one_thread()
    known = report.circumstances()
    print(" ".join(f"{key}={value}" for key, value in known.items()), "\n")
    installed = {name: peer for name in PEERS if (peer := _class(name)) is not None}
    if not installed:
        print("no peer is installed: nothing to compare")
        return
    lines = []
    for case, repetitions in cases():
        expected = naive.answer(case)
        for name, peer_class in installed.items():
            vlm = dataclasses.replace(case.vlm, model=copy.deepcopy(case.vlm.model))
            lines += compare(name, peer_class(vlm), case, expected, repetitions)
    report.show(lines)
    print(f"\nwritten to {report.save('peers', lines, known).name}\n")
    timed = [line for line in lines if line["peer / ours"] != "wrong"]
    documented = [line["peer / ours"] for line in timed if line["way"] != BEYOND]
    print(
        f"documented={min(documented):.1f}",
        f"any_way={min(line['peer / ours'] for line in timed):.1f}",
    )


def cases() -> list[tuple[Case, int]]:
    """Cases, and the number of repetitions of each."""
    mini = []
    for positions, only in (("all", "text"), ("all", "pictures"), ("response", "pictures")):
        case = default_case(positions, only)  # type: ignore[arg-type]
        two_layers = [case.settings[0], *case.settings[21:41]]
        case = dataclasses.replace(case, name=f"mini, {only}, {positions}", settings=two_layers)
        mini.append((case, 5))
    long = long_case("all")
    return [*mini, (long, 3), (long_case("response", long.vlm), 3)]


def compare(
    name: str, peer: Any, case: Case, expected: list[naive.Tokens], repetitions: int
) -> list[dict[str, Any]]:
    """A line for each way of using a tool."""
    ways: dict[str, Way] = {"a batch per setting": partial(setting_by_setting, peer, case)}
    if case.vlm.name != "long":  # bound by arithmetic: larger batches gain nothing
        ways[BEYOND] = partial(layer_by_layer, peer, case)
    if hasattr(peer, "invoke_by_invoke") and not any(e.picture for e in case.examples):
        ways["a batch of invokes"] = partial(peer.invoke_by_invoke, case)
    engine = Ours(case)

    def ours() -> Way:
        engine.forget()
        return lambda: engine.answer(case.rows)

    def wrong(returned: Mapping[str, Any]) -> list[str]:
        if returned[OURS] != expected:
            raise SystemExit(f"the engine's tokens differ from the naive loop's: {case.name}")
        for way, answers in returned.items():
            if isinstance(answers, Exception):
                print(f"{name}, {case.name}, {way}: {type(answers).__name__}: {answers}"[:200])
        return [way for way, answers in returned.items() if answers != expected]

    ready: dict[str, Ready] = {way: partial(_guarded, run) for way, run in ways.items()}
    times = alternate({OURS: ours, **ready}, repetitions, wrong)
    lines = []
    for way in ways:
        line = {"peer": f"{name} {importlib.metadata.version(name)}", "case": case.name}
        line |= {"rows": len(case.rows), "way": way}
        timed = dict.fromkeys(("peer / ours", "wall", "peer, CPU s", "ours, CPU s"), "wrong")
        if way in times:
            peer_times, our_times = times[way], times[OURS]
            timed = {
                "peer / ours": ratio(peer_times.cpu, our_times.cpu)[0],
                "wall": ratio(peer_times.wall, our_times.wall)[0],
                "peer, CPU s": median(peer_times.cpu),
                "ours, CPU s": median(our_times.cpu),
            }
        lines.append(line | timed)
    return lines


def _guarded(run: Way) -> Way:
    def guarded() -> Any:
        try:
            return run()
        except Exception as error:  # an exception counts as a wrong result
            return error

    return guarded


def _class(name: str) -> Any:
    module, attribute, install = PEERS[name]
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        print(f"{name} is not installed and was skipped. Install it with: {install}")
        return None
    return getattr(importlib.import_module(f"benchmarks.peers.{module}"), attribute)


if __name__ == "__main__":
    main()
