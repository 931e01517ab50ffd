"""A local or downloaded copy of a published benchmark: its tables, pictures and zip archives."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from calib.config.data import PublishedData
from calib.data.hub import download, hub_name, read_hub
from calib.data.images import MAX_BYTES, PictureBytes, PictureFile, picture_file
from calib.data.tables import TableRow, cell_prompt, read_table
from calib.util.content import in_place_of
from calib.util.errors import CalibError
from calib.util.files import home_expanded

NumberedRow = tuple[int, TableRow]
"""A row and its index in the complete table, from 0."""


@dataclass(frozen=True)
class Copy:
    """A folder with the files of a benchmark."""

    folder: Path
    source: str
    """Instruction for obtaining the files, for error messages."""

    def file(self, *names: str) -> Path:
        """The first of ``names`` (paths in the folder) that is a file.

        Raises CalibError if none is.
        """
        for name in names:
            if (self.folder / name).is_file():
                return self.folder / name
        raise CalibError(
            "not-found",
            f"{self.folder} does not contain {' or '.join(names)}. {self.source}; then give its "
            "folder with data.root.",
        )

    def subfolder(self, *names: str) -> Path | None:
        """The first of ``names`` that is a folder; None if none is."""
        paths = (self.folder / name for name in names)
        return next((path for path in paths if path.is_dir()), None)

    def picture(self, folder: Path, name: str, where: str) -> PictureFile | PictureBytes:
        """The picture ``name`` in ``folder``, a subfolder of the copy.

        ``where`` is the location of the name, for the error message. Raises CalibError for a name
        that leads out of that folder. A downloaded file is a link to the hub's cache. An empty
        name is a picture that cannot be opened, which data.skip_broken skips.
        """
        if not name:
            return PictureBytes(where, bytes)
        return picture_file(folder, name, where)


def local_copy(config: PublishedData, source: str) -> Copy | None:
    """The local copy in data.root; None if the hub should be used.

    Raises CalibError if the folder does not exist, or neither root nor hub is given.
    """
    if config.root is None and config.hub is None:
        raise CalibError(
            "missing-setting",
            f"data={config.name} requires a local copy. {source}; then give its folder: "
            "data.root=FOLDER.",
        )
    if config.root is None:
        return None
    folder = home_expanded(config.root)
    if not folder.is_dir():
        raise CalibError(
            "not-found",
            f"data.root={config.root} is not a folder. {source}; then give its folder.",
        )
    return Copy(folder, source)


def copy_or_download(config: PublishedData, source: str, patterns: Sequence[str]) -> Copy:
    """The local copy, or a download of the hub's files that match ``patterns``."""
    if copy := local_copy(config, source):
        return copy
    return Copy(download(str(config.hub), patterns, config.revision), source)


def read_subset(
    config: PublishedData, source: str, names: Sequence[str], subset: str | None, split: str
) -> tuple[list[TableRow], str]:
    """The rows of a table and its name for messages: the first existing file of ``names`` in the
    local copy, or ``split`` of ``subset`` on the hub."""
    copy = local_copy(config, source)
    if copy is None:
        rows = read_hub(str(config.hub), subset, split, config.revision)
        return rows, f"{hub_name(str(config.hub), subset)}, split {split}"
    path = copy.file(*names)
    return read_table(path), str(path)


def required_picture(cell: Any, where: str, source: str) -> PictureBytes:
    """The picture in a table cell; one that cannot be opened, and which data.skip_broken skips, if
    the cell is empty.

    ``where`` is the location of the cell and ``source`` an alternative source, for the error
    message. Raises CalibError if the cell contains something else.
    """
    if cell is None or cell == "":
        return PictureBytes(where, bytes)
    if not isinstance(cell, PictureBytes):
        raise CalibError(
            "missing-value",
            f"{where} does not contain a picture. {source}; then give its folder: "
            "data.root=FOLDER.",
        )
    return cell


def rows_with_text(
    rows: Sequence[TableRow], where: str, *columns: str
) -> tuple[list[NumberedRow], list[str]]:
    """The numbered rows with text in all ``columns``, and a note on the skipped rows."""
    complete: list[NumberedRow] = []
    skipped: list[NumberedRow] = []
    for number, row in enumerate(rows):
        has_text = all(cell_prompt(row, column) for column in columns)
        (complete if has_text else skipped).append((number, row))
    if not skipped:
        return complete, []
    listed = " or ".join(f"'{column}'" for column in columns)
    first = ", ".join(str(number + 1) for number, _ in skipped[:10])
    more = ", ..." if len(skipped) > 10 else ""
    return complete, [
        f"{where}: skipped rows with an empty {listed}: rows {first}{more} (n={len(skipped)})"
    ]


def archived_picture(path: Path, *names: str) -> PictureBytes:
    """The picture in the zip archive ``path`` under the first of ``names`` that it contains.

    If it contains none, opening the picture raises CalibError, and data.skip_broken skips it.
    Raises CalibError if the archive cannot be read.
    """
    archive = _archive(path)
    name = next((name for name in names if name in archive.NameToInfo), names[0])
    info = archive.NameToInfo.get(name)
    size = None if info is None else info.file_size
    return PictureBytes(f"{path}:{name}", partial(_read_member, path, name), size)


def _archive(path: Path) -> zipfile.ZipFile:
    # An archive that was replaced since is read again.
    found = path.stat() if path.is_file() else None
    return _opened_archive(path, found and (found.st_mtime_ns, found.st_size))


@cache  # Reading the directory of a large archive takes time.
def _opened_archive(path: Path, version: tuple[int, int] | None) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except Exception as error:  # zipfile raises many exception types on damaged files
        raise CalibError(
            "unreadable",
            f"{path} cannot be read as a zip archive ({in_place_of(path, b'PK', error)}). Download "
            "it again.",
        ) from error


def _read_member(path: Path, name: str) -> bytes:
    archive = _archive(path)
    try:
        size = archive.getinfo(name).file_size
        if size > MAX_BYTES:
            raise CalibError(
                "too-large",
                f"Picture {path}:{name} has {size:,} bytes; the limit is {MAX_BYTES:,}.",
            )
        return archive.read(name)
    except (CalibError, MemoryError):
        raise
    except KeyError:
        raise CalibError(
            "not-found",
            f"Picture {path}:{name} does not exist. Download the archive again.",
        ) from None
    except Exception as error:  # as above, and each method of compression its own
        raise CalibError(
            "unreadable",
            f"Picture {path}:{name} cannot be read ({error or type(error).__name__}). Download the "
            "archive again.",
        ) from error
