"""A damaged cell in any column of a published set ends in a benchmark, or in a CalibError."""

import base64
import contextlib
import copy
import csv
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from benchmark_copies import local
from utility_tables import MME, MMMU, MMSTAR, POPE, SCIENCEQA

from calib.config.data import DATA, PublishedUtility
from calib.config.schemas import CONF
from calib.config.typed import typed_config
from calib.data.benchmarks import load_benchmark, load_utility
from calib.util.errors import CalibError

ABSENT = object()
CELLS = [
    *(None, [], ["a", "b"], {}, {"a": 1}, -1, 1.5, True, "", " ", "nan", "x" * 3000, "../x"),
    *("\u202e", "['a' 'b']", float("nan"), ABSENT),
]
TEXTS = ["", " ", "nan", "[]", "x" * 3000, "../x", "\u202e", "7"]
UTILITY = {
    "mme": MME, "pope": POPE, "scienceqa": SCIENCEQA, "mmstar": MMSTAR,
    "mmmu": [row for rows in MMMU.values() for row in rows],
}  # fmt: skip


def damaged(row: dict, cells: list) -> Iterator[dict]:
    """The row with each of the cells in each of its columns."""
    for column in row:
        for cell in cells:
            changed = copy.deepcopy(row)
            changed[column] = cell
            if cell is ABSENT:
                del changed[column]
            yield changed


def damaged_files(path: Path) -> Iterator[str]:
    """The text of a table with each damage in its first row."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".csv":
        first, *others = csv.DictReader(io.StringIO(text))
        for row in damaged(first, TEXTS):
            table = io.StringIO()
            writer = csv.DictWriter(table, fieldnames=list(first))
            writer.writeheader()
            writer.writerows([row, *others])
            yield table.getvalue()
        return
    content: Any = json.loads(text)
    key = next(iter(content)) if isinstance(content, dict) else 0
    for row in damaged(content[key], CELLS):
        content[key] = row
        yield json.dumps(content)


@pytest.mark.parametrize(
    "name", ["xstest", "jailbreakbench", "or_bench", "mossbench", "vlguard", "siuo", "figstep"]
)
def test_a_damaged_cell_of_a_benchmark(name: str, tmp_path: Path) -> None:
    root = tmp_path / "own"
    shutil.copytree(local(name, tmp_path / "copy"), root)
    values = yaml.safe_load((CONF / "data" / f"{name}.yaml").read_text(encoding="utf-8"))
    (schema,) = (next(iter(d.values())) for d in values.pop("defaults") if isinstance(d, dict))
    config = typed_config([DATA[schema]], values | {"root": str(root), "limit": None})
    whole = load_benchmark(config).examples
    tables = [path for path in sorted(root.rglob("*")) if path.suffix in (".csv", ".json")]
    count = 0
    for path in tables[:2]:
        original = path.read_bytes()
        for text in damaged_files(path):
            path.write_text(text, encoding="utf-8")
            count += 1
            with contextlib.suppress(CalibError):
                loaded = load_benchmark(config)
                # A skipped row is noted.
                assert len(loaded.examples) >= len(whole) - 2
                assert len(loaded.examples) == len(whole) or loaded.notes
        path.write_bytes(original)
    assert count > 25


@pytest.mark.parametrize("name", UTILITY)
def test_a_damaged_cell_of_a_utility_set(name: str, tmp_path: Path) -> None:
    rows = [
        {
            column: base64.b64encode(cell["bytes"]).decode() if isinstance(cell, dict) else cell
            for column, cell in row.items()
        }
        for row in UTILITY[name]
    ]
    path = tmp_path / f"{name}.json"
    config = PublishedUtility(name=name, root=str(path), split="validation")
    path.write_text(json.dumps(rows), encoding="utf-8")
    whole = load_utility(config).examples
    for row in damaged(rows[0], CELLS):
        path.write_text(json.dumps([row, *rows[1:]]), encoding="utf-8")
        with contextlib.suppress(CalibError):
            loaded = load_utility(config)
            assert len(loaded.examples) == len(whole) or loaded.notes
