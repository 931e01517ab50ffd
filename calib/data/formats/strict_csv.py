"""Read CSV strictly: every row has the cells of the header, and every quoted cell is closed."""

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from calib.data.formats.separators import SEPARATORS

MAX_BYTES = 2**30
_LINE_END = re.compile(r"\r\n|\r|\n")


class AdvisedError(ValueError):
    """A problem whose message also says what to do about it."""


def csv_rows(text: str, separator: str) -> list[dict[str, Any]]:
    """The rows of a table as texts by column name; empty lines are passed over.

    Raises ValueError, with the line, for a quoted cell that is not closed and a row of another
    length than the header, and for another separator and repeated columns.
    """
    csv.field_size_limit(MAX_BYTES)  # a picture in a cell is longer than the default limit
    try:
        return _rows(text, separator)
    except csv.Error as error:
        line = _opening_line(text, separator)
        raise AdvisedError(
            f"the cell that opens with a quotation mark in line {line} is not closed, or a mark "
            f"within it is not doubled ({error}). Correct it, or download the file again if it is "
            "not complete"
        ) from None


def _rows(text: str, separator: str) -> list[dict[str, Any]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    header: list[str] = next(filter(None, reader), [])
    columns = [name.strip() for name in header]
    while columns[1:] and not columns[-1]:  # formatted cells beside a table are saved as empty ones
        columns.pop()
    if len(columns) == 1:
        _require_separator(columns[0], separator)
    require_distinct(columns, "the column")
    rows = []
    first = reader.line_num + 1
    for cells in reader:
        if not any(cells[len(columns) :]):
            del cells[len(columns) : len(header)]
        if cells and len(cells) != len(columns):
            line = f"line {reader.line_num}"
            if first < reader.line_num:
                line = f"the row in lines {first} to {reader.line_num}"
            raise AdvisedError(
                f"{line} has {len(cells)} cells, and the header has {len(columns)} columns. Check "
                "the separator, the quotation marks, and that the file is complete"
            )
        if cells:
            rows.append(dict(zip(columns, cells, strict=True)))
        first = reader.line_num + 1
    return rows


def _require_separator(header: str, separator: str) -> None:
    for other, name in SEPARATORS.items():
        if other in header and other != separator:
            raise AdvisedError(
                f"its cells are separated by {name}, not by {SEPARATORS[separator]}: the header "
                f"is {header[:80]!r}. Save it with {SEPARATORS[separator]}"
                + (", or name it .tsv" if other == "\t" else "")
                + (", or name it .csv" if other == "," else "")
            )


def require_distinct(names: Sequence[str], kind: str) -> None:
    """Raise ValueError, which names the ``kind``, for a name that is there more than once."""
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(f"{kind} '{repeated[0]}' is there more than once")


def _opening_line(text: str, separator: str) -> int:
    """The line (from 1) in which the quoted cell opens that is not closed as it should be.

    That cell is the first one that has no closing quotation mark, or text between it and the next
    ``separator``. It may open far above the line at which a reader notices. Without such a cell the
    last line is returned.
    """
    opening = re.compile(rf'(?:^|(?<=[{re.escape(separator)}\r\n]))"')
    position = 0
    while match := opening.search(text, position):
        end = text.find('"', match.end())
        while end >= 0 and text[end + 1 : end + 2] == '"':  # doubled: part of the cell
            end = text.find('"', end + 2)
        if end < 0 or text[end + 1 : end + 2] not in ("", separator, "\r", "\n"):
            return _line(text, match.start())
        position = end + 1
    return _line(text, len(text))


def _line(text: str, position: int) -> int:
    return sum(1 for _ in _LINE_END.finditer(text, 0, position)) + 1
