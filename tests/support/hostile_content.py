"""Content that hostile files have: texts in place of JSON, and values in place of others."""

import base64
import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from damaged_tables import PAGE, POINTER

from calib.data.example import Example

EXAMPLE = Example("1", "text_centric", "text_only", "c", "test", "What is it?", safety="unsafe")
LONG = "x" * 200_000
ESCAPE = "\x1b]0;owned\x07\x1b[2J\u202ereversed"
HUGE = 10**400
NOT_JSON: dict[str, bytes] = {
    "nothing": b"",
    "blanks": b" \n ",
    "a cut object": b'{"a": [1, ',
    "a deep list": b"[" * 100_000,
    "a closed deep list": b"[" * 300 + b"]" * 300,
    "a deep object": b'{"a":' * 100_000,
    "a list": b"[1, 2]",
    "a list of lists": b"[[[]]]",
    "a number": b"1e999",
    "a long number": b"9" * 5_000,
    "not a number": b"NaN",
    "null": b"null",
    "a long text": json.dumps(LONG).encode(),
    "an escape sequence": json.dumps(ESCAPE).encode() + b"\x1b[31m",
    "another encoding": '{"a": "é"}'.encode("latin-1"),
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "zero bytes": b"{\0}" * 99,
    "a web page": PAGE.encode(),
    "a Git LFS pointer": POINTER.encode(),
    "compressed": gzip.compress(b"{}"),
    "a pickle": b"cos\nsystem\n(S'touch canary'\ntR.",
    "repeated keys": b'{"a": 1, "a": [2]}',
}
"""Texts in place of a JSON object; some are JSON of another type."""
ODD: dict[str, Any] = {
    "null": None,
    "true": True,
    "a negative number": -1,
    "a huge number": HUGE,
    "an infinite number": float("inf"),
    "not a number": float("nan"),
    "an empty text": "",
    "an escape sequence": ESCAPE,
    "a long text": LONG,
    "half a character": "\ud83d",
    "a list": ["a", {}],
    "a nested list": [[[[[[1]]]]]],
    "an object": {"a": {"name": []}},
}
"""Values in place of others in JSON."""

Put = Callable[[Path], object]
"""Puts something at a path, or changes what is there."""


def writes(content: bytes | str) -> Put:
    """Put a file with this content."""
    data = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    return lambda path: path.write_bytes(data)


def replace_file(path: Path, put: Put) -> None:
    """Put something in the place of a file, if there is one."""
    path.unlink(missing_ok=True)
    put(path)


def special_files() -> dict[str, Put]:
    """Ways to put something at a path that is no regular file."""
    return {
        "a pipe": os.mkfifo,
        "a folder": lambda path: path.mkdir(),
        "a device": lambda path: path.symlink_to("/dev/zero"),
        "a link to itself": lambda path: path.symlink_to(path.name),
        "a link to nothing": lambda path: path.symlink_to("gone"),
    }


def pickled(command: str) -> bytes:
    """A pickle that runs a shell command when it is loaded."""

    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (command,)

    import pickle

    return pickle.dumps(Payload())


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
