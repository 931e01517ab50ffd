"""Choose the sheet of a workbook that holds the table, and find its header."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calib.config.quoting import shell_override
from calib.data.formats.sheet_cells import Line
from calib.data.formats.sheet_scan import SheetFacts
from calib.util.errors import CalibError, did_you_mean
from calib.util.listing import shortened

HeaderFit = Callable[[Sequence[str]], float]
"""How well a row of names fits the columns of a table: 1 if it is a header, and less if it has some
of the names."""


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

    def header_row(self, header_fit: HeaderFit | None) -> int | None:
        """The number of the first row that is a header; None if there is none."""
        for row, line in self.head.items():
            if header_fit is None or header_fit(_names(line)) >= 1:
                return row
        return None

    def fit(self, header_fit: HeaderFit | None) -> tuple[float, int]:
        """How well the best of the first rows fits, and the number of cells of the longest one."""
        rows = [_names(line) for line in self.head.values()]
        fits = [header_fit(names) for names in rows] if header_fit else [0.0]
        return max(fits), max(map(len, rows))


def _names(line: Line) -> list[str]:
    return [name_of(value) for value in line.values()]


def name_of(value: Any) -> str:
    """The name of a column: a header's cell on one line."""
    return " ".join(str(value).split())


def choose(
    path: Path,
    sheets: Sequence[Candidate],
    wanted: str | None,
    header_fit: HeaderFit | None,
    setting: str = "",
) -> tuple[Candidate, list[str]]:
    """The sheet named ``wanted``, or else the only visible one with a header, or else the only
    visible one with a value; and a note on the others.

    ``setting`` is the one that names a sheet, for messages; empty where the caller has none.

    Raises CalibError for a sheet that does not exist (unknown-name), and if several could be meant
    (missing-setting, or unsupported without a setting) or none has a value (too-few).
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
    fitting = [sheet for sheet in visible if sheet.header_row(header_fit)] or visible
    if not fitting:
        raise CalibError(
            "too-few",
            f"{path} has no visible sheet with a value. Write the table into one"
            + (f", or name a hidden one: {setting}=NAME." if setting else "."),
        )
    if len(fitting) > 1:
        best = max(fitting, key=lambda sheet: sheet.fit(header_fit))  # the first of equals
        listed = "; ".join(_described(sheet, header_fit) for sheet in fitting[:10])
        advice = (
            f"Name one: {shell_override(setting, best.title)}."
            if setting
            else f"Save the one that is meant, such as '{best.title}', as a file of its own, or "
            "hide or delete the others."
        )
        raise CalibError(
            "missing-setting" if setting else "unsupported",
            f"{path} has {len(fitting)} sheets that could be meant: {listed}. {advice}",
        )
    others = [sheet.title + " (hidden)" * sheet.hidden for sheet in sheets if sheet.head]
    others.remove(fitting[0].title)
    listed = ", ".join(f"'{name}'" for name in shortened(others, 5))
    return fitting[0], [f"the other sheets are not read: {listed}"] if others else []


def _described(sheet: Candidate, header_fit: HeaderFit | None) -> str:
    row = sheet.header_row(header_fit) or next(iter(sheet.head))
    columns = _names(sheet.head[row])
    return f"'{sheet.title}' (columns {', '.join(shortened(columns, 6))})"
