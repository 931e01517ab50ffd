"""Choose the sheet of a workbook that holds the table, and find its header."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calib.data.formats.sheet_cells import Line
from calib.data.formats.sheet_scan import SheetFacts
from calib.util.errors import CalibError, did_you_mean
from calib.util.listing import shortened

IsHeader = Callable[[Sequence[str]], bool]
"""Whether a row of names has the columns of a table."""


@dataclass(frozen=True)
class Candidate:
    """A sheet that may hold the table."""

    sheet: Any
    facts: SheetFacts
    head: dict[int, Line]
    """Its first rows with a value."""

    @property
    def title(self) -> str:
        return str(self.sheet.title)

    @property
    def hidden(self) -> bool:
        return bool(self.sheet.sheet_state != "visible")

    def header_row(self, is_header: IsHeader | None) -> int | None:
        """The number of the first row that is a header; None if there is none."""
        for row, line in self.head.items():
            if is_header is None or is_header([name_of(value) for value in line.values()]):
                return row
        return None


def name_of(value: Any) -> str:
    """The name of a column: a header's cell on one line."""
    return " ".join(str(value).split())


def choose(
    path: Path, sheets: Sequence[Candidate], wanted: str | None, is_header: IsHeader | None
) -> tuple[Candidate, list[str]]:
    """The sheet named ``wanted``, or else the only visible one with a header, or else the only
    visible one with a value; and a note on the others.

    Raises CalibError for a sheet that does not exist (unknown-name), and if several could be meant
    (missing-setting) or none has a value (too-few).
    """
    names = [sheet.title for sheet in sheets]
    if wanted is not None:
        for sheet in sheets:
            if sheet.title.strip() == wanted.strip():
                return sheet, []
        listed = ", ".join(f"'{name}'" for name in names)
        raise CalibError(
            "unknown-name",
            f"{path} has no sheet '{wanted}'.{did_you_mean(wanted, names)} Its sheets: {listed}.",
        )
    visible = [sheet for sheet in sheets if sheet.head and not sheet.hidden]
    fitting = [sheet for sheet in visible if sheet.header_row(is_header)] or visible
    if not fitting:
        raise CalibError(
            "too-few",
            f"{path} has no visible sheet with a value. Write the table into one, or name a hidden "
            "one: data.sheet=NAME.",
        )
    if len(fitting) > 1:
        listed = "; ".join(_described(sheet, is_header) for sheet in fitting[:10])
        raise CalibError(
            "missing-setting",
            f"{path} has {len(fitting)} sheets that could be meant: {listed}. Name one: "
            f"data.sheet='{fitting[0].title}'.",
        )
    others = [sheet.title + " (hidden)" * sheet.hidden for sheet in sheets if sheet.head]
    others.remove(fitting[0].title)
    listed = ", ".join(f"'{name}'" for name in shortened(others, 5))
    return fitting[0], [f"the other sheets are not read: {listed}"] if others else []


def _described(sheet: Candidate, is_header: IsHeader | None) -> str:
    row = sheet.header_row(is_header) or next(iter(sheet.head))
    columns = [name_of(value) for value in sheet.head[row].values()]
    return f"'{sheet.title}' (columns {', '.join(shortened(columns, 6))})"
