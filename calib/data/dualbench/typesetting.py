"""Typeset text in a square: fonts, missing glyphs, line breaks and the largest size that fits.

Letters are placed individually from left to right by Pillow's basic layout, without a system
library, so that pictures have the same pixels on every machine.
"""

import functools
import io
import math
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont

from calib.util.errors import CalibError
from calib.util.listing import shortened
from calib.util.reading import file_bytes

DEFAULT_FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
MARGIN = 0.06
"""Width of each margin, as a share of the picture's side."""
LEADING = 1.25
"""Distance between lines, in font sizes."""

_IDEOGRAPHS = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff"
_CLOSING = "\u3001\u3002\u300d\u300f\uff01\uff09\uff0c\uff1a\uff1b\uff1f"
# Unbreakable units: a word, or an ideograph with the punctuation that follows it.
_UNIT = re.compile(rf"\s*(?:[{_IDEOGRAPHS}]|[^\s{_IDEOGRAPHS}]+)[{_CLOSING}]*")


@dataclass(frozen=True)
class Typeface:
    """A font file, at any size."""

    path: Path = DEFAULT_FONT

    def at(self, pixels: int) -> ImageFont.FreeTypeFont:
        """The font at a size in pixels. Raises CalibError if the file is not a font."""
        return _font(self.path, pixels)

    def check(self, texts: Iterable[str]) -> None:
        """Raise CalibError with the characters in ``texts`` that the font cannot render."""
        letters = {letter for text in texts for letter in _composed(text) if not letter.isspace()}
        if missing := sorted(letter for letter in letters if ord(letter) not in _glyphs(self.path)):
            raise CalibError(
                "unsupported",
                f"The font {self.path.name} has no glyph for {_listed(missing)}. Give a font file "
                "that has them: data.font=FILE.",
            )
        if misplaced := sorted(letter for letter in letters if _needs_shaping(letter)):
            raise CalibError(
                "unsupported",
                "calib draws letters individually from left to right, which is wrong for "
                f"{_listed(misplaced)}. Remove these texts, or remove translation from "
                "data.variants.",
            )


def fits(
    texts: Iterable[str], side: int, typeface: Typeface, pixels: int, angle: float = 0.0
) -> bool:
    """Whether every text, with a font size of ``pixels`` and rotated by ``angle`` degrees, fits
    inside the margins of a square picture of ``side`` pixels."""
    font, room = typeface.at(pixels), _room(side, angle)
    return all(_lines(text, font, room) is not None for text in texts)


def fitting_size(
    texts: Iterable[str], side: int, typeface: Typeface, smallest: int, angle: float = 0.0
) -> int | None:
    """The largest font size in pixels at which all texts fit; None if ``smallest`` is too large."""
    texts = list(texts)
    if not fits(texts, side, typeface, smallest, angle):
        return None
    low, high = smallest, side
    while high - low > 1:
        middle = (low + high) // 2
        if fits(texts, side, typeface, middle, angle):
            low = middle
        else:
            high = middle
    return low


def draw_coverage(
    text: str, side: int, font: ImageFont.FreeTypeFont, angle: float = 0.0
) -> Image.Image:
    """Coverage of each pixel by the text, 0 to 255: centred lines, rotated by ``angle`` degrees.

    Mode "L", ``side`` x ``side`` pixels. Raises CalibError if the text does not fit.
    """
    lines = _lines(text, font, _room(side, angle))
    if lines is None:
        raise CalibError(
            "too-large", f"'{text[:60]}' does not fit a picture of {side} pixels. Shorten it."
        )
    block = Image.new("L", (side, side), 0)
    draw = ImageDraw.Draw(block)
    first = -font.getbbox(lines[0], anchor="ls")[1]
    for k, line in enumerate(lines):
        position = (side // 2, round(first + k * LEADING * font.size))
        draw.text(position, line, fill=255, font=font, anchor="ms")
    # Font metrics include the blank before the first letter; the drawn pixels are what is centred.
    left, top, right, bottom = block.getbbox() or (0, 0, 0, 0)
    coverage = Image.new("L", (side, side), 0)
    corner = ((side - right + left) // 2, (side - bottom + top) // 2)
    coverage.paste(block.crop((left, top, right, bottom)), corner)
    return coverage.rotate(angle, Image.Resampling.BICUBIC) if angle else coverage


def _room(side: int, angle: float) -> float:
    """Side of the largest square that is inside the margins after rotation."""
    radians = math.radians(abs(angle))
    return side * (1 - 2 * MARGIN) / (math.cos(radians) + math.sin(radians))


def _lines(text: str, font: ImageFont.FreeTypeFont, room: float) -> list[str] | None:
    """The text in lines that fit a square of ``room`` pixels; None if it does not fit."""
    lines: list[str] = []
    for unit in _UNIT.findall(_composed(text)):
        longer = (lines[-1] + unit) if lines else unit.strip()
        if lines and _width(longer, font) <= room:
            lines[-1] = longer
        elif _width(unit.strip(), font) <= room:
            lines.append(unit.strip())
        else:
            return None
    if not lines:
        return None
    top, bottom = (font.getbbox(lines[k], anchor="ls")[side] for k, side in ((0, 1), (-1, 3)))
    height = (len(lines) - 1) * LEADING * font.size + bottom - top
    return lines if height <= room else None


def _width(line: str, font: ImageFont.FreeTypeFont) -> float:
    left, _, right, _ = font.getbbox(line, anchor="ls")
    return right - left


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _needs_shaping(letter: str) -> bool:
    return (
        unicodedata.bidirectional(letter) in ("R", "AL", "AN") or unicodedata.combining(letter) > 0
    )


def _listed(letters: list[str]) -> str:
    return ", ".join(shortened((f"'{letter}' (U+{ord(letter):04X})" for letter in letters), 10))


@functools.lru_cache(maxsize=512)
def _font(path: Path, pixels: int) -> ImageFont.FreeTypeFont:
    # Loaded from memory, because FreeType would keep a file open for every size.
    try:
        return ImageFont.truetype(
            io.BytesIO(_read_font(path)), pixels, layout_engine=ImageFont.Layout.BASIC
        )
    except OSError as error:
        raise _font_error(path, error) from error


@functools.cache
def _glyphs(path: Path) -> frozenset[int]:
    """Code points that the font has a glyph for."""
    try:
        with TTFont(io.BytesIO(_read_font(path)), fontNumber=0, lazy=True) as font:
            return frozenset(font.getBestCmap() or ())
    except Exception as error:  # fontTools raises many exception types on damaged files
        raise _font_error(path, error) from error


@functools.cache
def _read_font(path: Path) -> bytes:
    try:
        return file_bytes(path)
    except (OSError, ValueError) as error:
        raise _font_error(path, error) from error


def _font_error(path: Path, error: Exception) -> CalibError:
    return CalibError(
        "unreadable",
        f"data.font: {path} cannot be read as a font ({error}). Give a .ttf, .otf or .ttc file.",
    )
