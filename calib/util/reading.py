"""Read files and JSON that others may bring: regular files of bounded size, nesting and count.

A pipe blocks its reader for ever, a device may never end, and a few bytes of brackets or references
exhaust the stack or the memory of whatever copies the parsed value.
"""

import errno
import json
from pathlib import Path
from typing import Any

MAX_BYTES = 256 * 2**20
"""Largest file of JSON or text."""
MAX_DEPTH = 64
"""Most levels of lists and objects within each other; formats that calib reads have some ten."""
MAX_VALUES = 20_000_000
"""Most values of a JSON text, estimated from commas and brackets: an empty list takes 56 bytes."""


def regular(path: Path) -> Path:
    """``path``, if it is a regular file or a link to one.

    Raises OSError if it does not exist or is something else (a folder, pipe or device), and
    ValueError if it cannot be a path.
    """
    if not path.is_file():
        path.stat()  # raises FileNotFoundError, or the reason why it cannot be reached
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return path


def file_bytes(path: Path, most: int = MAX_BYTES) -> bytes:
    """The bytes of a regular file.

    Raises OSError as ``regular`` does or if it cannot be read, and ValueError if it has more than
    ``most`` bytes.
    """
    size = regular(path).stat().st_size
    if size > most:
        raise ValueError(f"it has {size:,} bytes, and the limit is {most:,}")
    return path.read_bytes()


def file_text(path: Path, most: int = MAX_BYTES) -> str:
    """The text of a regular file in UTF-8, with or without a byte order mark; raises as
    ``file_bytes`` does."""
    return file_bytes(path, most).decode("utf-8-sig")


def parse_json(text: str | bytes, **options: Any) -> Any:
    """The value of a JSON text; ``options`` are those of json.loads.

    Raises ValueError if the text is not valid JSON, or exceeds MAX_VALUES or MAX_DEPTH.
    """
    if isinstance(text, bytes):
        signs = sum(map(text.count, (b",", b"[", b"{")))
    else:
        signs = sum(map(text.count, (",", "[", "{")))
    if signs > MAX_VALUES:
        raise ValueError(f"it has more than {MAX_VALUES:,} values")
    try:
        value = json.loads(text, **options)
    except RecursionError as error:
        raise ValueError(f"its JSON is nested too deeply (more than {MAX_DEPTH} levels)") from error
    require_moderate(value)
    return value


_CONTAINERS = (dict, list, tuple)


def require_moderate(value: Any, most: int = MAX_VALUES, depth: int = MAX_DEPTH) -> None:
    """Raise ValueError if ``value`` (of JSON or YAML) has more than ``depth`` levels, or more than
    ``most`` values.

    A value that YAML or a pickle refers to several times counts as often: whoever copies it makes
    as many. One that contains itself has no end of levels.
    """
    count, level = 0, [value]
    for _ in range(depth):
        inner = []
        for part in level:
            parts = part.values() if isinstance(part, dict) else part
            if isinstance(part, _CONTAINERS):
                count += len(part)
                if count > most:
                    raise ValueError(f"it has more than {most:,} values")
                inner += [each for each in parts if isinstance(each, _CONTAINERS)]
        if not inner:
            return
        level = inner
    raise ValueError(f"it is nested too deeply (more than {depth} levels)")
