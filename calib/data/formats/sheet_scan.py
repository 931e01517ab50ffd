"""Facts of a worksheet's XML that openpyxl leaves out where it reads without loading everything:
merged and hidden cells, formulas without a stored value, and pictures in cells."""

import re
from dataclasses import dataclass, field
from typing import IO
from xml.parsers import expat

_REFERENCE = re.compile(r"([A-Z]{1,3})([0-9]{1,7})")
_CHUNK = 2**16
_START = 2**10

Cell = tuple[int, int]
"""Row and column, from 1."""


@dataclass
class SheetFacts:
    """Facts of one worksheet; rows and columns count from 1."""

    last_row: int = 0
    """The last row with a value."""
    last_column: int = 0
    """The last column with a value."""
    hidden_rows: list[int] = field(default_factory=list)
    """Hidden rows with a value."""
    merged: list[tuple[Cell, Cell]] = field(default_factory=list)
    """First and last cell of each merged range."""
    formulas: int = 0
    without_value: set[Cell] = field(default_factory=set)
    """Cells with a formula whose result is not stored in the file."""
    pictures: set[Cell] = field(default_factory=set)
    """Cells that hold a picture themselves; programs without such cells show #VALUE!."""
    has_drawings: bool = False
    """Whether pictures or charts lie on the sheet."""


class _Scan:
    """Handlers of an XML parser, which fill ``facts``."""

    def __init__(self) -> None:
        self.facts = SheetFacts()
        self._row, self._column, self._hidden = 0, 0, False
        self._formula = self._value = self._in_value = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        match name.rpartition(" ")[2]:
            case "row":
                self._row = int(attributes.get("r", self._row + 1))
                self._column, self._hidden = 0, attributes.get("hidden") in ("1", "true")
            case "c":
                self._row, self._column = _cell(attributes.get("r"), self._row, self._column)
                self._formula = self._value = False
                if attributes.get("vm") and attributes.get("t") == "e":
                    self.facts.pictures.add((self._row, self._column))
            case "f":
                self._formula = True
            case "v" | "is":
                self._in_value = True
            case "mergeCell":
                first, _, last = attributes.get("ref", "").partition(":")
                self.facts.merged.append((_cell(first, 0, 0), _cell(last or first, 0, 0)))
            case "drawing" | "legacyDrawing" | "picture":
                self.facts.has_drawings |= not name.endswith("legacyDrawing")  # comments

    def text(self, text: str) -> None:
        self._value |= self._in_value and bool(text.strip())

    def end(self, name: str) -> None:
        tag = name.rpartition(" ")[2]
        if tag in ("v", "is"):
            self._in_value = False
        if tag != "c":
            return
        facts, cell = self.facts, (self._row, self._column)
        facts.formulas += self._formula
        if self._formula and not self._value:
            facts.without_value.add(cell)
        if self._formula or self._value:
            facts.last_row = max(facts.last_row, self._row)
            facts.last_column = max(facts.last_column, self._column)
            if self._hidden and facts.hidden_rows[-1:] != [self._row]:
                facts.hidden_rows.append(self._row)


def scan(source: IO[bytes]) -> SheetFacts:
    """The facts of a worksheet, from its XML.

    Raises ValueError for XML that is damaged or declares entities.
    """
    handlers = _Scan()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = handlers.start
    parser.EndElementHandler = handlers.end
    parser.CharacterDataHandler = handlers.text
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        while chunk := source.read(_CHUNK):
            parser.Parse(chunk, False)
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise ValueError(f"a sheet is not valid XML: {error}") from None
    return handlers.facts


def declares_doctype(source: IO[bytes]) -> bool:
    """Whether an XML file declares a document type, whose entities may unfold without end.

    Read up to the first element, in whatever encoding the file is; false of a file that is no XML.
    """
    found: list[bool] = []
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = lambda *_: found.append(True)
    parser.StartElementHandler = lambda *_: found.append(False)
    try:
        while not found and (chunk := source.read(_START)):
            parser.Parse(chunk, False)
    except (expat.ExpatError, LookupError, ValueError):
        return any(found)
    return any(found)


def _refuse_doctype(*_: object) -> None:
    raise ValueError("a sheet declares a document type, which no spreadsheet program writes")


def _cell(reference: str | None, row: int, column: int) -> Cell:
    """Row and column of a reference such as B7; of the next cell in the row without one."""
    if reference is None:
        return row, column + 1
    match = _REFERENCE.fullmatch(reference.replace("$", ""))
    if match is None:
        raise ValueError(f"a sheet has a cell {reference[:20]!r}, which is no reference")
    number = 0
    for letter in match[1]:
        number = 26 * number + ord(letter) - 64
    return int(match[2]), number
