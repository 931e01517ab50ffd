"""The user's own image-text pairs: a table of safe and unsafe queries, or two folders of pictures.

A table (CSV, TSV, JSONL, JSON or parquet) has one query per row, with the columns

    query, safety                                                  required; safety: safe or unsafe
    image, pair, cluster, category, variant, part, split           optional
    request, system, history, id                                   optional
    image2, image3, ... or images                                  optional: several pictures

or both twins in a row, which share every column that exists once:

    safe_query, unsafe_query      or one column query for both pictures
    safe_image, unsafe_image      or one column image for both queries (image2, ... likewise)

A folder has the subfolders safe and unsafe. Pictures with the same name (apart from the file
extension) are twins, and data.query is the query for all of them. docs/pairs.md has examples.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calib.config.choices import PARTS, SPLITS, Safety, Split
from calib.config.data import PairsData
from calib.data.audit.own_columns import (
    MORE_IMAGES,
    OF_A_TWIN,
    OF_REQUIRED,
    OPTIONAL,
    SIDES,
    TWIN_COLUMNS,
    columns_of,
    unread_notes,
)
from calib.data.audit.own_rows import (
    PICTURE_ENDINGS,
    contradiction_notes,
    refuse_nan,
    refuse_other_than_text,
    repeat_notes,
    size_note,
)
from calib.data.example import Benchmark, Example, pairs
from calib.data.history import turns_from_cell
from calib.data.images import picture_from_cell
from calib.data.splits import split_of
from calib.data.tables import (
    TableRow,
    cell_prompt,
    cell_text,
    check_columns,
    read_table,
)
from calib.util.errors import CalibError, did_you_mean
from calib.util.files import home_expanded
from calib.util.reading import parse_json


@dataclass(frozen=True)
class _Entry:
    """A query as the table or folder states it."""

    id: str
    where: str
    query: str
    safety: Safety
    images: list[tuple[str, Any]]
    """Column and cell of each picture."""
    pair: str
    row: Mapping[str, Any]

    def place(self, column: str) -> str:
        """The location of a cell; in a folder the picture itself."""
        return f"{self.where}, column '{column}'" if self.row else self.where

    @property
    def asked(self) -> str:
        """What the model sees of the entry, apart from its pictures' content."""
        cells = [cell for _, cell in self.images if cell]
        return repr((self.query, cells, self.row.get("history"), cell_prompt(self.row, "system")))


def load(config: PairsData) -> Benchmark:
    """The pairs in ``config.file``.

    Columns that are not read, and rows that repeat an earlier one, are named in a note. Raises
    CalibError for a missing file, missing or misspelt columns, a row that is neither safe nor
    unsafe, a picture outside the root, twins in different splits, and duplicate ids.
    """
    if config.file is None:
        raise CalibError(
            "missing-setting",
            "data.file is not set. Give a table of pairs (CSV, JSONL or parquet), or a folder "
            "with the subfolders safe and unsafe: data.file=PATH.",
        )
    path = home_expanded(config.file)
    if path.is_dir():
        (entries, notes), root = _read_folder(path, config.query), path
    else:
        rows = read_table(path)
        refuse_nan(path, rows)
        refuse_other_than_text(path, rows)
        root = home_expanded(config.root) if config.root else path.parent
        if not root.is_dir():
            raise CalibError(
                "not-found",
                f"data.root={config.root} is not a folder. Give the folder of the pictures.",
            )
        entries = _read_table(path, rows, config.query)
        notes = [*unread_notes(path, rows), *repeat_notes(path, rows)]
    examples = _examples(entries, root, config)
    paired = {twin.id for pair in pairs(examples) for twin in (pair.safe, pair.unsafe)}
    unpaired = [
        (entry.where.removeprefix(f"{path}").lstrip(", /"), entry.pair)
        for entry, example in zip(entries, examples, strict=True)
        if example.id not in paired
    ]
    notes.insert(0, size_note(path, len(examples), unpaired))
    notes += contradiction_notes(path, [(e.where, e.safety, e.asked) for e in entries])
    _check_twins(entries, "cluster")
    _check_twins(entries, "split", may_be_empty=True)
    stated = {f"pairs/{entry.id}" for entry in entries if cell_text(entry.row, "split")}
    return Benchmark(examples, notes, frozenset(stated))


def _check_twins(entries: Sequence[_Entry], column: str, may_be_empty: bool = False) -> None:
    """Raise CalibError for a pair whose rows have different values in ``column``."""
    values: dict[str, str] = {}
    for entry in entries:
        value = cell_text(entry.row, column)
        if not entry.pair or (may_be_empty and not value):
            continue
        known = values.setdefault(entry.pair, value)
        if known != value:
            raise CalibError(
                "mismatch",
                f"The twins of pair '{entry.pair}' have '{known}' and '{value}' in column "
                f"'{column}'. Write the same in all rows of a pair.",
            )


def _read_table(path: Path, rows: Sequence[TableRow], query: str | None) -> list[_Entry]:
    columns = columns_of(rows)
    single = ("image", *MORE_IMAGES, *TWIN_COLUMNS[2:])
    if "images" in columns and not columns.isdisjoint(single):
        raise CalibError(
            "conflicting-settings",
            f"{path} has the column images, which lists the pictures of a query, and columns for "
            "single pictures. Keep one of the two.",
        )
    if columns.isdisjoint(TWIN_COLUMNS):
        required = ["safety"] if query else ["query", "safety"]
        check_columns(rows, required, str(path), OPTIONAL, OF_REQUIRED)
        return [_single(path, k, row, query) for k, row in enumerate(rows)]
    differing = [
        name for name in OF_A_TWIN if not columns.isdisjoint(f"{side}_{name}" for side in SIDES)
    ]
    required = [f"{side}_{name}" for name in differing for side in SIDES]
    if "safe_query" not in columns and not query:
        required.append("query")
    check_columns(rows, required, str(path), (*OPTIONAL, *TWIN_COLUMNS[:4]), OF_REQUIRED)
    stated = {cell_text(row, "pair") for row in rows}
    for k, row in enumerate(rows):
        if not (cell_text(row, "pair") or cell_text(row, "id")) and str(k) in stated:
            raise CalibError(
                "missing-value",
                f"{path}, row {k + 1} has no pair. It would be pair '{k}' by its number, and "
                f"another row names a pair '{k}'. Fill the column 'pair' in every row.",
            )
    return [entry for k, row in enumerate(rows) for entry in _twins(path, k, row, query)]


def _single(path: Path, number: int, row: TableRow, query: str | None) -> _Entry:
    where = f"{path}, row {number + 1}"
    value = cell_text(row, "safety").lower()
    safety: Safety = "safe" if value == "safe" else "unsafe"
    if value not in SIDES:
        raise CalibError("invalid-value", f"{where}: safety is '{value}'. Write safe or unsafe.")
    id_, query = cell_text(row, "id") or str(number), _query(where, row, "query", query)
    return _Entry(id_, where, query, safety, _images(row), cell_text(row, "pair"), row)


def _twins(path: Path, number: int, row: TableRow, query: str | None) -> list[_Entry]:
    where = f"{path}, row {number + 1}"
    name = cell_text(row, "id") or str(number)
    pair = cell_text(row, "pair") or name
    entries = []
    for side in SIDES:
        column = f"{side}_query" if f"{side}_query" in row else "query"
        text = _query(where, row, column, query)
        images = _images(row, f"{side}_")
        entries.append(_Entry(f"{name}/{side}", where, text, side, images, pair, row))
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


def _query(where: str, row: TableRow, column: str, default: str | None) -> str:
    query = cell_prompt(row, column) or (default or "").strip()
    if not query:
        raise CalibError(
            "missing-value",
            f"{where}: column '{column}' is empty. Fill it, or give one query for all rows: "
            "data.query='...'.",
        )
    return query


def _read_folder(folder: Path, query: str | None) -> tuple[list[_Entry], list[str]]:
    """The pictures of both subfolders as queries, and notes on files that are not read."""
    if not query:
        raise CalibError(
            "missing-setting",
            f"data.file={folder} is a folder of pictures, so a query is required: "
            "data.query='How do I use this?'. (Or give a table with a column 'query'.)",
        )
    entries = []
    notes: list[str] = []
    for side in SIDES:
        subfolder = folder / side
        if not subfolder.is_dir():
            raise CalibError(
                "not-found",
                f"{folder} has no subfolder '{side}'. Create the subfolders safe and unsafe.",
            )
        names = sorted(p.name for p in subfolder.iterdir() if p.suffix.lower() in PICTURE_ENDINGS)
        others = [p.name for p in subfolder.iterdir() if p.suffix.lower() not in PICTURE_ENDINGS]
        if others := sorted(name for name in others if not name.startswith(".")):
            notes.append(
                f"{subfolder}: files that are not read, because their names do not end in "
                f"{', '.join(PICTURE_ENDINGS)}: n={len(others)} (first: {others[0]})"
            )
        if not names:
            raise CalibError(
                "too-few",
                f"{subfolder} has no pictures ({', '.join(PICTURE_ENDINGS)}). Put some there.",
            )
        entries += [
            _Entry(path, str(subfolder / name), query, side, [("image", path)], Path(name).stem, {})
            for name, path in ((name, f"{side}/{name}") for name in names)
        ]
    # Twins are adjacent, so that a limit on the number of examples does not separate them.
    return sorted(entries, key=lambda entry: (entry.pair, entry.safety)), notes


def _examples(entries: Sequence[_Entry], root: Path, config: PairsData) -> list[Example]:
    stated = {e.pair: cell for e in entries if e.pair and (cell := cell_text(e.row, "split"))}
    texts: dict[str, set[str]] = {}
    for entry in entries:
        texts.setdefault(entry.pair, set()).add(repr((entry.query, entry.row.get("history"))))
    pictures_of = [
        [
            picture
            for column, cell in entry.images
            if (picture := picture_from_cell(cell, root, entry.place(column)))
        ]
        for entry in entries
    ]
    one_sided = _pictures_on_one_side(entries, pictures_of)
    examples: list[Example] = []
    locations: dict[str, str] = {}
    for entry, pictures in zip(entries, pictures_of, strict=True):
        if entry.id in locations:
            raise CalibError(
                "duplicate",
                f"{entry.where} and {locations[entry.id]} have the same id '{entry.id}'. "
                "Give each row its own id.",
            )
        locations[entry.id] = entry.where
        pictured = bool(pictures) or entry.pair in one_sided
        same_query = bool(pictured and entry.pair) and len(texts[entry.pair]) == 1
        request = cell_text(entry.row, "request")
        examples.append(
            Example(
                id=f"pairs/{entry.id}",
                dataset=_part(entry, same_query),
                variant=cell_text(entry.row, "variant") or ("photo" if pictured else "text_only"),
                category=cell_text(entry.row, "category") or "none",
                split=_split(entry, config, stated.get(entry.pair, "")),
                query=entry.query,
                picture=pictures[0] if pictures else None,
                more_pictures=tuple(pictures[1:]),
                safety=entry.safety,
                pair=f"pairs/{entry.pair}" if entry.pair else None,
                concept=cell_text(entry.row, "cluster") or None,
                metadata={"request": request} if request else {},
                system=cell_prompt(entry.row, "system") or config.system,
                demonstrations=turns_from_cell(
                    entry.row.get("history"), f"{entry.where}, column 'history'"
                ),
            )
        )
    return examples


def _pictures_on_one_side(entries: Sequence[_Entry], pictures: Sequence[Sequence[Any]]) -> set[str]:
    """The pairs in which the picture alone separates the twins: one has some, the other none."""
    sides: dict[str, set[tuple[Safety, bool]]] = {}
    for entry, shown in zip(entries, pictures, strict=True):
        if entry.pair:
            sides.setdefault(entry.pair, set()).add((entry.safety, bool(shown)))
    alone = ({("safe", True), ("unsafe", False)}, {("safe", False), ("unsafe", True)})
    return {pair for pair, found in sides.items() if found in alone}


def _part(entry: _Entry, same_query: bool) -> str:
    """image_centric if twins share the query and differ in the picture, else text_centric."""
    part = cell_text(entry.row, "part")
    if part and part not in PARTS:
        raise CalibError(
            "invalid-value",
            f"{entry.where}: part is '{part}'.{did_you_mean(part, PARTS)} "
            f"Choose from {', '.join(PARTS)}, or leave the cell empty.",
        )
    return part or ("image_centric" if same_query else "text_centric")


def _split(entry: _Entry, config: PairsData, of_twin: str) -> Split:
    """The split in the row, or else the one that its twin states, or else one drawn by hashing."""
    value = cell_text(entry.row, "split") or of_twin
    for split in SPLITS:
        if value == split:
            return split
    if value:
        raise CalibError(
            "invalid-value",
            f"{entry.where}: split is '{value}'.{did_you_mean(value, SPLITS)} "
            f"Choose from {', '.join(SPLITS)}, or leave the cell empty.",
        )
    return split_of(entry.pair or entry.id, config.train, config.validation)
