"""The rows of a set: from a local copy of its hub repository, from one table, or from the hub."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from calib.config.data import PublishedUtility
from calib.data.hub import read_hub, read_parquet
from calib.data.images import PictureBytes, PictureFile, picture_in
from calib.data.tables import ENDINGS, TableRow, checked_columns, read_table
from calib.util.errors import CalibError

_SHARD = re.compile(r"-(\d{5})-of-(\d{5})\b")
_FIRST = (".parquet", ".tsv", ".csv", ".jsonl", ".json")
assert set(_FIRST) == set(ENDINGS)


@dataclass(frozen=True)
class SourceRow:
    """One row and where it stands."""

    row: TableRow
    number: int
    """In its subset, from 0: the same in a local copy and on the hub."""
    where: str
    """Table and row, for messages."""
    folder: Path
    """What paths of pictures start from."""

    def picture(self, column: str) -> PictureFile | PictureBytes | None:
        """The picture in ``column``; None where the cell is empty."""
        return picture_in(self.row.get(column), self.folder, f"{self.where}, column '{column}'")


def records(config: PublishedUtility, needed: Iterable[str]) -> list[SourceRow]:
    """The rows of ``config.split``, which have the ``needed`` columns, in their order.

    Raises CalibError where there is no such table, or it cannot be read or lacks a column.
    """
    found: list[SourceRow] = []
    tables = _local(config) if config.root is not None else _hub(config)
    for rows, where, folder in tables:
        checked_columns(rows, needed, where)
        found += [SourceRow(row, k, f"{where}, row {k}", folder) for k, row in enumerate(rows)]
    return found


_Table = tuple[list[TableRow], str, Path]
"""Rows of a subset, their place in words, and the folder of their pictures."""


def _hub(config: PublishedUtility) -> Iterable[_Table]:
    if not config.hub:
        raise CalibError(
            f"utility={config.name} has neither utility.hub nor utility.root. Give the id of the "
            "dataset on the hub, or the folder of a local copy."
        )
    whole: list[str | None] = [None]
    for subset in config.subsets or whole:
        rows = read_hub(config.hub, subset, config.split, config.revision, "utility")
        where = f"{config.hub}{f' ({subset})' if subset else ''}, split {config.split}"
        yield rows, where, Path(config.hub)


def _local(config: PublishedUtility) -> Iterable[_Table]:
    root = Path(str(config.root)).expanduser()
    if root.is_file():
        yield _rows(root), str(root), root.parent
        return
    if not root.is_dir():
        raise CalibError(
            f"utility.root={config.root} does not exist. Name a folder that holds a copy of "
            f"{config.hub or config.name}, or a table with its columns."
        )
    # One folder per subset, or a copy that holds all of them in one table.
    apart = [name for name in config.subsets if (root / name).is_dir()]
    for subset in config.subsets if apart else [""]:
        places = [root / subset] if subset else [root / "data", root]
        paths = next(filter(None, (_tables(place, config) for place in places)), [])
        if not paths:
            looked = " or ".join(str(place) for place in places)
            raise CalibError(
                f"{looked} holds no table of the split '{config.split}' of {config.name}: neither "
                f"{config.split}-*.parquet nor a file {config.split} or {config.name} ending in "
                f"{', '.join(_FIRST)}. Put the files of {config.hub or 'the set'} there, or name "
                "the table itself: utility.root=FILE."
            )
        where = str(paths[0]) if len(paths) == 1 else f"{paths[0].parent} ({len(paths)} tables)"
        yield [row for path in paths for row in _rows(path)], where, paths[0].parent


def _rows(path: Path) -> list[TableRow]:
    return read_parquet(path) if path.suffix.lower() == ".parquet" else read_table(path)


def _tables(folder: Path, config: PublishedUtility) -> list[Path]:
    """The parquet files of the split in a folder, else the one table that is called like the split
    or the set."""
    if not folder.is_dir():
        return []
    files = sorted(path for path in folder.iterdir() if path.is_file())
    shards = [p for p in files if p.match(f"{config.split}-*.parquet")]
    if shards:
        _refuse_gaps(shards)
        return shards
    by_name = {path.name.casefold(): path for path in files}
    for ending in _FIRST:
        for stem in (config.split, config.name):
            if path := by_name.get(f"{stem}{ending}".casefold()):
                return [path]
    return []


def _refuse_gaps(shards: list[Path]) -> None:
    """Raise CalibError where one of test-00000-of-00003.parquet and so on lacks or comes twice."""
    numbered = [_SHARD.search(path.name) for path in shards]
    if not any(numbered):
        return
    parts = [(int(found[1]), int(found[2])) for found in numbered if found]
    number = parts[0][1]
    if sorted(parts) != [(k, number) for k in range(number)] or len(parts) != len(shards):
        listed = ", ".join(path.name for path in shards)
        raise CalibError(
            f"{shards[0].parent} does not hold each of {number} tables once: {listed}. Fetch those "
            "that are missing, and take away those of another version."
        )
