"""Hostile tables, pictures, archives and workbooks, beyond those of damaged_tables and
damaged_pictures."""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
from damaged_pictures import chunk
from damaged_pictures import encoded as picture
from damaged_tables import PLAIN, ROWS
from hostile import Hostile, Place
from hostile_content import ESCAPE, LONG, NOT_JSON, ODD, Put, special_files, writes
from PIL import Image

from calib.config.data import PairsData
from calib.data.benchmarks import load_benchmark
from calib.data.images import PictureFile, picture_size, read_image
from calib.data.published.copies import archived_picture
from calib.data.vscbench_tables import TEXT_COLUMNS, read_text_rows


def pairs(name: str, put: Put, **settings: Any) -> Callable[[Place], Callable[[], Any]]:
    """Load a table of pairs."""

    def make(place: Place) -> Callable[[], Any]:
        path = place.folder / name
        put(path)
        return lambda: load_benchmark(PairsData(file=str(path), **settings))

    return make


def _with_picture(put: Put, cell: str = "a.png") -> Callable[[Place], Callable[[], Any]]:
    """Load a table of pairs, each with the picture of a cell; its size is read too."""

    def make(place: Place) -> Callable[[], Any]:
        put(place.folder / "a.png")
        rows = [row | {"image": cell} for row in ROWS]
        (place.folder / "pairs.json").write_text(json.dumps(rows), encoding="utf-8")

        def call() -> None:
            for example in load_benchmark(
                PairsData(file=str(place.folder / "pairs.json"))
            ).examples:
                if example.picture is not None:
                    picture_size(example.picture)

        return call

    return make


def _size(put: Put) -> Callable[[Place], Callable[[], Any]]:
    def make(place: Place) -> Callable[[], Any]:
        put(place.folder / "a.png")
        return lambda: picture_size(PictureFile(place.folder / "a.png"))

    return make


def _image(data: bytes) -> Callable[[Place], Callable[[], Any]]:
    return lambda place: lambda: read_image(io.BytesIO(data), "of a test")


def _png(*chunks: tuple[bytes, bytes], side: int = 8) -> bytes:
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes((3 * side + 1) * side))
    every = [(b"IHDR", header), *chunks, (b"IDAT", rows), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in every)


def _exif(data: bytes) -> bytes:
    output = io.BytesIO()
    Image.new("RGB", (8, 8)).save(output, "JPEG", exif=b"Exif\0\0" + data)
    return output.getvalue()


def _animation() -> bytes:
    output = io.BytesIO()
    frames = [Image.new("P", (64, 64), k % 200) for k in range(200)]
    frames[0].save(output, "GIF", save_all=True, append_images=frames[1:])
    return output.getvalue()


_PICTURES: dict[str, bytes] = {
    "a compressed text that expands": _png((b"zTXt", b"a\0\0" + zlib.compress(bytes(100 * 2**20)))),
    "a profile that expands": _png((b"iCCP", b"a\0\0" + zlib.compress(bytes(100 * 2**20)))),
    "many texts": _png(*[(b"tEXt", b"a\0" + b"x" * 99)] * 5_000),
    "a chunk of 2^31": _png((b"evIL", b"")).replace(b"\0" * 4 + b"ev", b"\x7f\xff\xff\xffev"),
    "EXIF without end": _exif(b"II*\0" + struct.pack("<IH", 8, 65_535) + b"\xff" * 60_000),
    "EXIF that points at itself": _exif(
        b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x8769, 4, 1, 8, 8)),
    "an orientation of 99": _exif(b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x0112, 3, 1, 99, 0)),
    "an animation": _animation(),
    "a bitmap of negative size": b"BM" + struct.pack("<IHHI", 99, 0, 0, 54) + struct.pack(
        "<IiiHHIIiiII", 40, -(2**31), -(2**31), 1, 24, 0, 0, 0, 0, 0, 0),
    "a bitmap of a large table": b"BM" + struct.pack("<IHHI", 99, 0, 0, 54) + struct.pack(
        "<IiiHHIIiiII", 40, 9, 9, 1, 8, 1, 0, 0, 0, 2**31 - 1, 0),
    "a WebP of chunks of 2^32": b"RIFF\xff\xff\xff\xffWEBPVP8X\xff\xff\xff\xff" + bytes(40),
    "a script as PostScript": b"%!PS-Adobe-3.0\n%%BoundingBox: 0 0 9 9\n(touch x) system\n",
    "a picture of a PCD file": b"PCD_" + bytes(4_096),
}  # fmt: skip


def _archived(
    files: dict[str, bytes], change: Callable[[bytes], bytes] = bytes, name: str = "a.png"
) -> Callable[[Place], Callable[[], Any]]:
    """Open the picture ``name`` of an archive."""

    def make(place: Place) -> Callable[[], Any]:
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, content in files.items():
                archive.writestr(member, content)
        path = place.folder / "a.zip"
        path.write_bytes(change(data.getvalue()))
        return lambda: archived_picture(path, name)()

    return make


def _method(number: int) -> Callable[[bytes], bytes]:
    """The archive with another number for its method of compression."""
    old, new = struct.pack("<H", 8), struct.pack("<H", number)

    def change(data: bytes) -> bytes:
        at = data.index(b"PK\x01\x02")
        return data[:8] + new + data[10 : at + 10] + data[at + 10 :].replace(old, new, 1)

    return change


def _encrypted(data: bytes) -> bytes:
    at = data.index(b"PK\x01\x02")
    return data[:6] + b"\1" + data[7 : at + 8] + b"\1" + data[at + 9 :]


def _changed(
    rows: list[list[str]], change: Callable[[dict[str, bytes]], object], path: Path
) -> None:
    """Write a workbook of ``rows`` whose members are changed."""
    book, data = openpyxl.Workbook(), io.BytesIO()
    for row in rows:
        book.active.append(row)
    book.save(data)
    with zipfile.ZipFile(data) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def _workbook(change: Callable[[dict[str, bytes]], object]) -> Callable[[Place], Callable[[], Any]]:
    """Read a workbook of VSCBench whose members are changed."""

    def make(place: Place) -> Callable[[], Any]:
        path = place.folder / "book.xlsx"
        _changed([list(TEXT_COLUMNS), ["x"] * len(TEXT_COLUMNS)], change, path)
        return lambda: read_text_rows(path)

    return make


def _sheet(change: Callable[[dict[str, bytes]], object]) -> Callable[[Place], Callable[[], Any]]:
    """Read a workbook of pairs whose members are changed."""
    rows = [list(ROWS[0]), *(list(row.values()) for row in ROWS)]
    return pairs("pairs.xlsx", lambda path: _changed(rows, change, path))


def _in_sheet(old: bytes, new: bytes) -> Callable[[dict[str, bytes]], object]:
    return lambda members: members.update({SHEET: members[SHEET].replace(old, new)})


SHEET = "xl/worksheets/sheet1.xml"
_ENTITIES = (
    b'<?xml version="1.0"?><!DOCTYPE s [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + k, b"&%c;" % (97 + k) * 10) for k in range(9))
    + b']><worksheet><sheetData><row r="1"><c t="inlineStr"><is><t>&j;</t></is></c></row>'
    b"</sheetData></worksheet>"
)
_FILE_ENTITY = (
    b'<?xml version="1.0"?><!DOCTYPE s [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    b"<worksheet><sheetData>&a;</sheetData></worksheet>"
)
_WIDE = (
    b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
    + b"".join(b'<row r="%d"><c r="XFD%d"><v>1</v></c></row>' % (k, k) for k in range(1, 9_000))
    + b"</sheetData></worksheet>"
)
_WORKBOOKS: dict[str, Callable[[dict[str, bytes]], object]] = {
    "entities that expand": lambda members: members.update({SHEET: _ENTITIES}),
    "an entity of a file": lambda members: members.update({SHEET: _FILE_ENTITY}),
    "cells in the last column": lambda members: members.update({SHEET: _WIDE}),
    "100 MB of blanks": lambda members: members.update({SHEET: b" " * 10**8}),
    "deep XML": lambda members: members.update({SHEET: b"<a>" * 200_000}),
    "no sheet": lambda members: members.pop(SHEET),
    "no workbook": lambda members: members.pop("xl/workbook.xml"),
    "a workbook that is no XML": lambda members: members.update({"xl/workbook.xml": b"\0" * 99}),
}
_MERGED = b"</sheetData><mergeCells>%s</mergeCells>"
_SHEETS: dict[str, Callable[[dict[str, bytes]], object]] = {
    **{what: change for what, change in _WORKBOOKS.items() if not what.startswith("100 MB")},
    "a row number of 10 digits": _in_sheet(b'<row r="3"', b'<row r="9999999999"'),
    "a cell in row 9,999,999": _in_sheet(b'r="A3"', b'r="A9999999"'),
    "a cell that is no reference": _in_sheet(b'r="A3"', b'r="../A3"'),
    "a shared text that does not exist": _in_sheet(b"<v>0</v>", b"<v>99999</v>"),
    "a merged range that is none": _in_sheet(b"</sheetData>", _MERGED % b'<mergeCell ref="A1:"/>'),
    "merged ranges of all cells": _in_sheet(
        b"</sheetData>", _MERGED % (b'<mergeCell ref="A2:XFD1048576"/>' * 5_000)
    ),
    "entities of another member": lambda members: members.update(
        {"xl/sharedStrings.xml": _ENTITIES}
    ),
    "a sheet outside of the archive": lambda members: members.update(
        {
            "xl/_rels/workbook.xml.rels": members["xl/_rels/workbook.xml.rels"].replace(
                b"worksheets/sheet1.xml", b"../../../../etc/passwd"
            )
        }
    ),
    "no cells": lambda members: members.update({SHEET: _WIDE[:94] + b"</sheetData></worksheet>"}),
}
_CELLS = (
    "\x1b[31m",
    "=cmd|'/c calc'!A1",
    LONG,
    "${oc.env:HOME}",
    "{{ 1 // 0 }}",
    "\u202e",
    "\ufeff",
)


_COLUMNS = ("query", "safety", "pair", "image", "images", "history", "id", "split", "cluster",
            "system")  # fmt: skip


def _row(column: str, cell: Any) -> Callable[[Place], Callable[[], Any]]:
    return pairs("p.json", writes(json.dumps([ROWS[0] | {column: cell}, ROWS[1]])))


def files() -> list[Hostile]:
    """Every hostile file of data."""
    known = {"harmless": True}
    inputs = []
    for what, put in special_files().items():
        inputs += [Hostile(f"table {end}: {what}", pairs(f"pairs{end}", put))
                   for end in (".csv", ".jsonl", ".parquet")]  # fmt: skip
        inputs += [
            Hostile(f"picture of a table: {what}", _with_picture(put)),
            Hostile(f"size of a picture: {what}", _size(put)),
        ]
    inputs += [
        Hostile(f"table {end}: {what}", pairs(f"pairs{end}", writes(text)))
        for end in (".json", ".jsonl", ".csv", ".tsv", ".parquet")
        for what, text in list(NOT_JSON.items())[len(end) % 3 :: 3]
    ]
    inputs += [
        Hostile(f"row of a table, {key}: {kind}",
                _row(key, ODD[kind]), **known)
        for number, key in enumerate(_COLUMNS)
        for kind in list(ODD)[number % 3 :: 3]
    ]  # fmt: skip
    inputs += [
        Hostile(f"history of a row: {what}",
                _row("history", cell))
        for what, cell in {
            "deep JSON": "[" * 50_000, "a number": "5", "pairs of numbers": "[[1, 2]]",
            "a single text": '[["a"]]', "unknown roles": '[{"role": "evil", "content": "x"}]',
        }.items()
    ]  # fmt: skip
    inputs += [
        Hostile(f"cell of a table: {text[:20]!r}",
                pairs("p.csv", writes(PLAIN.replace("lamp", text))), **known)
        for text in _CELLS
    ]  # fmt: skip
    inputs += [
        Hostile(f"name of a table: {name[:20]!r}",
                lambda place, name=name: lambda: load_benchmark(PairsData(file=name)))
        for name in ("/dev/zero", "/proc/self/environ", "a\0.csv", "x" * 5_000 + ".csv",
                     "../" * 200 + "etc/passwd", f"{ESCAPE}.csv", "~nobody/p.csv", "/dev/stdin")
    ]  # fmt: skip
    inputs += [Hostile(f"picture: {what}", _image(data), **known)
               for what, data in _PICTURES.items()]  # fmt: skip
    png = picture("PNG")
    inputs += [
        Hostile(f"archive: {what}", make)
        for what, make in {
            "a member of 100 MB of zeros": _archived({"a.png": bytes(100 * 2**20)}),
            "a password": _archived({"a.png": png}, _encrypted),
            "an unknown compression": _archived({"a.png": png}, _method(99)),
            "another compression": _archived({"a.png": png}, _method(14)),
            "a path out of it": _archived({"../../a.png": png}),
            "no members": _archived({}),
            "a cut archive": _archived({"a.png": png}, lambda data: data[:-9]),
            "zeros": _archived({"a.png": png}, lambda data: bytes(999)),
            "a directory of 2^32 entries": _archived(
                {"a.png": png}, lambda data: data[:-12] + b"\xff" * 12
            ),
            "a name of escape sequences": _archived({ESCAPE: png}),
        }.items()
    ]
    inputs += [Hostile(f"workbook: {what}", _workbook(change), **known)
               for what, change in _WORKBOOKS.items()]  # fmt: skip
    inputs += [Hostile(f"workbook of pairs: {what}", _sheet(change), **known)
               for what, change in _SHEETS.items()]  # fmt: skip
    inputs += [Hostile(f"table .xlsx: {what}", pairs("pairs.xlsx", put))
               for what, put in special_files().items()]  # fmt: skip
    return inputs
