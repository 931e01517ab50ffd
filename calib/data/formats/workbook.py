"""Read one sheet of an Excel workbook (.xlsx) as rows, as people keep their tables.

The stored results of formulas are read, never the formulas; macros and links are not opened. Notes
say what a reader must know: the sheet that was read, hidden rows, merged cells, formulas. Cells
that hold no value (a formula without a stored result, a picture, an error) are texts of
calib.data.formats.sheet_cells.CELL_FAULTS, for the reader to refuse in the columns that it needs.
"""

import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openpyxl
from openpyxl.utils import get_column_letter

from calib.data.formats.sheet_cells import Line, fill_merged, lines_of, reading_notes
from calib.data.formats.sheet_choice import Candidate, HeaderFit, choose, name_of
from calib.data.formats.sheet_scan import declares_doctype, scan
from calib.data.formats.strict_csv import require_distinct
from calib.util.content import in_place_of
from calib.util.errors import CalibError

MAX_BYTES = 128 * 2**20
"""Most bytes of a workbook once it is unpacked, without the pictures on its sheets."""
MAX_MEMBERS = 100_000
"""Most files in a workbook; each picture is one."""
MAX_ROWS = 100_000
MAX_COLUMNS = 256
HEADER_ROWS = 10
"""Rows with a value among which the header is looked for: titles may stand above it."""


@dataclass(frozen=True)
class SheetRows:
    """The rows of a sheet below its header."""

    title: str
    rows: list[dict[str, Any]]
    numbers: list[int]
    """The number of each row, as spreadsheet programs display it."""
    notes: list[str]
    pictures: int
    """Pictures in the workbook, if some lie on the sheet; they are not read."""


def read_workbook(
    path: Path, sheet: str | None, header_fit: HeaderFit | None, setting: str = ""
) -> SheetRows:
    """The rows of ``sheet``, or else of the only sheet that has a header by ``header_fit``.

    ``setting`` is the one that names a sheet, if the caller has one.

    The header is the first row that is one, or else the first row with a value. Rows without a
    value are passed over. Raises CalibError for a workbook that is damaged or too large, repeated
    columns, and a sheet that does not exist or is not clear.
    """
    with _opened(path) as (archive, book):
        candidates = []
        for worksheet in book.worksheets:
            # Not a public name of openpyxl, which does not offer a sheet's XML.
            with archive.open(worksheet._worksheet_path) as source:
                facts = scan(source)
            _require_few_cells(path, worksheet.title, facts.last_row, facts.last_column)
            candidates.append(Candidate(worksheet, facts, lines_of(worksheet, facts, HEADER_ROWS)))
        chosen, notes = choose(path, candidates, sheet, header_fit, setting)
        lines = lines_of(chosen.sheet, chosen.facts, MAX_ROWS)
        if not lines:
            return SheetRows(chosen.title, [], [], notes, 0)
        header = chosen.header_row(header_fit) or min(lines)
        columns = _columns(lines[header])
        below = {row: line for row, line in lines.items() if row > header}
        merged = fill_merged(below, chosen.facts, header + 1)
        pictures = sum(name.startswith("xl/media/") for name in archive.namelist())
    if header > min(lines):
        notes.append(f"the header is in row {header}; the rows above it are not read")
    notes += reading_notes(below, chosen.facts, columns, merged)
    numbers = [row for row, line in below.items() if not columns.keys().isdisjoint(line)]
    return SheetRows(
        chosen.title,
        [{name: below[row].get(column) for column, name in columns.items()} for row in numbers],
        numbers,
        notes,
        pictures if chosen.facts.has_drawings else 0,
    )


def _columns(header: Line) -> dict[int, str]:
    """The name of each column; raises ValueError if two have the same."""
    columns = {column: name_of(value) for column, value in header.items()}
    require_distinct(list(columns.values()), "the column")
    return columns


@contextmanager
def _opened(path: Path) -> Iterator[tuple[zipfile.ZipFile, Any]]:
    """The archive and the workbook of a file.

    Raises CalibError for every error in the block: openpyxl raises many types on damaged files.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # styles and validations that openpyxl leaves out
            _require_plain(path, archive)
            book = openpyxl.load_workbook(file, read_only=True, data_only=True)
            try:
                yield archive, book
            finally:
                book.close()
    except (CalibError, MemoryError):
        raise
    except Exception as error:
        raise CalibError(
            "unreadable",
            f"{path} cannot be read as an Excel workbook (.xlsx): "
            f"{in_place_of(path, b'PK', error)}. Open it in a spreadsheet program and save it as "
            ".xlsx, or save the sheet as CSV.",
        ) from error


def _require_plain(path: Path, archive: zipfile.ZipFile) -> None:
    """Raise for an archive that is too large once unpacked, or whose XML declares entities."""
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise _too_large(path, f"it consists of {len(members):,} files")
    members = [member for member in members if not member.filename.startswith("xl/media/")]
    unpacked = sum(member.file_size for member in members)
    if unpacked > MAX_BYTES:
        raise _too_large(path, f"it unpacks to {unpacked:,} bytes; the limit is {MAX_BYTES:,}")
    for member in members:
        with archive.open(member) as source:
            if declares_doctype(source):
                raise ValueError(f"its {member.filename} declares a document type")


def _require_few_cells(path: Path, title: str, rows: int, columns: int) -> None:
    if rows > MAX_ROWS:
        raise _too_large(path, f"sheet '{title}' has more than {MAX_ROWS:,} rows")
    if columns > MAX_COLUMNS:
        where = get_column_letter(min(columns, 18_278))
        raise _too_large(path, f"sheet '{title}' has cells in column {where}")


def _too_large(path: Path, what: str) -> CalibError:
    return CalibError(
        "too-large",
        f"{path}: {what} (limits: {MAX_ROWS:,} rows, {MAX_COLUMNS} columns). Split it, or save the "
        "sheet as CSV.",
    )
