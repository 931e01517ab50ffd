"""Compare the responses of two runs, e.g. of two engines, row by row.

    python -m benchmarks.same_rows RUN RUN

Responses of two finished sweeps are compared by example, method, layer and strength: ids of rows
contain the hash of the direction, which differs in its last digits between engines. Unfinished runs
and extractions are compared by the ids of their rows. Exits with 1 where a response, the reason for
its end or a row differs; KL is reported only.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calib.runs.row_store import ROWS_FILE, read_rows
from calib.runs.run_files import LABELS_FILE, read_labels
from calib.util.errors import CalibError
from calib.util.files import home_expanded
from calib.util.terminal import WIDTH, terminal_safe

SHOWN = 5
"""Differing rows that are shown with both responses."""

Rows = Mapping[tuple[Any, ...], Mapping[str, Any]]
"""Records of rows by what identifies them in both runs."""


@dataclass(frozen=True)
class Comparison:
    """Two runs, row by row."""

    shared: int
    only: tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]
    """Rows that only the first or the second run has."""
    differing: list[tuple[Any, ...]]
    """Rows whose response or reason for its end differs."""
    kl: float | None
    """Largest difference of KL in nats; None where no row of both has one."""

    @property
    def is_same(self) -> bool:
        return not self.differing and not any(self.only)


def main(*folders: str) -> None:
    """Print the comparison of two runs."""
    if len(folders) != 2:
        sys.exit("give two folders of runs: python -m benchmarks.same_rows RUN RUN")
    runs = [home_expanded(folder) for folder in folders]
    try:
        first, second = rows_of(*runs)
    except CalibError as error:
        sys.exit(terminal_safe(f"[{error.code}] {error}"))
    found = compare(first, second)
    print(f"rows in both runs       {found.shared:,}")
    for folder, only in zip(runs, found.only, strict=True):
        print(f"only in one run         {len(only):,} in {terminal_safe(str(folder))}")
    print(f"responses that differ   {len(found.differing):,}")
    greatest = "not measured" if found.kl is None else f"{found.kl:.6f} nats"
    print(f"largest KL difference   {greatest}")
    for key in found.differing[:SHOWN]:
        print(terminal_safe(_name(key), WIDTH))
        for row in (first[key], second[key]):
            print("  " + terminal_safe(f"{row.get('finish')}: {row['response']!r}", WIDTH - 2))
    for only in found.only:
        for key in only[:SHOWN]:
            print(terminal_safe(f"only in one run: {_name(key)}", WIDTH))
    sys.exit(0 if found.is_same else 1)


def rows_of(one: Path, other: Path) -> tuple[Rows, Rows]:
    """The rows of two runs, by setting where both are finished sweeps, otherwise by id.

    Raises CalibError for a run without rows (not-found), or with damaged ones.
    """
    records = [read_rows(folder / ROWS_FILE) for folder in (one, other)]
    for folder, each in zip((one, other), records, strict=True):
        if not each:
            raise CalibError(
                "not-found",
                f"{folder} has no rows, so there is nothing to compare. Give the folder of a run "
                f"with a {ROWS_FILE}.",
            )
    if not all((folder / LABELS_FILE).is_file() for folder in (one, other)):
        first, second = ({(row,): record for row, record in each.items()} for each in records)
        return first, second
    labels = [read_labels(folder / LABELS_FILE)[0] for folder in (one, other)]
    first, second = (
        {
            (row.example, row.method, row.layer, row.strength): each[row.row]
            for row in rows
            if row.row in each
        }
        for rows, each in zip(labels, records, strict=True)
    )
    return first, second


def compare(first: Rows, second: Rows) -> Comparison:
    """Compare two runs; rows are in the order of the first."""
    shared = [key for key in first if key in second]
    both = [(key, first[key], second[key]) for key in shared]
    kls = [
        abs(one[name] - other[name])
        for _, one, other in both
        for name in ("kl", "kl_base")
        if one.get(name) is not None and other.get(name) is not None
    ]
    return Comparison(
        len(shared),
        ([key for key in first if key not in second], [key for key in second if key not in first]),
        [
            key
            for key, one, other in both
            if (one["response"], one.get("finish")) != (other["response"], other.get("finish"))
        ],
        max(kls, default=None),
    )


def _name(key: tuple[Any, ...]) -> str:
    if len(key) == 1:
        return f"row {key[0]}"
    example, method, layer, strength = key
    return f"{example}, {method}, layer {layer}, strength {strength:g}"


if __name__ == "__main__":
    main(*sys.argv[1:])
