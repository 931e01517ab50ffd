"""Read the rows of a utility set: from a local copy of its hub repository, a table, or the hub."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from calib.config.data import PublishedUtility
from calib.data.hub import hub_name, read_hub, read_parquet
from calib.data.images import PictureBytes, PictureFile, picture_from_cell
from calib.data.tables import ENDINGS, TableRow, check_columns, open_table
from calib.util.errors import CalibError
from calib.util.files import home_expanded

_SHARD = re.compile(r"-(\d{5})-of-(\d{5})\b")
_PRECEDENCE = (".parquet", ".tsv", ".csv", ".jsonl", ".json", ".xlsx", ".xlsm", ".txt")
assert set(_PRECEDENCE) == set(ENDINGS)


@dataclass(frozen=True)
class SourceRow:
    """A row and its location."""

    row: TableRow
    number: int
    """Index in its subset, from 0: the same in a local copy and on the hub."""
    where: str
    """Table and row, counted from 1, for messages."""
    folder: Path
    """Folder that picture paths are relative to."""

    def picture(self, column: str) -> PictureFile | PictureBytes | None:
        """The picture in ``column``; None for an empty cell."""
        where = f"{self.where}, column '{column}'"
        return picture_from_cell(self.row.get(column), self.folder, where)


@dataclass(frozen=True)
class _Tables:
    """Rows of one or several files."""

    rows: list[TableRow]
    numbers: list[int]
    """The number of each row, for messages."""
    name: str
    folder: Path
    notes: list[str]


def read_rows(
    config: PublishedUtility, columns: Iterable[str], notes: list[str]
) -> list[SourceRow]:
    """The rows of ``config.split`` in their order; ``columns`` are required. Notes on how the
    tables were read are added to ``notes``.

    Raises CalibError if the table does not exist, cannot be read or lacks a column.
    """
    source_rows: list[SourceRow] = []
    tables = _local_tables(config) if config.root is not None else _hub_tables(config)
    for table in tables:
        notes += table.notes
        check_columns(table.rows, columns, table.name)
        source_rows += [
            SourceRow(row, k, f"{table.name}, row {number}", table.folder)
            for k, (number, row) in enumerate(zip(table.numbers, table.rows, strict=True))
        ]
    return source_rows


def _hub_tables(config: PublishedUtility) -> Iterator[_Tables]:
    if not config.hub:
        raise CalibError(
            "missing-setting",
            f"utility={config.name} requires utility.hub, the id of a dataset on the hub, or "
            "utility.root, the folder of a local copy.",
        )
    default: list[str | None] = [None]
    for subset in config.subsets or default:
        rows = read_hub(config.hub, subset, config.split, config.revision, "utility")
        name = f"{hub_name(config.hub, subset)}, split {config.split}"
        yield _Tables(rows, list(range(1, len(rows) + 1)), name, Path(config.hub), [])


def _local_tables(config: PublishedUtility) -> Iterator[_Tables]:
    root = home_expanded(str(config.root))
    if root.is_file():
        yield _read_files([root], str(root))
        return
    if not root.is_dir():
        raise CalibError(
            "not-found",
            f"utility.root={config.root} does not exist. Give a folder with a copy of "
            f"{config.hub or config.name}, or a table with its columns.",
        )
    # Either a folder per subset, or all subsets in one table.
    has_folders = any((root / name).is_dir() for name in config.subsets)
    for subset in config.subsets if has_folders else [""]:
        folders = [root / subset] if subset else [root / "data", root]
        paths = next(filter(None, (_table_paths(folder, config) for folder in folders)), [])
        if not paths:
            raise CalibError(
                "not-found",
                f"{' or '.join(map(str, folders))} contains no table of the split "
                f"'{config.split}' of {config.name}: neither {config.split}-*.parquet nor a file "
                f"{config.split} or {config.name} ending in {', '.join(_PRECEDENCE)}. Put the "
                f"files of {config.hub or 'the set'} there, or give the table's path: "
                "utility.root=FILE.",
            )
        name = str(paths[0]) if len(paths) == 1 else f"{paths[0].parent} ({len(paths)} tables)"
        yield _read_files(paths, name)


def _read_files(paths: list[Path], name: str) -> _Tables:
    if paths[0].suffix.lower() == ".parquet":
        rows = [row for path in paths for row in read_parquet(path)]
        return _Tables(rows, list(range(1, len(rows) + 1)), name, paths[0].parent, [])
    table = open_table(paths[0])  # shards are parquet files
    return _Tables(table.rows, table.numbers, name, paths[0].parent, table.notes)


def _table_paths(folder: Path, config: PublishedUtility) -> list[Path]:
    """The parquet shards of the split in a folder, else the table named after the split or set."""
    if not folder.is_dir():
        return []
    files = sorted(path for path in folder.iterdir() if path.is_file())
    shards = [p for p in files if p.match(f"{config.split}-*.parquet")]
    if shards:
        _check_shards(shards)
        return shards
    by_name = {path.name.casefold(): path for path in files}
    for ending in _PRECEDENCE:
        for stem in (config.split, config.name):
            if path := by_name.get(f"{stem}{ending}".casefold()):
                return [path]
    return []


def _check_shards(shards: list[Path]) -> None:
    """Raise CalibError if a shard such as test-00000-of-00003.parquet is missing or duplicate."""
    matches = [_SHARD.search(path.name) for path in shards]
    if not any(matches):
        return
    parts = [(int(match[1]), int(match[2])) for match in matches if match]
    total = parts[0][1]
    if sorted(parts) != [(k, total) for k in range(total)] or len(parts) != len(shards):
        listed = ", ".join(path.name for path in shards)
        raise CalibError(
            "invalid-content",
            f"{shards[0].parent} should contain each of {total} shards once, but contains "
            f"{listed}. Download missing shards and delete those of another version.",
        )
