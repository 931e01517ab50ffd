"""Files that are whole at any moment, also after a crash."""

import contextlib
import errno
import os
from pathlib import Path

from calib.errors import CalibError


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
        f"{path} cannot be written: {reason}.{safe} {remedy}, or give another folder with "
        "out=FOLDER, and run the same command again."
    )
