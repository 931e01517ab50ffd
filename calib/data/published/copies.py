"""A local or downloaded copy of a published benchmark: its tables, pictures and zip archives."""

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from calib.config.data import PublishedData
from calib.data.hub import download, read_hub
from calib.data.images import MAX_BYTES, PictureBytes, PictureFile, picture_file
from calib.data.tables import TableRow, read_table
from calib.util.errors import CalibError

Numbered = tuple[int, TableRow]
"""A row and its number in its table, from 0 and counted before any row was left out."""


@dataclass(frozen=True)
class Copy:
    """A folder with a benchmark's files."""

    folder: Path
    get: str
    """Where the benchmark's files come from, for messages."""
    top: Path
    """What no link may lead out of: the folder, or the part of the hub's cache it belongs to."""

    def file(self, *names: str) -> Path:
        """The first of ``names`` (paths in the folder) that is a file.

        Raises CalibError where none is.
        """
        for name in names:
            if (self.folder / name).is_file():
                return self.folder / name
        looked_for = " or ".join(names)
        raise CalibError(
            f"{self.folder} holds no {looked_for}. {self.get}; then name its folder with data.root."
        )

    def subfolder(self, *names: str) -> Path | None:
        """The first of ``names`` that is a folder; None where none is."""
        found = (self.folder / name for name in names)
        return next((path for path in found if path.is_dir()), None)

    def picture(self, folder: Path, name: str, what: str) -> PictureFile:
        """The picture called ``name`` in ``folder``, a folder of the copy; ``what`` says where the
        name stands.

        Raises CalibError for a name that leads out of it.
        """
        if self.top == self.folder:
            return picture_file(folder, name, what)
        # A downloaded file is a link to another folder of the hub's cache.
        return picture_file(self.top, f"{folder.relative_to(self.top)}/{name}", what)


def local_copy(config: PublishedData, get: str) -> Copy | None:
    """The local copy that data.root names; None where the hub is to be read.

    Raises CalibError where the folder does not exist, or neither is given.
    """
    if config.root is None and config.hub is None:
        raise CalibError(
            f"data={config.name} is read from a local copy. {get}; then name its "
            "folder: data.root=FOLDER."
        )
    if config.root is None:
        return None
    folder = Path(config.root).expanduser()
    if not folder.is_dir():
        raise CalibError(f"data.root={config.root} is not a folder. {get}; then name its folder.")
    return Copy(folder, get, folder)


def fetched_copy(config: PublishedData, get: str, patterns: Sequence[str]) -> Copy:
    """The local copy, or the plain files of the hub's that match ``patterns``."""
    if found := local_copy(config, get):
        return found
    folder = download(str(config.hub), patterns, config.revision)
    # The hub's cache: datasets--OWNER--NAME/snapshots/REVISION, with links to .../blobs.
    cached = folder.parent.name == "snapshots"
    return Copy(folder, get, folder.parent.parent if cached else folder)


def table(
    config: PublishedData, get: str, names: Sequence[str], subset: str | None, split: str
) -> tuple[list[TableRow], str]:
    """The rows of a table and its name for messages: the first of the files ``names`` in the local
    copy, or the hub's ``split`` of ``subset``."""
    copy = local_copy(config, get)
    if copy is None:
        where = f"{config.hub}{f' ({subset})' if subset else ''}, split {split}"
        return read_hub(str(config.hub), subset, split, config.revision), where
    path = copy.file(*names)
    return read_table(path), str(path)


def picture_of(cell: Any, what: str, get: str) -> PictureBytes:
    """The picture in a cell of a table; ``what`` says where it stands, ``get`` where else it is.

    Raises CalibError where the cell holds no picture.
    """
    if not isinstance(cell, PictureBytes):
        raise CalibError(f"{what} holds no picture. {get}; then name its folder: data.root=FOLDER.")
    return cell


def prompt_of(row: Mapping[str, Any], column: str) -> str:
    """A cell as it is asked: without blanks around it, its inner line breaks kept."""
    value = row.get(column)
    return "" if value is None else str(value).strip()


def with_text(
    rows: Sequence[TableRow], where: str, *columns: str
) -> tuple[list[Numbered], list[str]]:
    """The rows whose ``columns`` all hold text, numbered, and a note on those that do not."""
    kept: list[Numbered] = []
    dropped: list[Numbered] = []
    for number, row in enumerate(rows):
        whole = all(prompt_of(row, column) for column in columns)
        (kept if whole else dropped).append((number, row))
    if not dropped:
        return kept, []
    named = " or ".join(f"'{column}'" for column in columns)
    first = ", ".join(str(number + 1) for number, _ in dropped[:10])
    more = ", ..." if len(dropped) > 10 else ""
    return kept, [
        f"{where}: rows with an empty {named} were left out: rows {first}{more} (n={len(dropped)})"
    ]


def members(path: Path) -> frozenset[str]:
    """The names in an archive. Raises CalibError where it cannot be read."""
    return frozenset(_archive(path).namelist())


def zipped_picture(path: Path, name: str) -> PictureBytes:
    """The picture called ``name`` in the archive ``path``."""
    return PictureBytes(f"{path}:{name}", partial(_read, path, name))


@cache  # The list of a large archive takes a moment to read, and is read once.
def _archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise CalibError(
            f"{path} cannot be read as a zip archive ({error}). Fetch it again."
        ) from error


def _read(path: Path, name: str) -> bytes:
    archive = _archive(path)
    try:
        size = archive.getinfo(name).file_size
        if size > MAX_BYTES:
            raise CalibError(
                f"Picture {path}:{name} has {size:,} bytes; at most {MAX_BYTES:,} are read."
            )
        return archive.read(name)
    except KeyError:
        raise CalibError(
            f"Picture {path}:{name} does not exist. Fetch the archive again."
        ) from None
    except (OSError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise CalibError(f"Picture {path}:{name} cannot be read ({error}).") from error
