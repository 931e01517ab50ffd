"""Images from files and tables of unknown origin: locate, decode and check them.

A picture is opened only when it is called. Paths are confined to the folder of their benchmark, and
every file is checked for format, size and damage.
"""

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
"""Enough for the largest phone photographs, and too few to exhaust the memory."""

_REMEDY = "Replace it with an intact PNG, JPEG, WebP, BMP or GIF file."
_LISTED = 10  # broken pictures listed in an error message


@dataclass(frozen=True)
class PictureFile:
    """A picture stored in a file."""

    path: Path

    def __call__(self) -> Image.Image:
        return read_image(self.path)

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class PictureBytes:
    """A picture stored in a table cell or an archive."""

    name: str
    """Location of the cell, for error messages."""
    fetch: Callable[[], bytes | None] = field(compare=False)

    def __call__(self) -> Image.Image:
        data = self.fetch()
        if not data:
            raise CalibError(
                "missing-value", f"Picture {self.name} is empty. Download the table again."
            )
        return read_image(io.BytesIO(data), self.name)

    def __str__(self) -> str:
        return self.name


def picture_file(root: Path, name: str, where: str) -> PictureFile:
    """The picture at the relative path ``name`` under ``root``.

    ``where`` is the location of the name, for the error message. Raises CalibError for a name that
    is empty, absolute, not a valid file name, or that leads out of ``root`` (also through a link).
    """
    shown = name if len(name) <= 100 else name[:97] + "..."
    relative = Path(name.replace("\\", "/"))
    valid = name.strip() and name.isprintable() and not relative.is_absolute() and ":" not in name
    inside = False
    if valid and ".." not in relative.parts:
        try:
            target = os.path.realpath(root / relative)
            top = os.path.realpath(root)
            inside = os.path.commonpath([target, top]) == top
        except (OSError, ValueError):
            inside = False
    if not inside:
        raise CalibError(
            "invalid-value",
            f"{where}: {shown!r} is not a path inside {root}. Give a path relative to that folder, "
            "without '..', a drive letter or a link that leads out of it.",
        )
    return PictureFile(root / relative)


def picture_from_cell(cell: Any, root: Path, where: str) -> PictureFile | PictureBytes | None:
    """The picture that a table cell contains or names; None for an empty cell.

    The cell may be bytes, a dictionary with "bytes" or "path" (as in parquet files of the hub), or
    a path under ``root``. ``where`` is its location, for the error message. Raises CalibError for
    any other value.
    """
    if cell is None or cell == "" or isinstance(cell, PictureBytes):
        return cell or None
    if isinstance(cell, dict) and {"bytes", "path"} & cell.keys():
        cell = cell.get("bytes") or cell.get("path")
        return picture_from_cell(cell, root, where)
    if isinstance(cell, bytes):
        return PictureBytes(where, partial(bytes, cell))
    if isinstance(cell, str):
        return picture_file(root, cell.strip(), where)
    raise CalibError(
        "invalid-value",
        f"{where} contains a value of type {type(cell).__name__}. Give a picture or its path.",
    )


def read_image(source: Path | BinaryIO, name: str = "") -> Image.Image:
    """Decode an image to RGB, upright by its EXIF orientation, with transparency on white.

    ``source`` is a path, or a binary stream that error messages call ``name``. The format is
    detected from the content, not from the file extension. Of an animation the first frame is used.
    Raises CalibError for an image that is missing, larger than MAX_BYTES or MAX_PIXELS, in another
    format, truncated or damaged.
    """
    shown = name or str(source)
    try:
        if isinstance(source, Path):
            # Reading from a pipe or a device could block forever.
            if not source.is_file():
                problem = "is not a file" if source.exists() else "does not exist"
                raise CalibError(
                    "not-found", f"Picture {shown} {problem}. Put the image file there."
                )
            size = source.stat().st_size
        else:
            size = source.seek(0, os.SEEK_END)
            source.seek(0)
        if size > MAX_BYTES:
            raise CalibError(
                "too-large",
                f"Picture {shown} has {size:,} bytes; the limit is {MAX_BYTES:,}. Reduce its size.",
            )
        return _decode(source, shown)
    except (CalibError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large(shown) from None
    except Exception as error:  # Pillow's decoders raise many exception types on damaged input.
        raise CalibError(
            "unreadable", f"Picture {shown} cannot be read ({_reason(error)}). {_REMEDY}"
        ) from error


def check_pictures(
    examples: Sequence[Example], skip_broken: bool, key: str = "data"
) -> tuple[list[Example], list[str]]:
    """Open every distinct picture once; return the examples with readable pictures, and notes.

    Without ``skip_broken`` unreadable pictures raise CalibError with the first ten and a count.
    With it their examples are dropped; the remaining twin is still scored, but not used for
    fitting. ``key`` is the config group, for messages.
    """
    pictures = {
        example.picture: str(example.picture)
        for example in examples
        if isinstance(example.picture, PictureFile | PictureBytes)
    }
    if not pictures:
        return list(examples), []
    with row_bar("checking", len(pictures), "pictures") as bar, ThreadPoolExecutor() as pool:
        errors = {}
        for picture, error in zip(pictures, pool.map(_reading_error, pictures), strict=True):
            if error:
                errors[picture] = error
            bar.update(1)
    if not errors:
        return list(examples), []
    if not skip_broken:
        listed = "\n".join(f"  {error}" for error in list(errors.values())[:_LISTED])
        more = len(errors) - _LISTED
        raise CalibError(
            "unreadable",
            f"{len(errors)} of {len(pictures)} pictures cannot be read:\n{listed}\n"
            + (f"  and {more} more\n" if more > 0 else "")
            + f"Fix them, or skip them with {key}.skip_broken=true.",
        )
    readable = [example for example in examples if example.picture not in errors]
    first = ", ".join(str(picture) for picture in list(errors)[:3])
    note = (
        f"{key}.skip_broken: skipped {len(examples) - len(readable)} of {len(examples)} examples, "
        f"because {len(errors)} pictures cannot be read (first: {first})"
    )
    return readable, [note]


def _decode(source: Path | BinaryIO, shown: str) -> Image.Image:
    with Image.open(source, formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise _too_large(shown, f" ({image.width} x {image.height})")
        image.load()
        upright = ImageOps.exif_transpose(image)
        return _to_rgb(upright)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        # convert("RGB") would clip 16-bit greys to white instead of scaling them.
        return image.point(lambda grey: grey / 257, "L").convert("RGB")
    if image.has_transparency_data:
        # Dropping the alpha channel would reveal the arbitrary colours of transparent pixels.
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(paper, image).convert("RGB")
    return image.convert("RGB")


def _too_large(shown: str, size: str = "") -> CalibError:
    return CalibError(
        "too-large",
        f"Picture {shown} is too large{size}: the limit is {MAX_PIXELS:,} pixels. Scale it down.",
    )


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not a supported image format"
    return str(error) or type(error).__name__


def _reading_error(picture: PictureFile | PictureBytes) -> str:
    try:
        picture()
    except CalibError as error:
        return str(error)
    return ""
