"""Images from files and tables of unknown origin: locate, decode and check them.

A picture is opened only when it is called, and every file is checked for format, size and damage.
Paths in data (a table's text, which anyone may have written) are confined to the folder of their
benchmark. Links in that folder are followed wherever they lead, because only its owner can put them
there: the hub's cache consists of links, and users link their picture folders.
"""

import base64
import binascii
import io
import math
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, ImageOps, UnidentifiedImageError

from calib.data.example import Example, Picture
from calib.util.content import START, first_bytes, found_instead, quoted_text
from calib.util.errors import CalibError
from calib.util.listing import shortened
from calib.util.progress import row_bar
from calib.util.reading import regular

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
MAX_BYTES = 64 * 2**20
MAX_PIXELS = 64_000_000
"""Enough for the largest phone photographs, and too few to exhaust the memory."""

_REMEDY = "Replace it with an intact PNG, JPEG, WebP, BMP or GIF file."
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)
"""The EXIF tag of a picture's orientation, and its values that swap width and height."""
_LISTED = 10  # broken pictures listed in an error message


@dataclass(frozen=True)
class PictureFile:
    """A picture stored in a file."""

    path: Path
    where: str = field(default="", compare=False, repr=False)
    """Location of the cell that names it, for error messages."""

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
    size: int | None = field(default=None, compare=False)
    """Number of bytes, where it is known without reading them."""

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
    """The picture at the path ``name``, relative to ``root`` or absolute and in it.

    ``where`` is the location of the name, for the error message. Raises CalibError for a name that
    is empty, not a valid file name, or that leads out of ``root``. Links in ``root`` are followed.
    """
    try:
        return PictureFile(root / path_inside(root, name), where)
    except ValueError as problem:
        shown = name if len(name) <= 100 else name[:97] + "..."
        raise CalibError(
            "invalid-value",
            f"{where}: {shown!r} is not a picture in {root}: {problem}. Give a path relative to "
            "that folder.",
        ) from None


def path_inside(root: Path, name: str) -> Path:
    """A path from data, relative to ``root``; the text alone decides whether it is inside.

    Raises ValueError with the reason for a name that is empty, invalid or leads out of ``root``.
    """
    written = name.strip().replace("\\", "/")
    path = Path(written)
    if not written:
        raise ValueError("the path is empty")
    if "://" in written:
        raise ValueError("it is an address, and pictures are not downloaded")
    if not name.isprintable():
        raise ValueError("it has characters that are not printable")
    if re.match("[A-Za-z]:/", written):
        raise ValueError("it has a drive letter")
    if len(written.encode()) > 4096 or any(len(part.encode()) > 255 for part in path.parts):
        raise ValueError("it is too long for a path, and not a picture in base64 either")
    if ".." in path.parts:
        raise ValueError("it contains '..'")
    if not path.is_absolute():
        return path
    for top in (os.path.abspath(root), os.path.realpath(root)):  # noqa: PTH100
        if path.is_relative_to(top):
            return path.relative_to(top)
    raise ValueError("it is an absolute path outside of that folder")


_BASE64 = re.compile(r"(?:data:image/[\w.+-]+;base64,)?([A-Za-z0-9+/\s]{64,}={0,2}\s*)", re.ASCII)
"""A picture as text, also as a data URI. Path names have a dot, which base64 does not use."""
_STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM")


def base64_picture(cell: str, where: str) -> PictureBytes | None:
    """The picture that a cell contains as base64 (with or without a data URI's beginning).

    Returns None if the cell is other text. ``where`` is its location, for error messages.
    """
    match = _BASE64.fullmatch(cell)
    if match is None:
        return None
    text = match[1]
    begins = base64.b64decode(re.sub(r"\s", "", text[:64])[:16])
    if not (cell.startswith("data:") or begins.startswith(_STARTS)):
        return None
    return PictureBytes(where, partial(_from_base64, text, where))


def _from_base64(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(re.sub(r"\s", "", text), validate=True)
    except (binascii.Error, ValueError) as error:
        raise CalibError(
            "unreadable",
            f"Picture {where} is not complete base64 ({error}). Download the table again.",
        ) from None


def picture_from_cell(cell: Any, root: Path, where: str) -> PictureFile | PictureBytes | None:
    """The picture that a table cell contains or names; None for an empty cell.

    The cell may be bytes, a dictionary with "bytes" or "path" (as in parquet files of the hub),
    base64, or a path under ``root``. ``where`` is its location, for the error message. Raises
    CalibError for any other value.
    """
    if cell is None or isinstance(cell, PictureBytes):
        return cell or None
    if isinstance(cell, float) and math.isnan(cell):  # pandas' empty cell
        return None
    if isinstance(cell, dict) and {"bytes", "path"} & cell.keys():
        cell = cell.get("bytes") or cell.get("path")
        return picture_from_cell(cell, root, where)
    if isinstance(cell, bytes):
        return PictureBytes(where, partial(bytes, cell)) if cell else None
    if isinstance(cell, str):
        if not cell.strip():
            return None
        if instead := found_instead(cell[:START].encode()):
            raise CalibError(
                "invalid-value",
                f"{where} holds no picture and no path: it is {instead}. Correct the cell.",
            )
        return base64_picture(cell, where) or picture_file(root, cell.strip(), where)
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
                raise CalibError(
                    "not-found", f"Picture {shown} {_not_a_file(source)}. Put the image file there."
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
            "unreadable", f"Picture {shown} cannot be read ({_reason(error, source)}). {_REMEDY}"
        ) from error


def picture_size(picture: Picture) -> tuple[int, int]:
    """Width and height of a picture as it is shown, in pixels; a file is not decoded for it.

    Raises CalibError for a picture that cannot be read.
    """
    data = picture.fetch() if isinstance(picture, PictureBytes) else None
    source = io.BytesIO(data) if data else getattr(picture, "path", None)
    if source is not None:
        try:
            file = regular(source) if isinstance(source, Path) else source
            with Image.open(file, formats=FORMATS) as image:
                turned = image.getexif().get(_ORIENTATION, 1) in _TURNED
                return image.size[::-1] if turned else image.size
        except Exception:  # Decoding it says what is wrong.
            pass
    return picture().size


def check_pictures(
    examples: Sequence[Example], skip_broken: bool, key: str = "data"
) -> tuple[list[Example], list[str]]:
    """Open every distinct picture once; return the examples with readable pictures, and notes.

    Without ``skip_broken`` unreadable pictures raise CalibError with the first ten and a count.
    With it their examples are dropped; the remaining twin is still scored, but not used for
    fitting. ``key`` is the config group, for messages.
    """
    pictures: dict[PictureFile | PictureBytes, list[str]] = {}
    for example in examples:
        for picture in example.pictures:
            if isinstance(picture, PictureFile | PictureBytes):
                named = pictures.setdefault(picture, [])
                if isinstance(picture, PictureFile) and picture.where not in ("", str(picture)):
                    named.append(picture.where)
    if not pictures:
        return list(examples), []
    with row_bar("checking", len(pictures), "pictures") as bar, ThreadPoolExecutor() as pool:
        errors = {}
        for picture, error in zip(pictures, pool.map(_reading_error, pictures), strict=True):
            if error:
                errors[picture] = error + _places(pictures[picture])
            bar.update(1)
    if not errors:
        return list(examples), []
    if not skip_broken:
        listed = "\n".join(f"  {error}" for error in shortened(errors.values(), _LISTED))
        raise CalibError(
            "unreadable",
            f"{len(errors)} of {len(pictures)} pictures cannot be read:\n{listed}\n"
            f"Fix them, or skip them with {key}.skip_broken=true.",
        )
    readable = [example for example in examples if errors.keys().isdisjoint(example.pictures)]
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


def _not_a_file(path: Path) -> str:
    if path.is_symlink() and not path.exists():
        return f"is a link to {os.readlink(path)}, which does not exist"  # noqa: PTH115
    return "is not a file" if path.exists() else "does not exist"


def _reason(error: Exception, source: Path | BinaryIO) -> str:
    """Why an image cannot be decoded: what its content is instead, or the decoder's complaint."""
    if not isinstance(error, UnidentifiedImageError):
        return str(error) or type(error).__name__
    if isinstance(source, Path):
        start = first_bytes(source)
    else:
        source.seek(0)
        start = source.read(START)
    instead = found_instead(start)
    if instead and not instead.startswith(("a PNG", "a JPEG", "a GIF")):
        return f"it is {instead}"
    text = quoted_text(start)
    return f"it is text: {text}" if text else "not a supported image format"


def _places(named: Sequence[str]) -> str:
    """The first of the cells that name a picture."""
    if not named:
        return ""
    more = f", and {len(named) - 1} more" if len(named) > 1 else ""
    return f" Named in: {named[0]}{more}."


def _reading_error(picture: PictureFile | PictureBytes) -> str:
    try:
        picture()
    except CalibError as error:
        return str(error)
    return ""
