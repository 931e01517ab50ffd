"""Read images from files and tables of unknown origin, and check all of them before a run."""

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, ImageOps, UnidentifiedImageError

from calib.data.example import Example
from calib.util.errors import CalibError
from calib.util.progress import row_bar

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
MAX_BYTES = 64 * 2**20
MAX_PIXELS = 64_000_000
"""A phone's largest photographs fit; a file made to exhaust the memory does not."""

_REMEDY = "Replace it with a whole PNG, JPEG, WebP, BMP or GIF file."


def read_image(source: Path | BinaryIO, name: str = "") -> Image.Image:
    """The picture in ``source`` as RGB, upright by its EXIF orientation, transparency on white.

    ``source`` is a path or bytes in memory, which messages call ``name``. Of an animation the first
    frame is taken. What a file holds counts, not its name's ending.
    Raises CalibError, naming the picture, where it is missing, larger than MAX_BYTES or MAX_PIXELS,
    in another format, truncated or damaged.
    """
    shown = name or str(source)
    try:
        if isinstance(source, Path):
            # A pipe or a device would be waited for without end.
            if not source.is_file():
                what = "is not a file" if source.exists() else "does not exist"
                raise CalibError(f"Picture {shown} {what}. Put the picture there.")
            size = source.stat().st_size
        else:
            size = source.seek(0, os.SEEK_END)
            source.seek(0)
        if size > MAX_BYTES:
            raise CalibError(
                f"Picture {shown} has {size:,} bytes; at most {MAX_BYTES:,} are read. "
                "Make it smaller."
            )
        return _decode(source, shown)
    except (CalibError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large(shown) from None
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged input.
        raise CalibError(f"Picture {shown} cannot be read ({_reason(error)}). {_REMEDY}") from error


def _decode(source: Path | BinaryIO, shown: str) -> Image.Image:
    with Image.open(source, formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise _too_large(shown, f" ({image.width} x {image.height})")
        image.load()
        upright = ImageOps.exif_transpose(image)
        return _to_rgb(upright)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        # convert("RGB") would clip the 16-bit greys to white instead of scaling them.
        return image.point(lambda grey: grey / 257, "L").convert("RGB")
    if image.has_transparency_data:
        # Dropping the alpha channel would show whatever colours lie hidden under it.
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(paper, image).convert("RGB")
    return image.convert("RGB")


def _too_large(shown: str, size: str = "") -> CalibError:
    return CalibError(
        f"Picture {shown} is too large{size}: at most {MAX_PIXELS:,} pixels are read. "
        "Scale it down."
    )


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not a picture in a format we read"
    return str(error) or type(error).__name__


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
