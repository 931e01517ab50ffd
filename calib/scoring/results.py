"""The results of a run: one row per metric of each cell, and the CSV file results.csv."""

import csv
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from calib.config.method import SettingKey
from calib.scoring.intervals import Interval
from calib.util.checksums import crc32
from calib.util.errors import CalibError
from calib.util.files import (
    csv_safe,
    from_csv_safe,
    without_control_characters,
    write_atomically,
)

BASELINE = "none"
"""Method name of the uncalibrated model's rows."""
ALL = "all"
"""Category, variant or dataset of a total."""


@dataclass(frozen=True)
class Result(SettingKey):
    """One metric of one cell with its 95% interval."""

    split: str
    dataset: str
    variant: str
    category: str
    metric: str
    value: float
    low: float
    high: float
    n: int
    """Labelled responses behind the value."""
    clusters: int | None = None
    """Independent clusters of these responses; None in results written before it was recorded."""
    mapping: str = ""
    """Mapping from labels to right or wrong; "" if the metric depends on none."""

    @property
    def interval(self) -> Interval:
        return Interval(self.value, self.low, self.high, self.n, self.clusters)


@dataclass(frozen=True)
class RunResults:
    """The results of one run and the checkpoint they came from."""

    run: str
    model: str
    results: list[Result]
    names_mapping: bool = True
    """Whether the file has the column mapping; files of earlier versions of calib lack it, and
    their SRA_s counts a safe query that was answered with a warning as wrong."""


Metrics = dict[str, Interval]
"""Metrics of one slice of a cell, by name; nan without a response."""

COLUMNS = ("run", "model", *(field.name for field in fields(Result)))
_ADDED = ("clusters", "mapping")
"""Columns that files of earlier versions lack."""


def write_results(path: Path, run: str, model: str, results: Iterable[Result]) -> None:
    """Write ``results`` atomically as CSV with COLUMNS.

    A missing layer, unknown bounds and unknown clusters are empty cells; value, low and high have
    six decimals, so that equal results are equal bytes. Raises CalibError if writing fails.
    """
    text = io.StringIO(newline="")
    plain = csv.writer(text, lineterminator="\n")
    # Python's csv leaves a lone carriage return unquoted if the line terminator is "\n".
    quoted = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    plain.writerow(COLUMNS)
    for result in results:
        values = (getattr(result, column) for column in COLUMNS[2:])
        cells = [*map(_cell_text, COLUMNS, (run, model, *values))]
        (quoted if any("\r" in cell for cell in cells) else plain).writerow(cells)
    write_atomically(path, text.getvalue().encode(errors="backslashreplace"))


def rounded(results: Iterable[Result]) -> list[Result]:
    """``results`` as they are read back from the file: value, low and high at six decimals, texts
    without control characters."""
    return [
        replace(
            r,
            value=round(r.value, 6),
            low=round(r.low, 6),
            high=round(r.high, 6),
            dataset=without_control_characters(r.dataset),
            variant=without_control_characters(r.variant),
            category=without_control_characters(r.category),
        )
        for r in results
    ]


def results_checksum(results: Iterable[Result]) -> str:
    """A checksum of results, as written and as read back, in any order.

    The columns run and model are not part of it: a folder may be renamed.
    """
    lines = [
        "\t".join(_cell_text(column, getattr(result, column)) for column in COLUMNS[2:])
        for result in rounded(results)
    ]
    return crc32("\n".join(sorted(lines)).encode(errors="backslashreplace"))


def read_results(path: Path) -> list[RunResults]:
    """Read the runs of a results file, in order of appearance; joined files have several.

    Raises CalibError if the file does not exist, lacks a column, or has text in a numeric column.
    """
    runs: dict[tuple[str, str], RunResults] = {}
    try:
        # utf-8-sig, because spreadsheet programs may prepend a byte order mark.
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            present = reader.fieldnames or ()
            missing = [name for name in COLUMNS if name not in (*present, *_ADDED)]
            if missing:
                raise CalibError(
                    "missing-column",
                    f"{path} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; "
                    f"a results file has the columns {','.join(COLUMNS)}.",
                )
            for row in reader:
                values = {name: _cell_value(path, reader.line_num, name, row) for name in COLUMNS}
                run, model = values.pop("run"), values.pop("model")
                named = "mapping" in present
                entry = runs.setdefault((run, model), RunResults(run, model, [], named))
                entry.results.append(Result(**values))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CalibError(
            "unreadable",
            f"Cannot read the results file {path}: {error}. Give the results.csv of a run.",
        ) from error
    return list(runs.values())


def _cell_text(column: str, value: Any) -> str:
    if column in ("value", "low", "high"):
        return "" if math.isnan(value) else f"{value:z.6f}"
    if column == "strength":
        return repr(float(value) + 0.0)
    if column in ("layer", "n", "clusters"):
        return "" if value is None else str(value)
    return csv_safe(without_control_characters(value))


def _cell_value(path: Path, line: int, column: str, row: dict[str, str | None]) -> Any:
    text = row.get(column) or ""
    try:
        if column in ("value", "low", "high"):
            return float(text) if text else math.nan
        if column in ("layer", "clusters"):
            return int(text) if text else None
        if column in ("n", "strength"):
            return int(text) if column == "n" else float(text)
    except ValueError:
        raise CalibError(
            "invalid-value", f"{path}, line {line}: column {column} must be a number, not '{text}'."
        ) from None
    return from_csv_safe(text)
