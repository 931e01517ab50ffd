"""Pictures from files we did not make: read them safely or say what is wrong with them."""

import os
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageOps, UnidentifiedImageError

from calib.errors import CalibError

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
