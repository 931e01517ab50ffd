"""Write files atomically, read JSON lines, and make CSV cells safe for spreadsheets."""

import contextlib
import errno
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from calib.util.errors import CalibError


def write_atomically(path: str | Path, data: bytes | str) -> None:
    """Write a file so that at any moment, also after a crash, it is the old one or the new one.

    Raises:
        CalibError: it could not be written. The old file is untouched.
    """
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError, safe: str = "") -> CalibError:
    """What to tell a user whose file could not be written; ``safe`` says what was kept."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    reason = error.strerror or str(error)
    reason = f"the disk is full ({reason})" if full else reason
    remedy = "Free some space" if full else "Put that right"
    return CalibError(
        "no-space" if full else "unwritable",
        f"{path} cannot be written: {reason}.{safe} {remedy}, or give another folder with "
        "out=FOLDER, and run the same command again.",
    )


_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
"""What a spreadsheet would run (OWASP, CSV injection), also behind apostrophes already there."""


def csv_safe(text: str) -> str:
    """``text`` with an apostrophe in front where a spreadsheet would run it as a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def from_csv_safe(text: str) -> str:
    """What spreadsheet_safe was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text[1:]) else text


def read_lines(path: Path, kinds: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The objects of a file, one a line; ``kinds`` says of which type (or types) each key is.

    Raises CalibError when the file cannot be read, is empty, or holds something else.
    """
    try:
        # Not splitlines: JSON leaves some of the characters that it breaks at as they are.
        lines = [line for line in path.read_bytes().decode().split("\n") if line.strip()]
        found = [_checked(json.loads(line), kinds, k) for k, line in enumerate(lines, 1)]
        if not found:
            raise ValueError("it is empty")
    except (OSError, ValueError, RecursionError) as error:
        raise CalibError(
            f"{path} cannot be read ({error}). Give the sweep's command again; finished rows are "
            "not done again."
        ) from error
    return found


def _checked(line: Any, kinds: Mapping[str, Any], number: int) -> dict[str, Any]:
    if not isinstance(line, dict):
        raise ValueError(f"line {number} is no JSON object")
    for name, kind in kinds.items():
        if name not in line:
            raise ValueError(f"line {number} has no {name}")
        # True is an int to Python, but no layer.
        if not isinstance(line[name], kind) or isinstance(line[name], bool) != (kind is bool):
            raise ValueError(f"line {number} has {line[name]!r} for {name}")
    return line


def home_expanded(path: str | Path) -> Path:
    """``path`` with a leading ~ expanded, which a shell leaves alone in runs=[~/a]."""
    # Unlike pathlib's, os.path's expanduser leaves a user that does not exist alone.
    return Path(os.path.expanduser(path))  # noqa: PTH111
