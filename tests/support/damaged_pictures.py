"""Damaged and unusual pictures, and cells that name or hold them, made by code.

Each has the size of the right picture, or the code and a value of the CalibError that refuses it.
Files are refused when they are opened (data.skip_broken skips them, with a note), cells at once.
"""

import base64
import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from damaged_tables import PAGE, POINTER, Refused
from PIL import Image

SIZE = (12, 8)
Size = tuple[int, int]


@dataclass(frozen=True)
class PictureInput:
    name: str
    place: Callable[[Path], str]
    """Puts files in the folder of the table, and returns the cell."""
    outcome: Refused | Size | None
    """None: the cell is empty, and the query has no picture."""
    when_opened: bool = True
    """Whether it is refused when it is opened."""

    def __str__(self) -> str:
        return self.name


def encoded(kind: str, mode: str = "RGB", size: Size = SIZE, **options: object) -> bytes:
    data = io.BytesIO()
    noise = Image.effect_noise(size, 90).convert("RGB")
    noise.convert(mode).save(data, kind, **options)
    return data.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _bomb(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def _turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded("JPEG", exif=exif)


def _contents() -> list[tuple[str, bytes, Refused | Size]]:
    png, jpeg, webp, gif = (encoded(kind, size=(64, 64)) for kind in ("PNG", "JPEG", "WEBP", "GIF"))
    wrong_sum = bytearray(png)
    wrong_sum[30] ^= 0xFF
    heic = b"\0\0\0\x20ftypheic" + bytes(40)

    def unreadable(value: str = "") -> Refused:
        return Refused("unreadable", value)

    return [
        *((f"{kind} {mode}", encoded(kind, mode), SIZE) for kind, mode in [
            ("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "P"), ("PNG", "L"), ("PNG", "1"),
            ("PNG", "LA"), ("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("WEBP", "RGB"),
            ("WEBP", "RGBA"), ("GIF", "P"), ("BMP", "RGB"),
        ]),
        ("progressive JPEG", encoded("JPEG", progressive=True), SIZE),
        ("interlaced palette", encoded("GIF", "P", interlace=True), SIZE),
        ("turned by EXIF", _turned(), (8, 12)),
        ("one pixel", encoded("PNG", size=(1, 1)), (1, 1)),
        ("narrow", encoded("PNG", size=(1, 3000)), (1, 3000)),
        ("bytes after the end of a PNG", encoded("PNG") + b"rest", SIZE),
        ("bytes after the end of a JPEG", encoded("JPEG") + bytes(99), SIZE),
        ("empty", b"", unreadable("empty")),
        ("text", b"no picture", unreadable("'no picture'")),
        ("zeros", bytes(999), unreadable("format")),
        ("web page", PAGE.encode(), unreadable("HTML")),
        ("Git LFS pointer", POINTER.encode(), unreadable("Git LFS")),
        ("JSON of an error", b'{"error": "Unauthorized"}', unreadable("Unauthorized")),
        ("XML of an error", b"<Error><Code>NoSuchKey</Code></Error>", unreadable("XML")),
        ("SVG", b"<svg xmlns='x'></svg>", unreadable("SVG")),
        ("TIFF", encoded("TIFF"), unreadable("TIFF")),
        ("HEIC", heic, unreadable("HEIC")),
        ("PDF", b"%PDF-1.7\n", unreadable("PDF")),
        ("zip archive", b"PK\x03\x04" + bytes(30), unreadable("zip")),
        ("ICO", encoded("ICO", size=(16, 16)), unreadable()),
        ("PNG that is cut off", png[: len(png) // 2], unreadable()),
        ("PNG of its signature", png[:8], unreadable()),
        ("PNG with a wrong checksum", bytes(wrong_sum), unreadable()),
        ("JPEG that is cut off", jpeg[: len(jpeg) // 2], unreadable("truncated")),
        ("JPEG of its start", jpeg[:3], unreadable()),
        ("WebP that is cut off", webp[: len(webp) // 2], unreadable()),
        ("GIF of its header", gif[:13], unreadable()),
        ("bomb", _bomb(60_000, 60_000), Refused("too-large", "64,000,000")),
        ("wide bomb", _bomb(2_000_000_000, 1), Refused("too-large", "64,000,000")),
        ("no pixels", _bomb(0, 0), unreadable()),
        ("GIF of no pixels", b"GIF89a" + bytes(7) + b";", unreadable()),
    ]  # fmt: skip


def _file(content: bytes, name: str = "a.png") -> Callable[[Path], str]:
    def place(folder: Path) -> str:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        return name

    return place


def _link(target: str, content: bytes | None = None) -> Callable[[Path], str]:
    """A link a.png to a target, which may be outside of the folder."""

    def place(folder: Path) -> str:
        if content is not None:
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            (folder / target).write_bytes(content)
        (folder / "a.png").symlink_to(target)
        return "a.png"

    return place


def _absolute(folder: Path) -> str:
    _file(encoded("PNG"))(folder)
    return str(folder / "a.png")


def _linked_folder(folder: Path) -> str:
    _file(encoded("PNG"), "../elsewhere/b.png")(folder)
    (folder / "pictures").symlink_to(folder.parent / "elsewhere")
    return "pictures/b.png"


def _cell(text: str) -> Callable[[Path], str]:
    return lambda folder: text


def damaged_pictures() -> list[PictureInput]:
    """Every file, link and cell."""
    good = encoded("PNG")
    text = base64.b64encode(encoded("PNG", size=(64, 64))).decode()
    missing, outside = Refused("not-found"), "invalid-value"
    inputs = [PictureInput(name, _file(content), outcome) for name, content, outcome in _contents()]
    inputs += [
        PictureInput(f"path: {name}", place, outcome)
        for name, place, outcome in [
            ("subfolder", _file(good, "x/y/a.png"), SIZE),
            ("blanks and letters", _file(good, "é ü/b c.png"), SIZE),
            ("colon", _file(good, "a:b.png"), SIZE),
            ("another extension", _file(good, "a.jpg"), SIZE),
            ("absolute", _absolute, SIZE),
            ("link to a cache", _link("../blobs/1", good), SIZE),
            ("linked folder", _linked_folder, SIZE),
            ("missing", _cell("gone.png"), missing),
            ("folder", lambda folder: str(folder), missing),
            ("link to nothing", _link("gone.png"), Refused("not-found", "gone.png")),
            ("link to itself", _link("a.png"), missing),
            ("home folder is not expanded", _cell("~/a.png"), missing),
        ]
    ]
    inputs += [
        PictureInput(f"cell: {name}", _cell(cell), outcome, when_opened=False)
        for name, cell, outcome in [
            ("empty", "", None),
            ("blank", "  ", None),
            ("base64", text, (64, 64)),
            ("data URI", f"data:image/png;base64,{text}", (64, 64)),
            ("parent", "../a.png", Refused(outside, "'..'")),
            ("parent within", "x/../../a.png", Refused(outside, "'..'")),
            ("absolute elsewhere", "/etc/hostname", Refused(outside, "absolute")),
            ("drive", "C:\\a.png", Refused(outside, "drive")),
            ("parent with backslashes", "..\\a.png", Refused(outside, "'..'")),
            ("address", "https://example.org/a.png", Refused(outside, "address")),
            ("bell", "a\x07.png", Refused(outside, "printable")),
            ("long", "x" * 300 + ".png", Refused(outside, "long")),
            ("very long", "x/" * 9000 + ".png", Refused(outside, "long")),
            ("base64 of text", base64.b64encode(b"text" * 200).decode(), Refused(outside, "long")),
            ("Git LFS pointer", POINTER.replace("\n", " "), Refused(outside, "Git LFS")),
            ("web page", PAGE.replace("\n", " "), Refused(outside, "HTML")),
        ]
    ]
    cut = Refused("unreadable", "base64")
    inputs.append(PictureInput("cell: base64 that is cut off", _cell(text[:1001]), cut))
    return inputs
