"""Damaged and unusual tables of pairs, made by code, each with what must become of it.

A table ends in a right value (the queries that it states), in a note, or in a CalibError with a
code and a value that its message names; never in a traceback, and never in queries that it does not
state.
"""

import gzip
import io
import json
import zipfile
from dataclasses import dataclass

SCRIPTS = "🔥 日本 مرحبا"
LAMP, LOCK = "How do I mend a lamp?", "How do I break a lock?"
ROWS = [
    {"query": LAMP, "safety": "safe", "pair": "1"},
    {"query": LOCK, "safety": "unsafe", "pair": "1"},
]
QUERIES = ((LAMP, "safe"), (LOCK, "unsafe"))


@dataclass(frozen=True)
class Refused:
    code: str
    value: str = ""
    """A part of the message: the cause, a cell, a line, a column."""


@dataclass(frozen=True)
class Read:
    queries: tuple[tuple[str, str], ...] = QUERIES
    """Query and safety of every example, in order."""
    note: str = ""
    """A part of a note."""


@dataclass(frozen=True)
class Damaged:
    name: str
    file: str
    content: bytes
    outcome: Refused | Read

    def __str__(self) -> str:
        return self.name


def _text(rows: list[dict], separator: str = ",", end: str = "\n") -> str:
    lines = [separator.join(rows[0])] + [separator.join(map(str, r.values())) for r in rows]
    return "".join(line + end for line in lines)


def _json(rows: object) -> str:
    return json.dumps(rows, ensure_ascii=False)


def _with(column: str, *cells: object) -> list[dict]:
    return [{**row, column: cell} for row, cell in zip(ROWS, cells, strict=True)]


def _one(query: str) -> tuple[tuple[str, str], ...]:
    return ((query, "safe"), (LOCK, "unsafe"))


PLAIN = _text(ROWS)
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 9\n"
PAGE = "<!DOCTYPE html>\n<html><head><title>Log in</title></head></html>"
MULTILINE = 'query,safety,pair\n"def f():\n    return 1",safe,1\n' + f"{LOCK},unsafe,1\n"


def _workbook() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return data.getvalue()


def _csv() -> list[tuple[str, str | bytes, Refused | Read]]:
    return [
        ("plain", PLAIN, Read()),
        ("byte order mark", "\ufeff" + PLAIN, Read()),
        ("lines end in CR LF", _text(ROWS, end="\r\n"), Read()),
        ("lines end in CR", _text(ROWS, end="\r"), Read()),
        ("no line end at the end", PLAIN.rstrip(), Read()),
        ("empty lines", PLAIN.replace("\n", "\n\n"), Read()),
        ("blanks around the columns", PLAIN.replace("query,safety", " query , safety "), Read()),
        ("all cells quoted", _text([{k: f'"{v}"' for k, v in r.items()} for r in ROWS]).replace(
            "query,safety,pair", '"query","safety","pair"'), Read()),
        ("line break in a cell", MULTILINE, Read(_one("def f():\n    return 1"))),
        ("doubled quotation mark", PLAIN.replace(LAMP, '"a ""b"" c"'), Read(_one('a "b" c'))),
        ("quotation mark within a cell", PLAIN.replace(LAMP, 'a "b" c'), Read(_one('a "b" c'))),
        ("emoji and other scripts", PLAIN.replace(LAMP, SCRIPTS), Read(_one(SCRIPTS))),
        ("formula", PLAIN.replace(LAMP, "=1+1"), Read(_one("=1+1"))),
        ("interpolation", PLAIN.replace(LAMP, "${oc.env:HOME}"), Read(_one("${oc.env:HOME}"))),
        ("escape sequence", PLAIN.replace(LAMP, "\x1b[31mred"), Read(_one("\x1b[31mred"))),
        ("capital letters in safety", PLAIN.replace("unsafe", "UNSAFE"), Read()),
        ("columns in another order", _text([dict(reversed(r.items())) for r in ROWS]), Read()),
        ("a column that is not read", _text(_with("source", "x", "y")), Read(note="'source'")),
        ("repeated rows", PLAIN + "\n".join(PLAIN.split("\n")[1:]),
         Read(QUERIES * 2, note="rows 3, 4")),
        ("semicolons", _text(ROWS, ";"), Read(note="semicolons")),
        ("tabs", _text(ROWS, "\t"), Read(note="tabs")),
        ("vertical bars", _text(ROWS, "|"), Read(note="vertical bars")),
        ("unclosed quotation mark", PLAIN.replace(LOCK, f'"{LOCK}') + PLAIN,
         Refused("unreadable", "line 3")),
        ("text after a quotation mark", PLAIN.replace(LAMP, '"a"b'),
         Refused("unreadable", "line 2")),
        ("cut off in a row", PLAIN[:-20], Refused("unreadable", "line 3")),
        ("cut off in a cell", PLAIN.replace("unsafe,1\n", "unsa,1\n"),
         Refused("invalid-value", "'unsa'")),
        ("one cell too many", PLAIN.replace("safe,1\n", "safe,1,2\n", 1),
         Refused("unreadable", "line 2")),
        ("comma in a cell without quotation marks", PLAIN.replace(LAMP, "a, b"),
         Refused("unreadable", "line 2")),
        ("repeated column", PLAIN.replace("pair", "query", 1), Refused("unreadable", "'query'")),
        ("header only", "query,safety\n", Refused("too-few", "query")),
        ("empty", "", Refused("too-few", "query")),
        ("blank", " \n \n", Refused("too-few")),
        ("no header", PLAIN.partition("\n")[2], Refused("missing-column", "'query'")),
        ("synonym of a required column", PLAIN.replace("query", "prompt", 1),
         Refused("missing-column", "'prompt'")),
        ("capital letters in the header", PLAIN.replace("query", "Query", 1),
         Refused("missing-column", "'Query'")),
        ("a line sep=", "sep=;\n" + _text(ROWS, ";"), Read(note="semicolons")),
        ("semicolons, with a comma in the header", _text(_with("a, b", "", ""), ";"),
         Read(note="semicolons")),
        ("semicolons, one missing", _text(ROWS, ";").replace(";1\n", "\n", 1),
         Refused("unreadable", "line 2")),
        ("semicolons in cells", PLAIN.replace(LAMP, "a; b; c"), Read(_one("a; b; c"))),
        ("empty columns and rows", PLAIN.replace("\n", ",,\n") + ",,,,\n", Read(note="n=1")),
        ("Windows-1252", PLAIN.replace("lamp", "caf\xe9\u2019s").encode("cp1252"),
         Read(_one("How do I mend a caf\xe9\u2019s?"), note="'caf\xe9\u2019s?'")),
        ("Windows-1251", PLAIN.replace("lamp", "\u043b\u0430\u043c\u043f\u0430").encode("cp1251"),
         Refused("unreadable", "line 2")),
        ("Mac Roman", PLAIN.replace("lamp", "caf\xe9").encode("mac-roman"),
         Refused("unreadable", "line 2")),
        ("Windows-1250", PLAIN.replace("lamp", "\u017c\xf3\u0142ty").encode("cp1250"),
         Refused("unreadable", "line 2")),
        ("Shift-JIS", PLAIN.replace("lamp", "\u65e5\u672c\u8a9e").encode("shift-jis"),
         Refused("unreadable", "line 2")),
        ("UTF-16", PLAIN.encode("utf-16"), Read(note="UTF-16")),
        ("UTF-16 without a mark", PLAIN.encode("utf-16-le"), Read(note="UTF-16")),
        ("UTF-16 that is cut off", PLAIN.encode("utf-16")[:-1], Refused("unreadable", "line 3")),
        ("zero bytes", PLAIN.replace("lamp", "\0"), Refused("unreadable", "line 2 has a zero")),
        ("random bytes", bytes(range(128, 256)), Refused("unreadable", "line 1")),
        ("compressed", gzip.compress(PLAIN.encode()), Refused("unreadable", "gzip")),
        ("workbook", _workbook(), Refused("unreadable", "workbook")),
        ("Git LFS pointer", POINTER, Refused("unreadable", "Git LFS")),
        ("web page", PAGE, Refused("unreadable", "HTML")),
        ("error of a server", "<?xml version='1.0'?><Error/>", Refused("unreadable", "XML")),
        ("message in place of the file", "Entry not found", Refused("too-few", "query")),
        ("empty query", PLAIN.replace(LAMP, ""), Refused("missing-value", "row 1")),
        ("blank query", PLAIN.replace(LAMP, " \u3000 "), Refused("missing-value", "row 1")),
        ("unknown safety", PLAIN.replace(",safe,", ",harmless,"),
         Refused("invalid-value", "'harmless'")),
        ("empty safety", PLAIN.replace(",safe,", ",,"), Refused("invalid-value", "row 1")),
        ("nan as a query", PLAIN.replace(LAMP, "nan"), Refused("invalid-value", "row 1")),
        ("nan as a pair", PLAIN.replace("safe,1", "safe,NaN"), Refused("invalid-value", "'pair'")),
        ("repeated id", _text(_with("id", "x", "x")), Refused("duplicate", "'x'")),
        ("misnamed column", _text(_with("img", "", "")), Refused("unknown-name", "'img'")),
        ("misspelt column", _text(_with("splitt", "", "")), Refused("unknown-name", "'splitt'")),
        ("twins in two splits", _text(_with("split", "train", "test")),
         Refused("mismatch", "'train'")),
        ("twins in two clusters", _text(_with("cluster", "a", "b")), Refused("mismatch", "'a'")),
        ("unknown split", _text(_with("split", "dev", "dev")), Refused("invalid-value", "'dev'")),
        ("unknown part", _text(_with("part", "x", "x")), Refused("invalid-value", "'x'")),
    ]  # fmt: skip


def _of_json() -> list[tuple[str, str, str, Refused | Read]]:
    lines = "\n".join(_json(row) for row in ROWS)
    line_separator = "a\u2028b"
    return [
        ("list", ".json", _json(ROWS), Read()),
        ("object of rows", ".json", _json(dict(zip("ab", ROWS, strict=True))), Read()),
        ("object per line", ".json", lines, Read()),
        ("lines", ".jsonl", lines + "\n\n", Read()),
        ("U+2028 in a line", ".jsonl", lines.replace(LAMP, line_separator),
         Read(_one(line_separator))),
        ("escaped emoji", ".jsonl", lines.replace(LAMP, r"\ud83d\udd25"), Read(_one("🔥"))),
        ("number as a query", ".json", _json(_with("query", 3, LOCK)), Read(_one("3"))),
        ("half of a character", ".jsonl", lines.replace(LAMP, r"\ud83d"),
         Refused("unreadable", "ud83d")),
        ("cut off", ".json", _json(ROWS)[:-9], Refused("unreadable", "not complete")),
        ("cut off between rows", ".json", _json(ROWS)[:-1], Refused("unreadable", "not complete")),
        ("cut off line", ".jsonl", lines[:-9], Refused("unreadable", "line 2")),
        ("comma missing", ".json", _json(ROWS).replace("}, {", "} {"),
         Refused("unreadable", "line 1")),
        ("comma too many", ".json", _json(ROWS).replace("}]", "},]"),
         Refused("unreadable", "line 1")),
        ("single quotation marks", ".json", str(ROWS), Refused("unreadable", "line 1")),
        ("list in lines", ".jsonl", _json(ROWS), Refused("unreadable", "line 1")),
        ("repeated key", ".jsonl", lines.replace('"pair"', '"query"'),
         Refused("unreadable", "'query'")),
        ("not a number", ".jsonl", lines.replace(f'"{LAMP}"', "NaN"),
         Refused("missing-value", "row 1")),
        ("infinity", ".jsonl", lines.replace(f'"{LAMP}"', "Infinity"),
         Refused("unreadable", "Infinity")),
        ("truth value as a query", ".json", _json(_with("query", True, LOCK)),
         Refused("invalid-value", "'query'")),
        ("null", ".json", _json(_with("query", None, LOCK)), Refused("missing-value", "row 1")),
        ("list as a query", ".json", _json(_with("query", ["a", "b"], LOCK)),
         Refused("invalid-value", "row 1: column 'query'")),
        ("list as a pair", ".jsonl", "\n".join(map(_json, _with("pair", "1", [1]))),
         Refused("invalid-value", "row 2: column 'pair'")),
        ("object as a query", ".json", _json(_with("query", {"text": "a"}, LOCK)),
         Refused("invalid-value", "'query'")),
        ("key missing in row 2", ".json", _json([ROWS[0], {"query": LOCK}]),
         Refused("missing-value", "row 2")),
        ("nested too deeply", ".json", "[" * 100_000, Refused("unreadable", "nested")),
        ("scalars", ".json", "[1, 2]", Refused("unreadable", "list of objects")),
        ("a single object", ".json", _json(ROWS[0]), Refused("unreadable", "per row")),
        ("a text", ".json", '"x"', Refused("unreadable", "list of objects")),
        ("null in place of rows", ".json", "null", Refused("unreadable", "list of objects")),
        ("long number", ".json", '[{"query": ' + "9" * 5000 + "}]", Refused("unreadable")),
        ("Git LFS pointer", ".json", POINTER, Refused("unreadable", "Git LFS")),
        ("web page", ".jsonl", PAGE, Refused("unreadable", "HTML")),
        ("empty list", ".json", "[]", Refused("too-few", "query")),
        ("TSV with commas", ".tsv", PLAIN, Read(note="commas")),
        ("TSV", ".tsv", _text(ROWS, "\t"), Read()),
        ("Unicode text of Excel", ".txt", _text(ROWS, "\t"), Read()),
        ("workbook's extension", ".xlsx", PLAIN, Refused("unreadable", ".xlsx")),
        ("extension of an old workbook", ".xls", PLAIN, Refused("unsupported", ".xlsx")),
        ("no extension", "", PLAIN, Refused("unsupported", ".csv")),
    ]  # fmt: skip


def _parquet() -> list[tuple[str, bytes, Refused | Read]]:
    import pyarrow
    from pyarrow import parquet

    def table(rows: list[dict]) -> bytes:
        data = io.BytesIO()
        parquet.write_table(pyarrow.Table.from_pylist(rows), data)
        return data.getvalue()

    twice = io.BytesIO()
    columns = [["a", "b"], ["safe", "unsafe"], ["c", "d"]]
    parquet.write_table(pyarrow.table(columns, ["query", "safety", "query"]), twice)
    whole = table(ROWS)
    return [
        ("parquet", whole, Read()),
        ("parquet that is cut off", whole[:-30], Refused("unreadable", "parquet")),
        ("parquet with a flipped byte", whole[:-8] + b"\xff" + whole[-7:], Refused("unreadable")),
        ("CSV as parquet", PLAIN.encode(), Refused("unreadable", "parquet")),
        ("pointer as parquet", POINTER.encode(), Refused("unreadable", "Git LFS")),
        ("repeated column in parquet", twice.getvalue(), Refused("unreadable", "query")),
        (
            "list in parquet",
            table(_with("query", ["a"], ["b"])),
            Refused("invalid-value", "'query'"),
        ),
    ]


def damaged_tables() -> list[Damaged]:
    """Every table, with the name of its file and its outcome."""
    tables = [("csv: " + name, ".csv", content, outcome) for name, content, outcome in _csv()]
    tables += [
        (f"{end or 'none'}: {name}", end, text, outcome) for name, end, text, outcome in _of_json()
    ]
    tables += [(name, ".parquet", content, outcome) for name, content, outcome in _parquet()]
    return [
        Damaged(name, f"pairs{ending}", c.encode() if isinstance(c, str) else c, outcome)
        for name, ending, c, outcome in tables
    ]
