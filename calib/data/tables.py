"""Tables of others: rows from CSV, JSONL, JSON and parquet files, their columns checked."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from calib.util.errors import CalibError, did_you_mean

TableRow = dict[str, Any]
"""One row: the value of each column; text where the file is CSV."""

ENDINGS = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
MAX_BYTES = 2**30


def read_table(path: Path) -> list[TableRow]:
    """The rows of a file, by its ending: CSV, TSV, JSON lines, JSON (a list or an object of rows)
    or parquet.

    A JSON object of objects is a table keyed by id: each row gets its key as "id" where it has
    none. Raises CalibError for a file that is missing, too large, damaged or of another kind.
    """
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        raise CalibError(f"{path} {what}. Give the path of a table ({', '.join(ENDINGS)}).")
    if path.suffix.lower() not in ENDINGS:
        raise CalibError(
            f"{path} is no table that calib reads. Give a file ending in {', '.join(ENDINGS)}."
        )
    if path.suffix.lower() == ".parquet":
        return _parquet(path)
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise CalibError(f"{path} has {size:,} bytes; at most {MAX_BYTES:,} are read. Split it.")
    try:
        text = path.read_text(encoding="utf-8-sig")
        return _parse(path.suffix.lower(), text)
    except (OSError, ValueError, csv.Error) as error:
        raise CalibError(
            f"{path} cannot be read ({error}). Write it as UTF-8 and again."
        ) from error


def checked_columns(
    rows: Sequence[Mapping[str, Any]], needed: Iterable[str], where: str, known: Iterable[str] = ()
) -> None:
    """Raise CalibError, with the nearest match, where the first row lacks a ``needed`` column.

    ``known`` are columns that may be there too; ``where`` names the table.
    """
    needed, there = list(needed), list(rows[0]) if rows else []
    if not rows:
        raise CalibError(f"{where} has no rows. Its columns should be {', '.join(needed)}.")
    missing = [column for column in needed if column not in there]
    if missing:
        free = [name for name in there if name not in needed]
        hints = "".join(did_you_mean(column, free) for column in missing[:1])
        found = ", ".join(f"'{name}'" for name in there[:20]) or "none"
        optional = f" (and may have {', '.join(known)})" if known else ""
        raise CalibError(
            f"{where} has no column '{missing[0]}'.{hints} It needs {', '.join(needed)}{optional}; "
            f"it has {found}."
        )


def text_of(row: Mapping[str, Any], column: str) -> str:
    """A cell as text without needless blanks; "" where it is missing or empty."""
    value = row.get(column)
    return "" if value is None else " ".join(str(value).split())


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
        return [_object(line, k) for k, line in enumerate(text.split("\n"), 1) if line.strip()]
    whole = json.loads(text)
    if isinstance(whole, dict):
        if not all(isinstance(row, dict) for row in whole.values()):
            raise ValueError("the JSON object does not hold one object per row")
        return [{"id": key, **row} for key, row in whole.items()]
    if not isinstance(whole, list) or not all(isinstance(row, dict) for row in whole):
        raise ValueError("it holds no list of objects")
    return whole


def _object(line: str, number: int) -> TableRow:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"line {number} is no JSON: {error}") from None
    if not isinstance(row, dict):
        raise ValueError(f"line {number} is no JSON object")
    return row


def _parquet(path: Path) -> list[TableRow]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise CalibError(
            f"{path} is a parquet file, which needs pyarrow: pip install 'calib[data]'."
        ) from None
    try:
        return parquet.read_table(path, memory_map=True).to_pylist()
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise CalibError(f"{path} cannot be read as parquet ({error}). Fetch it again.") from error
