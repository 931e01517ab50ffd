"""Hostile folders of runs: each file that a report, a figure, an export or a judge reads."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from hostile import Hostile, Place, canary
from hostile_content import (
    ESCAPE,
    HUGE,
    LONG,
    NOT_JSON,
    ODD,
    Put,
    replace_file,
    special_files,
    writes,
)
from in_process import command, undrawn
from made_up_run import Costly

from calib.report.page.record_section import record_section
from calib.report.page.write import write_report
from calib.report.terminal import show_run
from calib.runs.kl_budget import _read_costs
from calib.runs.labels.judging import Judging, judge_responses
from calib.runs.manifest import claim_folder
from calib.runs.row_store import RowStore
from calib.runs.run import Run

_FILES = ("rows.jsonl", "labels.jsonl", "examples.jsonl", "run.json", "operating_points.json",
          "config.yaml", "results.csv")  # fmt: skip
_KINDS = ("null", "true", "a huge number", "an infinite number", "an escape sequence", "a list",
          "an object")  # fmt: skip


def copied(place: Place) -> Path:
    return Path(shutil.copytree(place.shared.run, place.folder / "run"))


def read(folder: Path, reported: bool = False) -> Callable[[], Any]:
    """Read every file of the run as its tables do; with ``reported``, write its report too."""

    def call() -> None:
        run = Run.load(folder)
        assert run.test_rows and run.methods and run.judged and run.results
        record_section([run], folder / "report.html")
        if reported:
            with undrawn():
                write_report([run], folder / "report.html", examples=2)
            show_run(run, {})
        run.config("data"), run.config("model"), run.method_config("steer")
        claim_folder(folder, run.manifest["identity"], run.provenance, {})

    return call


def judged(folder: Path) -> Callable[[], Any]:
    """Judge the run by a judge whose verdicts are stored."""

    def call() -> None:
        run = Run.load(folder)
        examples = [run.examples[row.example] for row in run.rows]
        records = [run.responses[row.row] for row in run.rows]
        judging = Judging(Costly(), folder)
        judge_responses(run.rows, examples, records, judging)
        judging.notes()

    return call


def with_file(name: str, put: Put) -> Callable[[Place], Callable[[], Any]]:
    def make(place: Place) -> Callable[[], Any]:
        folder = copied(place)
        replace_file(folder / name, put)
        return read(folder)

    return make


def _with_value(name: str, key: str, value: Any) -> Callable[[Place], Callable[[], Any]]:
    """The first record of a file with another value; rows without their checksum."""

    def make(place: Place) -> Callable[[], Any]:
        folder = copied(place)
        path = folder / name
        if name.endswith(".jsonl"):
            first, *others = path.read_text(encoding="utf-8").split("\n")
            record = {k: v for k, v in json.loads(first).items() if k != "crc32"}
            text = "\n".join([json.dumps({**record, key: value}), *others])
        else:
            content = json.loads(path.read_text(encoding="utf-8"))
            inner = content[0] if isinstance(content, list) else content
            *groups, last = key.split(".")
            for group in groups:
                inner = inner.setdefault(group, {})
            inner[last] = value
            text = json.dumps(content)
        path.write_text(text, encoding="utf-8")
        return read(folder)

    return make


def _values() -> Iterator[tuple[str, str, str, Any]]:
    """File, key, kind of value and value."""
    keys = {
        "rows.jsonl": ("row", "response", "kl", "finish", "tokens", "system", "demonstrations"),
        "labels.jsonl": ("row", "example", "method", "layer", "strength", "label", "judge"),
        "examples.jsonl": ("id", "dataset", "split", "query", "safety", "pair", "facts", "history"),
        "operating_points.json": ("method", "layer", "strength", "strength_means", "tolerance",
                                  "choose", "variants", "settings", "supervision"),
        "run.json": ("identity", "provenance", "provenance.notes", "provenance.packages",
                     "provenance.left_out", "provenance.command", "sessions", "model"),
    }  # fmt: skip
    for name, of_file in keys.items():
        for number, key in enumerate(of_file):
            for kind in _KINDS[number % 2 :: 2]:
                yield name, key, kind, ODD[kind]


_SETTINGS: dict[str, Any] = {
    "a Python object": "!!python/object/apply:os.system ['touch canary']",
    "a Python name": "mapping: !!python/name:os.system",
    "a Python module": "mapping: !!python/module:os",
    "a new object": "data: !!python/object/new:type {args: [x, [], {}]}",
    "an unknown tag": "mapping: !evil {a: 1}",
    "an open interpolation": 'mapping: "${"',
    "an interpolation of itself": "mapping: ${mapping}",
    "the environment": "mapping: ${oc.env:HOME}",
    "a resolver that creates": "mapping: ${oc.create:{a: 1}}",
    "nested interpolations": "mapping: " + "${" * 200 + "a" + "}" * 200,
    "a deep list": "a: " + "[" * 5_000,
    "ten million references": "".join(
        f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10) if k else 'x'}]\n" for k in range(8)
    ),
    "a list of itself": "a: &a [*a]",
    "a missing anchor": "a: *b",
    "a tab": "a:\n\t- b",
    "two documents": "a: 1\n---\nb: 2",
    "a merged key": "a: &a {b: 1}\nc:\n  <<: *a",
    "a date": "mapping: 2020-01-01",
    "binary": "mapping: !!binary aGVsbG8=",
    "a set": "mapping: !!set {a, b}",
    "a complex key": "? [a, b]\n: c",
    "repeated keys": "mapping: calib\nmapping: paper",
    "control characters": "mapping: \x1b[31m",
    "a long text": f"mapping: {LONG}",
    "too long a text": "mapping: " + "x" * 2_000_000,
}  # fmt: skip
_GROUPS: dict[str, dict[str, Any]] = {
    "an unknown mapping": {"mapping": ESCAPE},
    "a huge seed": {"seed": HUGE},
    "methods as texts": {"methods": {"a": "b"}},
    "a method without a name": {"method": {"file": "steer"}},
    "a number as a method's name": {"method": {"name": 5}},
    "a method of another file": {"method": {"name": "x", "file": "../../evil"}},
    "a reference as a text": {"reference": "none"},
    "a reference as a list": {"reference": [1]},
    "choose as a list": {"choose": [1]},
    "choose with an unknown key": {"choose": {"x": 1}},
    "data without a name": {"data": {"limit": 3}},
    "data with a list as its name": {"data": {"name": ["mini"]}},
    "data with unknown keys": {"data": {"name": "mini", "x": 1}},
    "data that interpolate": {"data": {"name": "pairs", "file": "${oc.env:HOME}"}},
    "a model as a list": {"model": [1]},
    "generation with texts": {"generation": {"max_new_tokens": "many"}},
    "generation as a text": {"generation": "x"},
    "keys that are numbers": {5: 6},
}


def _with_settings(change: str | dict[Any, Any]) -> Callable[[Place], Callable[[], Any]]:
    def make(place: Place) -> Callable[[], Any]:
        folder = copied(place)
        path = folder / "config.yaml"
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        if isinstance(change, dict):
            text = yaml.safe_dump(content | change)
        elif change.startswith("!!"):
            text = change.replace("touch canary", canary(place))
        else:
            content.pop(change.partition(":")[0], None)
            text = yaml.safe_dump(content) + change
        path.write_bytes(text.encode())
        return read(folder)

    return make


def _cell(column: str, text: str) -> Put:
    """results.csv with one cell replaced in its first row."""

    def change(path: Path) -> None:
        header, first, *others = path.read_text(encoding="utf-8").split("\n")
        cells = first.split(",")
        cells[header.split(",").index(column)] = f'"{text}"'
        path.write_text("\n".join([header, ",".join(cells), *others]), encoding="utf-8")

    return change


def _results(column: str, text: str) -> Callable[[Place], Callable[[], Any]]:
    """A cell of results.csv; a report, which takes a second, only where it might quote it."""

    def make(place: Place) -> Callable[[], Any]:
        folder = copied(place)
        _cell(column, text)(folder / "results.csv")
        return read(folder, reported=text in (ESCAPE, LONG))

    return make


def _verdicts(line: bytes) -> Callable[[Place], Callable[[], Any]]:
    """A verdict in place of the one that the judge would give."""

    def make(place: Place) -> Callable[[], Any]:
        folder = copied(place)
        judged(folder)()
        path = folder / "verdicts.jsonl"
        first, *others = path.read_bytes().split(b"\n")
        key = json.loads(first)["row"].encode()
        path.write_bytes(b"\n".join([line.replace(b"KEY", key), *others]))
        return judged(folder)

    return make


def _costs(text: bytes) -> Callable[[Place], Callable[[], Any]]:
    def make(place: Place) -> Callable[[], Any]:
        path = place.folder / "strengths.json"
        path.write_bytes(text)
        return lambda: _read_costs(path)

    return make


def _opened(name: str, put: Put) -> Callable[[Place], Callable[[], Any]]:
    """A file that a resumed sweep opens."""

    def make(place: Place) -> Callable[[], Any]:
        folder = copied(place)
        replace_file(folder / name, put)
        return lambda: RowStore.open(folder / name).close()

    return make


def _commands(name: str, *arguments: str) -> Callable[[Place], Callable[[], Any]]:
    """A command on a run whose results quote an escape sequence."""

    def make(place: Place) -> Callable[[], Any]:
        folder = copied(place)
        _cell("method", ESCAPE)(folder / "results.csv")
        given = [text.format(run=folder) for text in arguments]
        return lambda: command(name, *given)

    return make


def runs() -> list[Hostile]:
    """Every hostile folder of a run."""
    known = {"harmless": True}
    inputs = [
        Hostile(f"{name}: {what}", with_file(name, writes(text)), **known)
        for name in _FILES
        for what, text in list(NOT_JSON.items())[len(name) % 3 :: 3]
    ]
    for name in _FILES:
        inputs += [
            Hostile(f"{name}: {what}", with_file(name, put))
            for what, put in special_files().items()
        ]
    inputs += [
        Hostile(f"{name}, {key}: {kind}", _with_value(name, key, value), **known)
        for name, key, kind, value in _values()
    ]
    changes: dict[str, Any] = {**_SETTINGS, **_GROUPS}
    inputs += [
        Hostile(f"config.yaml: {what}", _with_settings(change), **known)
        for what, change in changes.items()
    ]
    cells = {
        "value": ("1e999", "nan", "-5", LONG, ESCAPE), "n": ("-5", "9" * 5_000, "1.5", ""),
        "layer": ("9" * 400, "-1", "x"), "strength": ("nan", "1e999", ESCAPE),
        "clusters": ("-1", "9" * 400), "method": (ESCAPE, LONG, "=cmd|'/c calc'!A1"),
        "metric": (ESCAPE, ""), "split": ("", ESCAPE), "low": ("1e999", "-1e999"),
    }  # fmt: skip
    inputs += [
        Hostile(f"results.csv, {column}: {text[:20]!r}", _results(column, text), **known)
        for column, texts in cells.items()
        for text in texts
    ]
    lines = {
        "a list as label": b'{"row": "KEY", "response": "", "label": ["a"]}',
        "an unknown label": b'{"row": "KEY", "response": "", "label": "\\u001b[31m"}',
        "a list as votes": b'{"row": "KEY", "response": "", "label": "answer", "votes": [1]}',
        "odd votes": b'{"row": "KEY", "response": "", "label": "answer", "votes": {"a": []}}',
        "numbers as replies": b'{"row": "KEY", "response": "", "label": null, "replies": 5}',
        "a deep line": b'{"row": "KEY", "response": "", "label": ' + b"[" * 5_000,
        "no response": b'{"row": "KEY", "label": "answer"}',
    }  # fmt: skip
    inputs += [Hostile(f"verdicts.jsonl: {what}", _verdicts(line), **known)
               for what, line in lines.items()]  # fmt: skip
    inputs += [Hostile(f"strengths.json: {what}", _costs(text), **known)
               for what, text in NOT_JSON.items()]  # fmt: skip
    inputs += [Hostile(f"{name} that is resumed: {what}", _opened(name, put))
               for name in ("rows.jsonl", "verdicts.jsonl")
               for what, put in special_files().items() if what != "a link to nothing"]  # fmt: skip
    inputs += [
        Hostile(f"calib.{name} on a run of escape sequences", _commands(name, *arguments), **known)
        for name, arguments in {
            "report": ["runs={run}"], "judge": ["run={run}", "judge=string"],
            "export": ["run={run}"],
        }.items()
    ]  # fmt: skip
    return inputs
