"""Read third-party tables (CSV, TSV, JSON lines, JSON, parquet) and check their columns."""

import codecs
import difflib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from calib.data.audit.strict_csv import MAX_BYTES, AdvisedError, csv_rows, require_distinct
from calib.util.content import START, found_instead, in_place_of
from calib.util.errors import CalibError
from calib.util.reading import parse_json

TableRow = dict[str, Any]
"""The values of a row by column name; text if the file is CSV."""

ENDINGS = (".csv", ".tsv", ".jsonl", ".json", ".parquet")


def read_table(path: Path) -> list[TableRow]:
    """The rows of a file; its extension determines the format.

    A JSON file holds a list of objects, or an object of objects keyed by id: each row then gets its
    key as "id" unless it has one. Numbers that are not a number (NaN), which pandas writes for an
    empty cell, are None.

    A JSON file with an object per line is read as JSON lines.

    Raises CalibError for a file that is missing, too large, damaged or in another format
    than its extension says, with repeated columns or keys, or with a row of another length than
    the header.
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
        return _parse(path.suffix.lower(), _text(path))
    except (OSError, ValueError) as error:
        raise CalibError("unreadable", f"{path} cannot be read: {_explained(error)}") from error


def check_columns(
    rows: Sequence[Mapping[str, Any]],
    required: Iterable[str],
    where: str,
    optional: Iterable[str] = (),
    other_names: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Raise CalibError if a row lacks a ``required`` column; for the first row, with the column
    that is probably meant: one of ``other_names``, or else the one with the nearest name.

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
        hints = "".join(_hint(column, others, other_names) for column in missing)
        names = ", ".join(f"'{column}'" for column in missing)
        listed = ", ".join(f"'{column}'" for column in columns[:20]) or "none"
        accepted = f" (optional: {', '.join(optional)})" if optional else ""
        raise CalibError(
            "missing-column",
            f"{where} has no column{'s' * (len(missing) > 1)} {names}.{hints} Required columns: "
            f"{', '.join(required)}{accepted}. Columns in the table: {listed}.",
        )
    for number, row in enumerate(rows, start=1):  # rows of JSON may have different keys
        if missing := [column for column in required if column not in row]:
            raise CalibError(
                "missing-value",
                f"{where}, row {number} has no '{missing[0]}', which row 1 has. Add it, or remove "
                "the row.",
            )


def _hint(column: str, others: Sequence[str], other_names: Mapping[str, str]) -> str:
    """The one of the ``others`` that is probably the missing ``column``; "" if none is like it."""
    written = {_simplified(other): other for other in others}
    close = difflib.get_close_matches(_simplified(column), written, n=1, cutoff=0.6)
    synonyms = [name for name in written if other_names.get(name) == column]
    for name in [*close, *synonyms][:1]:
        return f" Did you mean '{written[name]}'? Rename it to '{column}'."
    return ""


def _simplified(column: str) -> str:
    return column.strip().lower().replace(" ", "_").replace("-", "_")


def unread_columns(
    rows: Sequence[Mapping[str, Any]],
    known: Sequence[str],
    other_names: Mapping[str, str],
    where: str,
) -> list[str]:
    """The columns of a table that are not among the ``known`` ones, which are never read.

    Raises CalibError (unknown-name) for a column that is probably a known one under another name:
    in other letters (Image), misspelt, or one of ``other_names``, if the known one is missing.
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    unread = [column for column in columns if column not in known]
    for column in unread:
        written = _simplified(column)
        close = difflib.get_close_matches(written, known, n=1, cutoff=0.8)
        meant = other_names.get(written) or next(iter(close), None)
        if meant in known and meant not in columns:
            raise CalibError(
                "unknown-name",
                f"{where}: column '{column}' would not be read. Rename it to '{meant}'. If it is "
                "something else, choose a name that does not resemble a column that calib reads: "
                f"{', '.join(known)}.",
            )
    return unread


def cell_text(row: Mapping[str, Any], column: str, where: str = "") -> str:
    """A cell as text on one line, with single blanks between words; "" if absent or empty.

    Raises CalibError for a list, a dictionary or bytes; ``where`` is the location of the row, for
    the error message.
    """
    value = _cell(row, column, where)
    return "" if value is None else " ".join(str(value).split())


def cell_prompt(row: Mapping[str, Any], column: str, where: str = "") -> str:
    """A cell as the text of a prompt: stripped, inner line breaks unchanged; "" if absent.

    Raises CalibError for a list, a dictionary, bytes or a truth value; ``where`` is the location of
    the row, for the error message.
    """
    value = _cell(row, column, where)
    if isinstance(value, bool):
        raise _not_text(column, value, where)
    return "" if value is None else str(value).strip()


def _cell(row: Mapping[str, Any], column: str, where: str) -> Any:
    value = row.get(column)
    if isinstance(value, list | dict | bytes):  # str() would ask the model its Python notation
        raise _not_text(column, value, where)
    return None if isinstance(value, float) and math.isnan(value) else value


def _not_text(column: str, value: Any, where: str) -> CalibError:
    place = f"{where}: column" if where else "Column"
    return CalibError(
        "invalid-value",
        f"{place} '{column}' holds a {type(value).__name__} in place of text: {value!r:.80}. Write "
        "one text per cell.",
    )


def _explained(error: Exception) -> str:
    """The cause of a read error, and what to do about it."""
    if isinstance(error, OSError):
        return f"{error.strerror or error}."
    if isinstance(error, AdvisedError):
        return f"{error}."
    return f"{error}. Correct the file, or download it again."


def _text(path: Path) -> str:
    """The text of a file in UTF-8, with or without a byte order mark.

    Raises ValueError for other content and other encodings, with the line.
    """
    data = path.read_bytes()
    if data and (instead := found_instead(data[:START])):
        raise ValueError(f"it is {instead}")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise AdvisedError("its text is UTF-16, as some programs export. Save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise AdvisedError(
            f"line {line} has the byte 0x{data[error.start]:02x}, which is not UTF-8. Save it as "
            "UTF-8"
        ) from None
    if (zero := data.find(b"\0")) >= 0:
        raise ValueError(f"line {data.count(bytes([10]), 0, zero) + 1} has a zero byte")
    return text


def _parse(ending: str, text: str) -> list[TableRow]:
    if not text.strip():
        return []
    if ending in (".csv", ".tsv"):
        return csv_rows(text, "\t" if ending == ".tsv" else ",")
    if ending == ".jsonl":
        return _json_lines(text)
    try:
        content = _json(text)
    except json.JSONDecodeError as error:
        if error.msg != "Extra data" or not text.lstrip().startswith("{"):
            raise ValueError(_json_problem(error, text)) from None
        return _json_lines(text)  # several objects, one per line
    if isinstance(content, dict):
        if not all(isinstance(row, dict) for row in content.values()):
            raise ValueError("the JSON object does not hold one object per row")
        return [{"id": key, **row} for key, row in content.items()]
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise ValueError("the JSON file does not hold a list of objects")
    return content


def _json(text: str) -> Any:
    """JSON without repeated keys; NaN is None."""

    def constant(name: str) -> None:
        if name != "NaN":
            raise ValueError(f"{name} is not a value of a table")

    def row(pairs: list[tuple[str, Any]]) -> TableRow:
        require_distinct([key for key, _ in pairs], "the key")
        return dict(pairs)

    content = parse_json(text, object_pairs_hook=row, parse_constant=constant)
    if r"\ud" in text.lower():  # half of a character that JSON writes as two escapes
        try:
            json.dumps(content, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = f"\\u{ord(error.object[error.start]):x}"
            raise ValueError(f"it has {half}, which is half of a character") from None
    return content


def _json_problem(error: json.JSONDecodeError, text: str) -> str:
    at = f"line {error.lineno}, column {error.colno}"
    if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated"):
        return f"its JSON breaks off ({error.msg}: {at}): the file is not complete"
    return f"it is not valid JSON ({error.msg}: {at})"


def _json_lines(text: str) -> list[TableRow]:
    # Not splitlines: it also breaks at characters that JSON does not escape.
    return [_json_row(line, k) for k, line in enumerate(text.split("\n"), 1) if line.strip()]


def _json_row(line: str, number: int) -> TableRow:
    try:
        row = _json(line)
    except ValueError as error:
        raise ValueError(f"line {number} is not valid JSON: {error}") from None
    if not isinstance(row, dict):
        raise ValueError(
            f"line {number} is not a JSON object. (A list of objects is read from a .json file)"
        )
    return row


MAX_VALUES = 20_000_000
"""Most values of a parquet file: compressed, more than these fit in some kilobytes."""


def _require_small(path: Path, rows: int, values: int, size: int) -> None:
    """Raise CalibError (too-large) for a parquet file that would not fit in memory as rows."""
    if values > MAX_VALUES or size > 4 * MAX_BYTES:
        raise CalibError(
            "too-large",
            f"{path} has {rows:,} rows with {values:,} values or more, in {size:,} bytes; the "
            f"limits are {MAX_VALUES:,} values and {4 * MAX_BYTES:,} bytes. Split the file.",
        )


def _parquet_rows(path: Path, file: Any) -> list[TableRow]:
    """The rows of an open parquet file, whose values are counted as they are read.

    The numbers that the file declares for each column are not asked for: where they are damaged,
    pyarrow ends the process.
    """
    metadata = file.metadata
    groups = [metadata.row_group(k) for k in range(metadata.num_row_groups)]
    size = sum(group.total_byte_size for group in groups)
    count = metadata.num_rows
    _require_small(path, count, count * len(file.schema_arrow.names), size)
    rows: list[TableRow] = []
    values = read = 0
    for batch in file.iter_batches(_BATCH):
        values += sum(map(_values, batch.columns))
        read += batch.nbytes
        _require_small(path, count, values, max(size, read))
        rows += batch.to_pylist()
    return rows


_BATCH = 4096
"""Rows of a parquet file that are read at a time."""


def _values(array: Any) -> int:
    """Number of values in an array of pyarrow, those in lists and structures included."""
    import pyarrow

    if isinstance(array, pyarrow.StructArray):
        return sum(map(_values, array.flatten()))
    is_list = isinstance(array, pyarrow.ListArray | pyarrow.LargeListArray)
    return len(array) + (_values(array.flatten()) if is_list else 0)


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
        with parquet.ParquetFile(path, memory_map=True) as file:
            require_distinct(file.schema_arrow.names, "the column")
            return _parquet_rows(path, file)
    except (OSError, ValueError, OverflowError, pyarrow.ArrowException) as error:
        raise CalibError(
            "unreadable",
            f"{path} cannot be read as parquet ({in_place_of(path, b'PAR1', error)}). Download it "
            "again.",
        ) from error
