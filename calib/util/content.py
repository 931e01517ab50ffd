"""Recognise content that is saved in place of the file that was meant, by its first bytes.

A clone without Git LFS holds pointers, a download without a login holds a web page, and a table may
be compressed or a workbook. Parsers then complain about a quotation mark or a missing column; the
message should name the real cause.
"""

from pathlib import Path

from calib.util.reading import regular

START = 512
"""Bytes from the beginning of a file that are enough to recognise its content."""

_LFS = b"version https://git-lfs.github.com/spec/"
_SIGNATURES = (
    (b"PK\x03\x04", "a zip archive or a workbook"),
    (b"\xd0\xcf\x11\xe0", "an old Office document"),
    (b"\x1f\x8b", "compressed (gzip)"),
    (b"BZh", "compressed (bzip2)"),
    (b"\xfd7zXZ", "compressed (xz)"),
    (b"\x28\xb5\x2f\xfd", "compressed (zstandard)"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"PAR1", "a parquet file"),
    (b"%PDF", "a PDF document"),
    (b"SQLite format 3", "an SQLite database"),
    (b"II*\x00", "a TIFF picture"),
    (b"MM\x00*", "a TIFF picture"),
    (b"8BPS", "a Photoshop picture"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
)
_HEIF = {b"heic": "a HEIC picture", b"heix": "a HEIC picture", b"mif1": "a HEIC picture",
         b"avif": "an AVIF picture", b"avis": "an AVIF picture"}  # fmt: skip


def is_lfs_pointer(start: bytes) -> bool:
    """Whether content is the small text that Git stores in place of a large file."""
    return start.startswith(_LFS)


def found_instead(start: bytes) -> str | None:
    """The kind of content that begins with ``start``, as a phrase after "it is", with what to do
    if that is known; None if it is not recognised.

    ``start`` should have START bytes, or be the whole content.
    """
    if not start:
        return "empty"
    if is_lfs_pointer(start):
        return "a Git LFS pointer, not the content: run git lfs pull in its repository"
    if kind := next((kind for mark, kind in _SIGNATURES if start.startswith(mark)), None):
        return kind
    if start[4:8] == b"ftyp" and start[8:12] in _HEIF:
        return _HEIF[start[8:12]]
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"<svg") or (text.startswith(b"<?xml") and b"<svg" in text):
        return "an SVG drawing"
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "a web page (HTML), probably a login or error page that was saved in its place"
    if text.startswith((b"<?xml", b"<error")):
        return "XML, probably an error that a server sent in its place"
    return None


def in_place_of(path: Path, mark: bytes, error: object) -> str:
    """Why a file that should begin with ``mark`` cannot be read: what it is instead, or else the
    parser's ``error``."""
    start = first_bytes(path)
    instead = None if start.startswith(mark) else found_instead(start)
    return f"it is {instead}" if instead else str(error) or type(error).__name__


def quoted_text(start: bytes) -> str | None:
    """The first line of short text in quotation marks; None for binary content."""
    try:
        line = start[:60].decode("utf-8", "strict").strip().partition("\n")[0].strip()
    except UnicodeDecodeError:
        return None
    return f"'{line}'" if line and line.isprintable() else None


def first_bytes(path: Path) -> bytes:
    """The first START bytes of a file; b"" if it cannot be read or is not a regular file."""
    try:
        with regular(path).open("rb") as file:
            return file.read(START)
    except (OSError, ValueError):
        return b""
