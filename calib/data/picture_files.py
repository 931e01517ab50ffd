"""Pictures that lie in files or tables of others, and the check of all of them before a run."""

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from calib.data.example import Example
from calib.data.images import read_image
from calib.errors import CalibError
from calib.progress import row_bar

_SHOWN = 10


@dataclass(frozen=True)
class PictureFile:
    """The picture in a file."""

    path: Path

    def __call__(self) -> Image.Image:
        return read_image(self.path)

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class PictureBytes:
    """The picture in a cell of a table, fetched when it is asked for."""

    name: str
    """Where the cell is, for messages."""
    fetch: Callable[[], bytes | None] = field(compare=False)

    def __call__(self) -> Image.Image:
        data = self.fetch()
        if not data:
            raise CalibError(f"Picture {self.name} is empty. Fetch the table again.")
        return read_image(io.BytesIO(data), self.name)

    def __str__(self) -> str:
        return self.name


def picture_file(root: Path, name: str, what: str) -> PictureFile:
    """The picture called ``name`` under ``root``, which may lie in subfolders but not outside.

    ``what`` says where the name stands, for the message. Raises CalibError for a name that is
    empty, absolute, leads out of ``root`` (also by a link), or cannot be a file's.
    """
    shown = name if len(name) <= 100 else name[:97] + "..."
    parts = Path(name.replace("\\", "/"))
    plain = name.strip() and name.isprintable() and not parts.is_absolute() and ":" not in name
    inside = False
    if plain and ".." not in parts.parts:
        try:
            whole = os.path.realpath(root / parts)
            top = os.path.realpath(root)
            inside = os.path.commonpath([whole, top]) == top
        except (OSError, ValueError):
            inside = False
    if not inside:
        raise CalibError(
            f"{what}: {shown!r} is no path inside {root}. Give a path relative to that folder, "
            "without '..', a drive or a link that leads out of it."
        )
    return PictureFile(root / parts)


def picture_in(cell: Any, root: Path, what: str) -> PictureFile | PictureBytes | None:
    """The picture that a cell of a table holds or names; None where the cell is empty.

    A cell holds bytes, a dictionary with "bytes" or "path" (as parquet files of the hub do), or a
    path under ``root``; ``what`` says where it stands. Raises CalibError for anything else.
    """
    if cell is None or cell == "" or isinstance(cell, PictureBytes):
        return cell or None
    if isinstance(cell, dict) and {"bytes", "path"} & cell.keys():
        cell = cell.get("bytes") or cell.get("path")
        return picture_in(cell, root, what)
    if isinstance(cell, bytes):
        return PictureBytes(what, partial(bytes, cell))
    if isinstance(cell, str):
        return picture_file(root, cell.strip(), what)
    raise CalibError(f"{what} holds {type(cell).__name__}, no picture and no path of one.")


def sound_pictures(
    examples: Sequence[Example], skip_broken: bool, key: str = "data"
) -> tuple[list[Example], list[str]]:
    """The examples whose pictures can all be read, and a note on those that were left out.

    Every distinct picture of a file or table is opened once. Without ``skip_broken`` any that
    cannot be read raises CalibError with the first ten and a count. With it, a twin whose other
    half is left out stays: it is judged, but fits nothing.
    """
    pictures = {
        example.picture: str(example.picture)
        for example in examples
        if isinstance(example.picture, PictureFile | PictureBytes)
    }
    if not pictures:
        return list(examples), []
    with row_bar("checking", len(pictures), "pictures") as bar, ThreadPoolExecutor() as pool:
        faults = {}
        for picture, fault in zip(pictures, pool.map(_fault, pictures), strict=True):
            if fault:
                faults[picture] = fault
            bar.update(1)
    if not faults:
        return list(examples), []
    if not skip_broken:
        shown = "\n".join(f"  {fault}" for fault in list(faults.values())[:_SHOWN])
        more = len(faults) - _SHOWN
        raise CalibError(
            f"{len(faults)} of {len(pictures)} pictures cannot be read:\n{shown}\n"
            + (f"  and {more} more\n" if more > 0 else "")
            + f"Put them right, or go on without them: {key}.skip_broken=true."
        )
    kept = [example for example in examples if example.picture not in faults]
    first = ", ".join(str(picture) for picture in list(faults)[:3])
    note = (
        f"{key}.skip_broken: {len(examples) - len(kept)} of {len(examples)} examples were left "
        f"out, whose {len(faults)} pictures cannot be read (first: {first})"
    )
    return kept, [note]


def _fault(picture: PictureFile | PictureBytes) -> str:
    try:
        picture()
    except CalibError as error:
        return str(error)
    return ""
