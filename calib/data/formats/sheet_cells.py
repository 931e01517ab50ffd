"""The cells of a worksheet as plain values, row by row, and notes on how they were read."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from openpyxl.utils import get_column_letter
from openpyxl.utils.escape import unescape

from calib.data.formats.sheet_scan import SheetFacts
from calib.util.listing import shortened

MAX_MERGED = 1_000_000
"""Most cells of a column that merged ranges span."""
NO_RESULT = "#formula without a stored result"
PICTURE = "#picture in the cell"
_ERRORS = (
    *("#N/A", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!", "#SPILL!", "#CALC!"),
    *("#FIELD!", "#BLOCKED!", "#CONNECT!", "#GETTING_DATA"),
)
CELL_FAULTS = {
    NO_RESULT: "Open the file in a spreadsheet program and save it, so that results are stored.",
    PICTURE: "Save the picture as a file, and write its name into the cell.",
    **dict.fromkeys(
        _ERRORS, "It is an error of a formula: correct the formula, or empty the cell."
    ),
}
"""Texts of cells that hold no value, with what to do."""

Line = dict[int, Any]
"""The values of a row by column, from 1, without empty cells."""
_LISTED = 5


def lines_of(worksheet: Any, facts: SheetFacts, most: int) -> dict[int, Line]:
    """The rows with a value, by number from 1: the first ``most`` of them."""
    if not facts.last_row:
        return {}
    marks: dict[int, Line] = {}
    for mark, cells in ((NO_RESULT, facts.without_value), (PICTURE, facts.pictures)):
        for row, column in cells:
            marks.setdefault(row, {})[column] = mark
    worksheet.reset_dimensions()  # some programs write wrong ones
    lines: dict[int, Line] = {}
    rows = worksheet.iter_rows(max_row=facts.last_row, max_col=facts.last_column, values_only=True)
    for row, values in enumerate(rows, start=1):
        plain = ((column, _plain(value)) for column, value in enumerate(values, start=1))
        line = {column: value for column, value in plain if value is not None}
        line |= marks.get(row, {})
        if line:
            lines[row] = line
        if len(lines) == most:
            break
    return lines


def _plain(value: Any) -> Any:
    """A cell's value as text, truth value or number; None if it is empty."""
    if isinstance(value, str):
        text = unescape(value).replace("\r\n", "\n")  # Excel writes control characters as _x000D_
        return text if text.strip() else None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, datetime.datetime):
        midnight = value.time() == datetime.time()
        return value.date().isoformat() if midnight else value.isoformat(" ")
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def fill_merged(lines: Mapping[int, Line], facts: SheetFacts, first: int) -> list[str]:
    """Repeat the value of merged cells in every row from ``first`` on that they span, in place; the
    ranges are returned.

    A merged cell has its value in its first row only, where the others of a pair lack their id.
    Raises ValueError if the ranges span more than MAX_MERGED rows together.
    """
    filled, spanned = [], 0
    for (top, left), (bottom, right) in facts.merged:
        value = lines.get(top, {}).get(left)
        bottom = min(bottom, facts.last_row)
        if top < first or bottom <= top or value is None:
            continue
        spanned += bottom - top
        if spanned > MAX_MERGED:
            raise ValueError(f"its merged cells span more than {MAX_MERGED:,} rows")
        for row in range(top + 1, bottom + 1):
            if row in lines:
                lines[row].setdefault(left, value)
        filled.append(f"{get_column_letter(left)}{top}:{get_column_letter(right)}{bottom}")
    return filled


def reading_notes(
    lines: Mapping[int, Line], facts: SheetFacts, columns: Mapping[int, str], merged: Sequence[str]
) -> list[str]:
    """Notes on the cells of ``lines``, the rows below the header, that a reader may not expect."""
    notes = []
    if hidden := [row for row in facts.hidden_rows if row in lines]:
        rows = ", ".join(shortened(hidden, _LISTED))
        notes.append(
            f"hidden rows are read too: n={len(hidden)} (rows {rows}). Delete those that you do "
            "not want"
        )
    if merged:
        ranges = ", ".join(shortened(merged, _LISTED))
        notes.append(f"the value of merged cells counts for each of their rows: {ranges}")
    if stored := facts.formulas - len(facts.without_value):
        notes.append(f"the stored results of formulas are read: n={stored}")
    unnamed = sorted({column for line in lines.values() for column in line} - columns.keys())
    if unnamed:
        letters = ", ".join(shortened(map(get_column_letter, unnamed), _LISTED))
        notes.append(f"columns without a name in the header are not read: {letters}")
    return notes
