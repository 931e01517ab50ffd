"""Write files atomically, read JSON lines, and make CSV cells safe for spreadsheets."""

import contextlib
import errno
import os
import re
import shutil
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from calib.util.checked_lines import read_checked_line
from calib.util.errors import CalibError
from calib.util.reading import regular


def write_atomically(path: str | Path, data: bytes | str) -> None:
    """Write a file so that at any moment, even after a crash, it has the old or the new content.

    Raises CalibError when it cannot be written (unwritable, no-space). The old file is untouched.
    """
    path = Path(path)
    try:
        temporary = unfinished_path(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        with temporary.open("wb") as file:
            file.write(_encoded(data) if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise cannot_write(path, error) from error


def _encoded(text: str) -> bytes:
    """``text`` as UTF-8; halves of surrogate pairs, as in file names that are not UTF-8, as JSON
    escapes them."""
    return text.encode("utf-8", "backslashreplace")


MAX_PATH, MAX_NAME = 4_096, 255
"""Longest path and longest name of a file, in bytes."""
MAX_NUMBER = 1e15
"""Largest number of a JSON object, far above layers, strengths and counts."""
TEMPORARY = re.compile(
    r"\.(?P<name>.+)\.(?P<process>\d{1,9})(?:@(?P<host>[\w-]+))?\.tmp", re.DOTALL | re.ASCII
)
"""Names of temporary files and folders; those of earlier versions have no host."""


def unfinished_path(path: Path) -> Path:
    """The path at which this process writes a file or folder that is then renamed to ``path``.

    Creates the folder that contains it, and removes what killed processes of this host have left
    there of the same ``path``: on a shared disk, another host may be writing it. Raises
    OSError if the folder cannot be created.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    start = f".{path.name}."
    with contextlib.suppress(OSError):
        # Cheap, because a folder of pictures may have thousands of files.
        with os.scandir(path.parent) as entries:
            names = [entry.name for entry in entries if entry.name.startswith(start)]
        for name in names:
            found = TEMPORARY.fullmatch(name)
            if found and found["name"] == path.name and _is_abandoned(found):
                other = path.with_name(name)
                if other.is_dir() and not other.is_symlink():
                    shutil.rmtree(other)
                else:
                    other.unlink()
    return path.with_name(f".{path.name}.{os.getpid()}@{_host()}.tmp")


def _host() -> str:
    """The name of this host, short and without characters that have a meaning in file names."""
    return re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:32] or "-"


def _is_abandoned(temporary: re.Match[str]) -> bool:
    """Whether the process of a temporary file was one of this host and has ended."""
    import psutil  # rarely needed

    here = temporary["host"] in (None, _host())
    return here and not psutil.pid_exists(int(temporary["process"]))


def remove_unfinished(folders: Iterable[Path]) -> None:
    """Remove the temporary files that killed processes left in ``folders``, which may be missing.

    Call it while no other process writes there. A file that cannot be removed is left alone.
    """
    for folder in folders:
        with contextlib.suppress(OSError):
            for path in list(folder.iterdir()):
                if TEMPORARY.fullmatch(path.name) and path.is_file() and not path.is_symlink():
                    path.unlink()


def cannot_write(path: Path, error: OSError, safe: str = "") -> CalibError:
    """The error that ``path`` cannot be written; ``safe`` is a sentence on data that is safe."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    reason = error.strerror or str(error)
    reason = f"the disk is full ({reason})" if full else reason
    remedy = "Free some space" if full else "Fix this"
    return CalibError(
        "no-space" if full else "unwritable",
        f"{path} cannot be written: {reason}.{safe} {remedy}, or write to another folder "
        "(out=FOLDER on the command line), and run the same command again.",
    )


# The full-width, small, superscript and subscript forms of = + - @, and the minus sign.
_SIGNS = "=+\\-@＝﹦⁼₌＋﹢⁺₊－﹣⁻₋−＠﹫"  # noqa: RUF001
_FORMULA = re.compile(rf"'*[{_SIGNS}\t\r\n]")
"""Text that a spreadsheet would run (OWASP, CSV injection), also after apostrophes. Spreadsheets of
some languages read the full-width signs as the plain ones."""
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
for _kept in "\t\r\n":
    del _CONTROL[ord(_kept)]


def csv_safe(text: str) -> str:
    """``text``, with an apostrophe in front if a spreadsheet would run it as a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def without_control_characters(text: str) -> str:
    """``text`` with control characters other than tabs and line breaks written as ``\\x1b``.

    Readers of tables refuse zero bytes, and a terminal obeys escape sequences.
    """
    return text.translate(_CONTROL)


def from_csv_safe(text: str) -> str:
    """The text that csv_safe was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text[1:]) else text


def read_lines(path: Path, types: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file; ``types`` has the type or types of each required key.

    Raises CalibError when the file cannot be read, is empty, has other content, or has a line that
    differs from its checksum (unreadable).
    """
    try:
        lines = [line for line in regular(path).read_bytes().split(b"\n") if line.strip()]
        objects = [_checked(line, types, number) for number, line in enumerate(lines, 1)]
        if not objects:
            raise ValueError("it is empty")
    except (OSError, ValueError) as error:
        raise CalibError(
            "unreadable",
            f"{path} cannot be read ({error}). Run the sweep's command again; finished rows are "
            "reused.",
        ) from error
    return objects


def _checked(line: bytes, types: Mapping[str, Any], number: int) -> dict[str, Any]:
    try:
        found = read_checked_line(line)
    except ValueError as error:
        raise ValueError(f"line {number} {error}") from error
    return typed_object(found, types, f"line {number}")


def typed_object(
    value: Any,
    types: Mapping[str, Any],
    where: str,
    optional: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """``value``, if it is a JSON object with keys of these ``types``, and of the ``optional`` ones
    where it has them. Numbers must be finite, and no larger than MAX_NUMBER.

    Raises ValueError, whose text begins with ``where``.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{where} is not a JSON object")
    for key, expected in {**types, **optional}.items():
        if key not in value:
            if key in types:
                raise ValueError(f"{where} has no {key}")
            continue
        found = value[key]
        # In Python True is an int, but it is not a layer.
        fits = isinstance(found, expected) and isinstance(found, bool) == (expected is bool)
        # Written so that nan, which compares as false, is out of range.
        in_range = not isinstance(found, int | float) or abs(found) <= MAX_NUMBER
        if not (fits and in_range):
            raise ValueError(f"{where} has {found!r:.200} for {key}")
    return value


def home_expanded(path: str | Path) -> Path:
    """``path`` with a leading ~ expanded, which a shell leaves alone in runs=[~/a].

    Raises CalibError (not-found) for a path that is too long for any file, and (invalid-value) for
    what is no path.
    """
    if not isinstance(path, str | os.PathLike):
        raise CalibError(
            "invalid-value",
            f"{path!r:.80} is of type {type(path).__name__}, not a path. Give a text or a Path.",
        )
    # Unlike pathlib's, os.path's expanduser leaves a user that does not exist alone.
    expanded = Path(os.path.expanduser(path))  # noqa: PTH111
    sizes = [len(part.encode("utf-8", "surrogatepass")) for part in expanded.parts]
    if sum(sizes) + len(sizes) > MAX_PATH or max(sizes, default=0) > MAX_NAME:
        raise CalibError(
            "not-found",
            f"'{str(path)[:100]}...' is too long for a path: the limits are {MAX_PATH:,} bytes, "
            f"and {MAX_NAME} for a name in it. Give a shorter one.",
        )
    return expanded
