"""The user's own image-text pairs: a table of safe and unsafe queries, or two folders of pictures.

A table (CSV, TSV, Excel, JSONL, JSON or parquet) has one query per row, with the columns

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

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from calib.config.data import PairsData
from calib.data.audit.own_columns import refuse_pictures_on_sheet, unread_notes
from calib.data.audit.own_rows import contradiction_notes, no_twins_notes, repeat_notes, size_note
from calib.data.example import Benchmark, Example, pairs
from calib.data.own.entries import Entry, folder_entries, table_entries
from calib.data.own.examples import examples_of
from calib.data.own.faults import Faults
from calib.data.own.naming import header_test, renamed
from calib.data.tables import cell_text, open_table
from calib.util.errors import CalibError
from calib.util.files import home_expanded


@dataclass(frozen=True)
class OwnPairs:
    """The examples of a table or a folder, and its faults."""

    examples: list[Example]
    """Those of the rows without a fault."""
    notes: list[str]
    stated_splits: frozenset[str]
    """Ids of the examples whose row states a split."""
    unpaired: int
    """Number of examples without a twin."""
    faults: Faults


def load(config: PairsData) -> Benchmark:
    """The pairs in ``config.file``.

    Notes name the columns that are not read, rows that repeat an earlier one, and how the file was
    read. Raises CalibError for a missing file, missing or misspelt columns, a row that is neither
    safe nor unsafe, a picture outside the root, twins in different splits, and duplicate ids: for
    the first fault, with the number of the others.
    """
    own = read(config)
    own.faults.raise_first()
    without = no_twins_notes(own.faults.path, len(own.examples), own.unpaired)
    notes = [own.notes[0], *without, *own.notes[1:]]
    return Benchmark(own.examples, notes, own.stated_splits)


def read(config: PairsData) -> OwnPairs:
    """The pairs in ``config.file``, with the faults of its rows in place of an error.

    Raises CalibError where no row can be read: without the file, or without a required column.
    """
    if config.file is None:
        raise CalibError(
            "missing-setting",
            "data.file is not set. Give a table of pairs (CSV, Excel, JSONL or parquet), or a "
            "folder with the subfolders safe and unsafe: data.file=PATH.",
        )
    path = home_expanded(config.file)
    faults = Faults(path)
    if path.is_dir():
        _require_table(config, path)
        (entries, notes), root = folder_entries(path, config.query), path
    else:
        entries, notes, root = _of_table(path, config, faults)
    found = examples_of(entries, root, config, faults)
    examples = [example for _, example in found]
    paired = {twin.id for pair in pairs(examples) for twin in (pair.safe, pair.unsafe)}
    unpaired = [
        (entry.where.removeprefix(f"{path}").lstrip(", /"), entry.pair)
        for entry, example in found
        if example.id not in paired
    ]
    notes.insert(0, size_note(path, len(examples), unpaired))
    notes += contradiction_notes(path, [(e.where, e.safety, e.asked) for e in entries])
    _check_twins(entries, "cluster", faults)
    _check_twins(entries, "split", faults, may_be_empty=True)
    stated = {f"pairs/{entry.id}" for entry in entries if cell_text(entry.row, "split")}
    return OwnPairs(examples, notes, frozenset(stated), len(unpaired), faults)


def _of_table(path: Path, config: PairsData, faults: Faults) -> tuple[list[Entry], list[str], Path]:
    """The entries of a table, notes on it, and the folder of its pictures."""
    columns, labels = config.columns or {}, config.labels or {}
    header_fit = header_test(columns, config.query)
    table = renamed(open_table(path, config.sheet, header_fit, "data.sheet"), columns)
    root = home_expanded(config.root) if config.root else path.parent
    if not root.is_dir():
        raise CalibError(
            "not-found",
            f"data.root={config.root} is not a folder. Give the folder of the pictures.",
        )
    entries, label_notes = table_entries(table, config.query, labels, faults)
    notes = [*table.notes, *label_notes]
    with faults.collected():
        notes += unread_notes(table)
    with faults.collected():
        notes += refuse_pictures_on_sheet(table)
    return entries, [*notes, *repeat_notes(table)], root


def _require_table(config: PairsData, folder: Path) -> None:
    """Raise CalibError for settings of a table, if data.file is a folder."""
    for key in ("sheet", "columns", "labels"):
        if getattr(config, key) is not None:
            raise CalibError(
                "conflicting-settings",
                f"data.{key} is a setting of tables, and data.file={folder} is a folder of "
                f"pictures. Omit data.{key}.",
            )


def _check_twins(
    entries: Sequence[Entry], column: str, faults: Faults, may_be_empty: bool = False
) -> None:
    """Collect a fault for each pair whose rows have different values in ``column``."""
    values: dict[str, str] = {}
    for entry in entries:
        value = cell_text(entry.row, column)
        if not entry.pair or (may_be_empty and not value):
            continue
        known = values.setdefault(entry.pair, value)
        if known != value:
            shown = entry.names.get(column, column)
            with faults.collected():
                raise CalibError(
                    "mismatch",
                    f"{entry.where}: the twins of pair '{entry.pair}' have '{known}' and '{value}' "
                    f"in column '{shown}'. Write the same in all rows of a pair.",
                )
