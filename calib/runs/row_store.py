"""The append-only record of a run: which rows are done, safe against kill -9 and a full disk.

Rows are lines of JSON, each batch written in one go and fsynced. A row is named by its "row" key, a
hash of everything that determines it, so a second run of the same command skips what is done.
``locked`` keeps a second process out of the folder.
"""

import contextlib
import errno
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from calib.util.errors import CalibError
from calib.util.files import cannot_write

try:
    import fcntl
except ImportError:  # not a POSIX system: runs work there, unguarded against a second process
    fcntl = None  # type: ignore[assignment]

Record = dict[str, Any]


ROWS_FILE = "rows.jsonl"


class RowStore:
    """The finished rows of one JSONL file, and the way to add to them."""

    def __init__(self, path: Path, descriptor: int, finished: dict[str, Record], length: int):
        self.path = path
        self.finished = finished
        self.before = frozenset(finished)
        """Ids of the rows that were there when it was opened."""
        self._descriptor = descriptor
        self._length = length

    @classmethod
    def open(cls, path: str | Path) -> "RowStore":
        """Read the rows of ``path``, which is created with its folder when there is none.

        A last line that was torn by a killed writer is dropped from the file.

        Raises:
            CalibError: a line before the last is not a row, or the file cannot be opened.
        """
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                data = path.read_bytes()
                finished, length = _parse(path, data)
                if length < len(data):
                    os.ftruncate(descriptor, length)
            except BaseException:
                os.close(descriptor)
                raise
        except OSError as error:
            raise cannot_write(path, error) from error
        return cls(path, descriptor, finished, length)

    def append(self, records: Sequence[Record]) -> None:
        """Add ``records`` in one write and return when they are on the disk.

        Raises:
            CalibError: they could not be written. The file then holds what it held before.
            KeyError: a record has no "row".
            ValueError: a record holds NaN or infinity, which JSON has no word for.
        """
        finished = {record["row"]: record for record in records}
        data = b"".join(_line(record) for record in records)
        try:
            written = 0
            while written < len(data):  # a disk that fills up takes a part first, then refuses
                written += os.write(self._descriptor, data[written:])
            os.fsync(self._descriptor)
        except OSError as error:
            try:
                os.ftruncate(self._descriptor, self._length)
            except OSError:
                self.close()  # nothing may be written behind a torn line
            safe = f" {len(self.finished)} finished rows are safe."
            raise cannot_write(self.path, error, safe) from error
        self._length += len(data)
        self.finished.update(finished)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> "RowStore":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read_rows(path: Path) -> dict[str, Record]:
    """The finished rows of ``path`` by their ids; the file is left as it is.

    Raises CalibError when it cannot be read or holds a line that is not a row.
    """
    try:
        return _parse(path, path.read_bytes())[0]
    except OSError as error:
        raise CalibError(f"{path} cannot be read ({error}). Give the run's own folder.") from error


@contextlib.contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Hold ``folder``, made where there is none, against every other calib process.

    The lock dies with the process that holds it, however that dies.

    Raises:
        CalibError: another process holds it, or the folder cannot be made.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        if fcntl is not None:
            _lock(folder, descriptor)
        yield
    finally:
        os.close(descriptor)


def _parse(path: Path, data: bytes) -> tuple[dict[str, Record], int]:
    """The rows in ``data`` and how many bytes of it they take."""
    lines = data.split(b"\n")
    # After the last newline stands nothing, or what a killed writer got out of its last line.
    # A crash of the machine can also leave a last line of the right length with holes in it.
    lines.pop()
    finished: dict[str, Record] = {}
    length = 0
    for number, line in enumerate(lines, start=1):
        row = _row(line)
        if row is None:
            if number == len(lines):
                break
            raise CalibError(
                f"{path}, line {number} is not a row: {line[:60]!r}. The file was changed by "
                "something other than calib. Delete that line (its row is then made again), or "
                "give another folder with out=FOLDER."
            )
        finished[row["row"]] = row
        length += len(line) + 1
    return finished, length


def _row(line: bytes) -> Record | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("row"), str) else None


def _line(record: Record) -> bytes:
    text = json.dumps(record, ensure_ascii=False, allow_nan=False)
    # Half a surrogate pair has no UTF-8, but backslashreplace writes just what JSON escapes it as.
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _lock(folder: Path, descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise CalibError(
            f"Another calib process is working in {folder}. Wait for it to end, or give another "
            "folder with out=FOLDER."
        ) from error
    except OSError as error:
        # Some network file systems know no locks: better unguarded than not at all.
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            raise
