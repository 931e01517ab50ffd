"""Read third-party tables (CSV, TSV, JSON lines, JSON, parquet) and check their columns."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from calib.util.errors import CalibError, did_you_mean

TableRow = dict[str, Any]
"""The values of a row by column name; text if the file is CSV."""

ENDINGS = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
MAX_BYTES = 2**30


def read_table(path: Path) -> list[TableRow]:
    """The rows of a file; its extension determines the format.

    A JSON file holds a list of objects, or an object of objects keyed by id: each row then gets its
    key as "id" unless it has one. Raises CalibError for a file that is missing, too large, damaged
    or in another format.
    """
    if not path.is_file():
        problem = "is not a file" if path.exists() else "does not exist"
        raise CalibError(
            "not-found", f"{path} {problem}. Give the path of a table ({', '.join(ENDINGS)})."
        )
    if path.suffix.lower() not in ENDINGS:
        raise CalibError(
            "unsupported",
            f"{path} is not a supported table. Give a file ending in {', '.join(ENDINGS)}.",
        )
    if path.suffix.lower() == ".parquet":
        return _parquet(path)
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise CalibError(
            "too-large", f"{path} has {size:,} bytes; the limit is {MAX_BYTES:,}. Split the file."
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
        return _parse(path.suffix.lower(), text)
    except (OSError, ValueError, csv.Error) as error:
        raise CalibError(
            "unreadable",
            f"{path} cannot be read ({error}). Correct the file and save it as UTF-8.",
        ) from error


def check_columns(
    rows: Sequence[Mapping[str, Any]],
    required: Iterable[str],
    where: str,
    optional: Iterable[str] = (),
) -> None:
    """Raise CalibError, with the nearest match, if the first row lacks a ``required`` column.

    ``where`` is the name of the table and ``optional`` lists further accepted columns, both for the
    error message.
    """
    required, columns = list(required), list(rows[0]) if rows else []
    if not rows:
        raise CalibError(
            "too-few", f"{where} has no rows. Its columns should be {', '.join(required)}."
        )
    missing = [column for column in required if column not in columns]
    if missing:
        others = [column for column in columns if column not in required]
        hint = did_you_mean(missing[0], others)
        listed = ", ".join(f"'{column}'" for column in columns[:20]) or "none"
        accepted = f" (optional: {', '.join(optional)})" if optional else ""
        raise CalibError(
            "missing-column",
            f"{where} has no column '{missing[0]}'.{hint} Required columns: "
            f"{', '.join(required)}{accepted}. Columns in the table: {listed}.",
        )


def cell_text(row: Mapping[str, Any], column: str) -> str:
    """A cell as text on one line, with single blanks between words; "" if absent or empty."""
    value = row.get(column)
    return "" if value is None else " ".join(str(value).split())


def cell_prompt(row: Mapping[str, Any], column: str) -> str:
    """A cell as the text of a prompt: stripped, inner line breaks unchanged; "" if absent."""
    value = row.get(column)
    return "" if value is None else str(value).strip()


def _parse(ending: str, text: str) -> list[TableRow]:
    if ending in (".csv", ".tsv"):
        reader = csv.DictReader(io.StringIO(text), delimiter="\t" if ending == ".tsv" else ",")
        rows = []
        for row in reader:
            if None in row:
                raise ValueError(f"line {reader.line_num} has more cells than there are columns")
            rows.append({name.strip(): value for name, value in row.items()})
        return rows
    if ending == ".jsonl":
        return [_json_row(line, k) for k, line in enumerate(text.split("\n"), 1) if line.strip()]
    content = json.loads(text)
    if isinstance(content, dict):
        if not all(isinstance(row, dict) for row in content.values()):
            raise ValueError("the JSON object does not hold one object per row")
        return [{"id": key, **row} for key, row in content.items()]
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise ValueError("the JSON file does not hold a list of objects")
    return content


def _json_row(line: str, number: int) -> TableRow:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"line {number} is not valid JSON: {error}") from None
    if not isinstance(row, dict):
        raise ValueError(f"line {number} is not a JSON object")
    return row


def _parquet(path: Path) -> list[TableRow]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise CalibError(
            "needs-package",
            f"{path} is a parquet file. To read it, pip install 'calib[data]'.",
        ) from None
    try:
        return parquet.read_table(path, memory_map=True).to_pylist()
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise CalibError(
            "unreadable", f"{path} cannot be read as parquet ({error}). Download it again."
        ) from error
