"""Read third-party tables (CSV, TSV, JSON lines, JSON, parquet, Excel) and check their columns.

A file that ends in .txt is a table with tabs, such as Excel's "Unicode text".
"""

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from calib.config.checks import not_blank
from calib.config.quoting import shell_table
from calib.data.formats.encodings import decoded
from calib.data.formats.json_rows import json_lines, json_rows
from calib.data.formats.parquet_rows import parquet_rows
from calib.data.formats.separators import recognised
from calib.data.formats.sheet_choice import HeaderFit
from calib.data.formats.strict_csv import MAX_BYTES, AdvisedError, csv_rows
from calib.data.formats.workbook import read_workbook
from calib.util.errors import CalibError

TableRow = dict[str, Any]
"""The values of a row by column name; text if the file is CSV."""

ENDINGS = (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".xlsx", ".xlsm", ".txt")
WORKBOOKS = (".xlsx", ".xlsm")
"""Extensions of workbooks. Those with macros are read, and their macros are not."""
_OTHER_TABLES = {
    ".xls": "Save it as .xlsx",
    ".xlsb": "Save it as .xlsx",
    ".ods": "Save it as .xlsx, or as CSV",
    ".numbers": "Export it as .xlsx, or as CSV",
}


@dataclass(frozen=True)
class Table:
    """The rows of a file, and how it was read."""

    path: Path
    rows: list[TableRow]
    numbers: list[int]
    """The number of each row, from 1; in a workbook, as spreadsheet programs display it."""
    notes: list[str] = field(default_factory=list)
    """Remarks on the file: a recognised separator or encoding, a chosen sheet."""
    sheet: str | None = None
    """Title of the sheet, if the file is a workbook."""
    pictures: int = 0
    """Pictures that lie on the sheet, which are not read."""
    names: Mapping[str, str] = field(default_factory=dict)
    """The user's names of columns by calib's, where they differ."""

    def place(self, number: int) -> str:
        """The location of a row, counted from 0, for messages."""
        sheet = f", sheet '{self.sheet}'" if self.sheet else ""
        return f"{self.path}{sheet}, row {self.numbers[number]}"

    def column(self, name: str) -> str:
        """The user's name of a column, for messages."""
        return self.names.get(name, name)


def read_table(path: Path) -> list[TableRow]:
    """The rows of a file in the plain form of its format: UTF-8, and commas in CSV.

    For tables that programs write, and readers that show no notes: what ``open_table`` reads with a
    note is refused. Raises CalibError as ``open_table`` does.
    """
    table = _opened(path, None, None, recognise=False)
    if table.notes:
        raise CalibError(
            "unsupported",
            f"{path} is read in its plain form only: {table.notes[0]}. Save it as CSV in UTF-8.",
        )
    return table.rows


def open_table(
    path: Path,
    sheet: str | None = None,
    header_fit: HeaderFit | None = None,
    sheet_setting: str = "",
) -> Table:
    """The rows of a file that a person keeps, and notes on it; its extension determines the format.

    A JSON file holds a list of objects, or an object of objects keyed by id: each row then gets its
    key as "id" unless it has one. Numbers that are not a number (NaN), which pandas writes for an
    empty cell, are None. A JSON file with an object per line is read as JSON lines.

    In CSV and TSV other separators, UTF-16 and Windows-1252 are recognised, and empty rows are
    passed over. Of a workbook ``sheet`` is read, or the sheet whose header is one by ``header_fit``
    (calib.data.formats.workbook). Rows are counted from 1, in a workbook as programs display them.
    Messages name ``sheet_setting``, the setting that names a sheet, where the caller has one.

    Raises CalibError for a file that is missing, too large, damaged or in another format
    than its extension says, with repeated columns or keys, or with a row of another length than
    the header; and for a sheet that is not clear or that the format does not have.
    """
    if sheet_setting:
        not_blank(sheet_setting, sheet)
    return _opened(path, sheet, header_fit, recognise=True, sheet_setting=sheet_setting)


def _opened(
    path: Path,
    sheet: str | None,
    header_fit: HeaderFit | None,
    recognise: bool,
    sheet_setting: str = "",
) -> Table:
    ending = path.suffix.lower()
    if not path.is_file():
        problem = "is not a file" if path.exists() else "does not exist"
        raise CalibError(
            "not-found", f"{path} {problem}. Give the path of a table ({', '.join(ENDINGS)})."
        )
    if ending not in ENDINGS:
        advice = _OTHER_TABLES.get(ending, "Give a file")
        raise CalibError(
            "unsupported",
            f"{path} is not a supported table. {advice}; supported are {', '.join(ENDINGS)}.",
        )
    if sheet is not None and ending not in WORKBOOKS:
        raise CalibError(
            "conflicting-settings",
            f"{path} has no sheets, so there is no sheet '{sheet}'. Omit the setting.",
        )
    if ending == ".parquet":
        rows = parquet_rows(path)
        return Table(path, rows, _numbered(rows))
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise CalibError(
            "too-large", f"{path} has {size:,} bytes; the limit is {MAX_BYTES:,}. Split the file."
        )
    if ending in WORKBOOKS:
        read = read_workbook(path, sheet, header_fit, sheet_setting)
        notes = [f"{path.name}, sheet '{read.title}': {note}" for note in read.notes]
        return Table(path, read.rows, read.numbers, notes, read.title, read.pictures)
    try:
        rows, notes = _text_rows(path.read_bytes(), ending, recognise)
    except (OSError, ValueError) as error:
        raise CalibError("unreadable", f"{path} cannot be read: {_explained(error)}") from error
    numbers = _numbered(rows)
    if recognise and (empty := {k for k, row in enumerate(rows) if _is_empty(row)}):
        notes.append(f"empty rows are passed over: n={len(empty)} (first: row {min(empty) + 1})")
        numbers = [number for number in numbers if number - 1 not in empty]
        rows = [row for k, row in enumerate(rows) if k not in empty]
    return Table(path, rows, numbers, [f"{path.name}: {note}" for note in notes])


def _text_rows(data: bytes, ending: str, recognise: bool) -> tuple[list[TableRow], list[str]]:
    """The rows of a file of text, and notes; raises ValueError for a damaged one."""
    text, note = decoded(data, recognise)
    notes = [note] if note else []
    if not text.strip():
        return [], notes
    if ending in (".json", ".jsonl"):
        return (json_rows(text) if ending == ".json" else json_lines(text)), notes
    separator = "," if ending == ".csv" else "\t"
    if recognise:
        text, separator, note = recognised(text, separator)
        notes += [note] if note else []
    return csv_rows(text, separator), notes


def _is_empty(row: TableRow) -> bool:
    """Whether a row has blank cells only, as spreadsheet programs save empty rows."""
    return bool(row) and all(isinstance(cell, str) and not cell.strip() for cell in row.values())


def _numbered(rows: Sequence[TableRow]) -> list[int]:
    return list(range(1, len(rows) + 1))


def _explained(error: Exception) -> str:
    """The cause of a read error, and what to do about it."""
    if isinstance(error, OSError):
        return f"{error.strerror or error}."
    if isinstance(error, AdvisedError):
        return f"{error}."
    return f"{error}. Correct the file, or download it again."


def check_columns(
    rows: Sequence[Mapping[str, Any]],
    required: Iterable[str],
    where: str,
    optional: Iterable[str] = (),
    other_names: Mapping[str, str] = MappingProxyType({}),
    setting: str = "",
) -> None:
    """Raise CalibError if a row lacks a ``required`` column; for the first row, with the column
    that is probably meant: one of ``other_names``, or else the one with the nearest name.

    For the error message, ``where`` is the name of the table, ``optional`` lists further accepted
    columns, and ``setting`` is the one that maps columns, if there is one.
    """
    required, columns = list(required), list(rows[0]) if rows else []
    if not rows:
        raise CalibError(
            "too-few", f"{where} has no rows. Its columns should be {', '.join(required)}."
        )
    missing = [column for column in required if column not in columns]
    if missing:
        others = [column for column in columns if column not in required]
        meant = {
            column: name for column in missing if (name := _meant(column, others, other_names))
        }
        hints = "".join(f" Your column '{name}': rename it '{c}'." for c, name in meant.items())
        if setting:
            yours = {column: meant.get(column, "NAME") for column in missing}
            lead = "Or give" if meant else "If you have other names, give them after calib's:"
            hints += f" {lead} {shell_table(setting, yours)}."
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


def _meant(column: str, others: Sequence[str], other_names: Mapping[str, str]) -> str | None:
    """The one of the ``others`` that is probably the missing ``column``; None without one."""
    written = {_simplified(other): other for other in others}
    close = difflib.get_close_matches(_simplified(column), written, n=1, cutoff=0.6)
    synonyms = [name for name in written if other_names.get(name) == column]
    return next((written[name] for name in [*close, *synonyms]), None)


def _simplified(column: str) -> str:
    return column.strip().lower().replace(" ", "_").replace("-", "_")


def unread_columns(
    rows: Sequence[Mapping[str, Any]],
    known: Sequence[str],
    other_names: Mapping[str, str],
    where: str,
    setting: str = "",
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
            mapped = f", or give {shell_table(setting, {str(meant): column})}" if setting else ""
            raise CalibError(
                "unknown-name",
                f"{where}: your column '{column}' would not be read: rename it '{meant}'{mapped}. "
                "If it is something else, choose a name that does not resemble a column that calib "
                f"reads: {', '.join(known)}.",
            )
    return unread


def cell_text(row: Mapping[str, Any], column: str, where: str = "", shown: str = "") -> str:
    """A cell as text on one line, with single blanks between words; "" if absent or empty.

    Raises CalibError for a list, a dictionary or bytes; ``where`` is the location of the row and
    ``shown`` the user's name of the column, both for the error message.
    """
    value = _cell(row, column, where, shown)
    return "" if value is None else " ".join(str(value).split())


def cell_prompt(row: Mapping[str, Any], column: str, where: str = "", shown: str = "") -> str:
    """A cell as the text of a prompt: stripped, inner line breaks unchanged; "" if absent.

    Raises CalibError for a list, a dictionary, bytes or a truth value; ``where`` and ``shown`` as
    in ``cell_text``.
    """
    value = _cell(row, column, where, shown)
    if isinstance(value, bool):
        raise _not_text(shown or column, value, where)
    return "" if value is None else str(value).strip()


def _cell(row: Mapping[str, Any], column: str, where: str, shown: str) -> Any:
    value = row.get(column)
    if isinstance(value, list | dict | bytes):  # str() would ask the model its Python notation
        raise _not_text(shown or column, value, where)
    return None if isinstance(value, float) and math.isnan(value) else value


def _not_text(column: str, value: Any, where: str) -> CalibError:
    place = f"{where}: column" if where else "Column"
    return CalibError(
        "invalid-value",
        f"{place} '{column}' holds a {type(value).__name__} in place of text: {value!r:.80}. Write "
        "one text per cell.",
    )
