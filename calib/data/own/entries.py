"""The queries that a table or a folder states, before their pictures and twins are known."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calib.config.choices import Safety
from calib.data.audit.own_columns import (
    MORE_IMAGES,
    OF_A_TWIN,
    OF_REQUIRED,
    OPTIONAL,
    SIDES,
    TWIN_COLUMNS,
    columns_of,
)
from calib.data.audit.own_rows import PICTURE_ENDINGS, check_row
from calib.data.own.faults import Faults
from calib.data.own.naming import check_labels, safety_of
from calib.data.tables import ENDINGS, Table, TableRow, cell_prompt, cell_text, check_columns
from calib.util.errors import CalibError
from calib.util.reading import parse_json


@dataclass(frozen=True)
class Entry:
    """A query as the table or folder states it."""

    id: str
    where: str
    query: str
    safety: Safety
    images: list[tuple[str, Any]]
    """Column and cell of each picture."""
    pair: str
    row: Mapping[str, Any]
    names: Mapping[str, str] = field(default_factory=dict)
    """The user's names of columns by calib's."""

    def place(self, column: str) -> str:
        """The location of a cell; in a folder the picture itself."""
        return (
            f"{self.where}, column '{self.names.get(column, column)}'" if self.row else self.where
        )

    @property
    def asked(self) -> str:
        """What the model sees of the entry, apart from its pictures' content."""
        cells = [cell for _, cell in self.images if cell]
        return repr((self.query, cells, self.row.get("history"), cell_prompt(self.row, "system")))


def table_entries(
    table: Table, query: str | None, labels: Mapping[str, str], faults: Faults
) -> tuple[list[Entry], list[str]]:
    """The queries of the rows without a fault, and notes on labels; ``query`` is that of rows
    without one.

    Faults of rows are collected. Raises CalibError if a column is missing, or if two kinds of
    columns exclude each other.
    """
    columns = columns_of(table.rows)
    single = ("image", *MORE_IMAGES, *TWIN_COLUMNS[2:])
    if "images" in columns and not columns.isdisjoint(single):
        raise CalibError(
            "conflicting-settings",
            f"{table.path} has the column images, which lists the pictures of a query, and columns "
            "for single pictures. Keep one of the two.",
        )
    one_per_row = columns.isdisjoint(TWIN_COLUMNS)
    required = ["safety"] if query else ["query", "safety"]
    optional: tuple[str, ...] = OPTIONAL
    if not one_per_row:
        required, optional = _twin_columns(columns, query), (*OPTIONAL, *TWIN_COLUMNS[:4])
    where = str(table.path)
    check_columns(table.rows, required, where, optional, OF_REQUIRED, "data.columns")
    if labels and not one_per_row:
        raise CalibError(
            "conflicting-settings",
            f"data.labels gives the meaning of column safety, and {where} has both twins in a row. "
            "Omit data.labels.",
        )
    notes = check_labels(table, labels, faults) if one_per_row else []
    entries: list[Entry] = []
    stated = {str(row["pair"]).strip() for row in table.rows if row.get("pair") is not None}
    for number, row in enumerate(table.rows):
        known = len(faults.found)
        check_row(table, number, faults)
        if len(faults.found) > known:
            continue
        with faults.collected():
            if one_per_row:
                entries += _single(table, number, row, query, labels)
            else:
                entries += _twins(table, number, row, query, stated)
    return entries, notes


def _twin_columns(columns: set[str], query: str | None) -> list[str]:
    """The columns that a table with both twins in a row must have."""
    differing = [
        name for name in OF_A_TWIN if not columns.isdisjoint(f"{side}_{name}" for side in SIDES)
    ]
    required = [f"{side}_{name}" for name in differing for side in SIDES]
    return required if "safe_query" in columns or query else [*required, "query"]


def _single(
    table: Table, number: int, row: TableRow, query: str | None, labels: Mapping[str, str]
) -> list[Entry]:
    safety = safety_of(row.get("safety"), labels)
    if safety is None:  # check_labels has collected it
        return []
    id_, text = cell_text(row, "id") or str(number), _query(table, number, "query", query)
    pair, where = cell_text(row, "pair"), table.place(number)
    return [Entry(id_, where, text, safety, _images(row), pair, row, table.names)]


def _twins(
    table: Table, number: int, row: TableRow, query: str | None, stated: set[str]
) -> list[Entry]:
    where = table.place(number)
    name = cell_text(row, "id") or str(number)
    pair = cell_text(row, "pair") or name
    if not (cell_text(row, "pair") or cell_text(row, "id")) and str(number) in stated:
        raise CalibError(
            "missing-value",
            f"{where} has no pair. It would be pair '{number}' by its number, and another row "
            f"names a pair '{number}'. Fill the column '{table.column('pair')}' in every row.",
        )
    entries = []
    for side in SIDES:
        column = f"{side}_query" if f"{side}_query" in row else "query"
        text = _query(table, number, column, query)
        images = _images(row, f"{side}_")
        entries.append(Entry(f"{name}/{side}", where, text, side, images, pair, row, table.names))
    return entries


def _images(row: TableRow, side: str = "") -> list[tuple[str, Any]]:
    """Column and cell of each picture; a column of one ``side`` (safe_, unsafe_) replaces the one
    that the twins share."""
    cells = []
    for name in ("image", *MORE_IMAGES):
        column = f"{side}{name}" if f"{side}{name}" in row else name
        cells.append((column, row.get(column)))
    listed = row.get("images")
    with suppress(ValueError):  # a single path
        listed = parse_json(listed) if isinstance(listed, str) else listed
    return cells + [("images", cell) for cell in (listed if isinstance(listed, list) else [listed])]


def _query(table: Table, number: int, column: str, default: str | None) -> str:
    query = cell_prompt(table.rows[number], column) or (default or "").strip()
    if not query:
        raise CalibError(
            "missing-value",
            f"{table.place(number)}: column '{table.column(column)}' is empty. Fill it, or give "
            "one query for all rows: data.query='...'.",
        )
    return query


def folder_entries(folder: Path, query: str | None) -> tuple[list[Entry], list[str]]:
    """The pictures of both subfolders as queries, and notes on files that are not read.

    Raises CalibError without a query (missing-setting), a subfolder (not-found) or pictures in it
    (too-few).
    """
    if not query:
        tables = sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)
        table = "give a table with a column 'query'"
        if tables:
            table = f"give the table in it: data.file={tables[0]}"
        raise CalibError(
            "missing-setting",
            f"data.file={folder} is a folder of pictures, so a query is required: "
            f"data.query='How do I use this?'. (Or {table}.)",
        )
    entries: list[Entry] = []
    notes: list[str] = []
    for side in SIDES:
        names, side_notes = _picture_names(folder, side)
        notes += side_notes
        entries += [
            Entry(path, str(folder / path), query, side, [("image", path)], Path(name).stem, {})
            for name, path in ((name, f"{side}/{name}") for name in names)
        ]
    # Twins are adjacent, so that a limit on the number of examples does not separate them.
    return sorted(entries, key=lambda entry: (entry.pair, entry.safety)), notes


def _picture_names(folder: Path, side: str) -> tuple[Sequence[str], list[str]]:
    """The pictures in a subfolder, and a note on its other files."""
    subfolder = folder / side
    if not subfolder.is_dir():
        raise CalibError(
            "not-found",
            f"{folder} has no subfolder '{side}'. Create the subfolders safe and unsafe.",
        )
    names = sorted(p.name for p in subfolder.iterdir() if p.suffix.lower() in PICTURE_ENDINGS)
    others = [p.name for p in subfolder.iterdir() if p.suffix.lower() not in PICTURE_ENDINGS]
    if not names:
        raise CalibError(
            "too-few",
            f"{subfolder} has no pictures ({', '.join(PICTURE_ENDINGS)}). Put some there.",
        )
    if others := sorted(name for name in others if not name.startswith(".")):
        return names, [
            f"{subfolder}: files that are not read, because their names do not end in "
            f"{', '.join(PICTURE_ENDINGS)}: n={len(others)} (first: {others[0]})"
        ]
    return names, []
