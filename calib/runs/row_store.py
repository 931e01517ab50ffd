"""The append-only record of a run's rows, safe against kill -9 and a full disk.

Rows are lines of JSON with a checksum; each batch is written at once and fsynced. The key "row" of
a row is a hash of everything that determines it, so that a second run of the same command skips
recorded rows. ``locked`` keeps other processes out of a run's folder.
"""

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from calib.util.checked_lines import checked_line, read_checked_line
from calib.util.errors import CalibError
from calib.util.files import cannot_write, remove_unfinished
from calib.util.progress import log_line
from calib.util.reading import regular
from calib.util.terminal import terminal_safe

if TYPE_CHECKING:
    from calib.runs.shards import ShardRecords

try:
    import fcntl
except ImportError:  # not a POSIX system: runs work, without a lock
    fcntl = None  # type: ignore[assignment]

Record = dict[str, Any]
ROWS_FILE = "rows.jsonl"
_WRITTEN = ("directions", "shards/*", "shards/*/directions", "judged/*")
"""Patterns of the folders within a run that files are written to atomically."""
_DETAILS = {
    **dict.fromkeys(("finish", "system"), str | None),
    **dict.fromkeys(("kl", "kl_base"), int | float | None),
    **dict.fromkeys(("tokens", "prompt_tokens", "demonstrations"), int | None),
}
"""Types of the fields that a row may have."""
# Windows would write a line break as two bytes.
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)


class RowStore:
    """The finished rows of one JSONL file, to which rows can be appended."""

    def __init__(self, path: Path, descriptor: int, finished: dict[str, Record], length: int):
        self.path = path
        self.finished = finished
        self.before = frozenset(finished)
        """Ids of the rows that the file contained when it was opened."""
        self.shards: ShardRecords | None = None
        """The rows that shards of the run have recorded in files of their own."""
        self._descriptor = descriptor
        self._length = length

    @classmethod
    def open(cls, path: str | Path) -> "RowStore":
        """Read the rows of ``path``; the file and its folder are created if missing.

        An incomplete last line, which a killed process leaves, is removed from the file, and so is
        a damaged one. Raises CalibError when another line is damaged, two lines contradict each
        other, or the file cannot be opened.
        """
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                regular(path)
            descriptor = os.open(path, _FLAGS, 0o666)
            try:
                data = path.read_bytes()
                finished, length = _parse(path, data)
                if length < len(data):
                    os.ftruncate(descriptor, length)
                    if data.endswith(b"\n"):
                        log_line(
                            f"the last line of {terminal_safe(str(path))} was damaged and is "
                            "removed; its row is made again"
                        )
            except BaseException:
                os.close(descriptor)
                raise
        except OSError as error:
            raise cannot_write(path, error) from error
        return cls(path, descriptor, finished, length)

    def append(self, records: Sequence[Record]) -> None:
        """Append ``records`` in one write and return when they are on the disk.

        Raises:
            CalibError: the records cannot be written. The file is then unchanged.
            KeyError: a record has no "row".
            ValueError: a record contains NaN or infinity, which JSON cannot express.
        """
        finished = {record["row"]: record for record in records}
        data = b"".join(map(checked_line, records))
        try:
            written = 0
            while written < len(data):  # a full disk accepts a part, then fails
                written += os.write(self._descriptor, data[written:])
            os.fsync(self._descriptor)
        except OSError as error:
            try:
                os.ftruncate(self._descriptor, self._length)
            except OSError:
                self.close()  # nothing may follow an incomplete line
            safe = f" {len(self.finished)} recorded rows are kept."
            raise cannot_write(self.path, error, safe) from error
        self._length += len(data)
        self.finished.update(finished)

    def remember(self, records: Sequence[Record]) -> None:
        """Count ``records`` as finished that another process has written to a file of its own."""
        self.finished.update((record["row"], record) for record in records)

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
        if isinstance(error, KeyboardInterrupt):
            log_line(f"{len(self.finished):,} rows are saved in {terminal_safe(str(self.path))}")


def read_rows(path: Path) -> dict[str, Record]:
    """The finished rows of ``path`` by their ids; the file is not changed.

    Raises CalibError when it cannot be read, or contains a damaged line.
    """
    return complete_rows(path, 0)[0]


def complete_rows(path: Path, start: int) -> tuple[dict[str, Record], int]:
    """The complete rows of ``path`` from byte ``start`` on, and their length in bytes.

    The file may grow meanwhile. Raises CalibError when it cannot be read or a line is damaged.
    """
    try:
        with regular(path).open("rb") as file:
            file.seek(start)
            return _parse(path, file.read(), start)
    except OSError as error:
        raise CalibError(
            "unreadable", f"{path} cannot be read ({error}). Give the folder of a run."
        ) from error


@contextlib.contextmanager
def locked(folder: str | Path, shared: bool = False) -> Iterator[None]:
    """Lock ``folder``, created if missing, against other calib processes.

    With ``shared``, other processes that share it may lock it, too. The lock ends with the process,
    even if it is killed. Temporary files of killed processes are removed, unless the lock is
    shared. Raises CalibError when another process holds the lock, or the folder cannot be created.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        if fcntl is not None:
            is_locked = _lock(folder, descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
            if is_locked and not shared and (folder / "run.json").exists():
                within = [path for pattern in _WRITTEN for path in folder.glob(pattern)]
                remove_unfinished([folder, *within])
        yield
    finally:
        os.close(descriptor)


def _parse(path: Path, data: bytes, start: int = 0) -> tuple[dict[str, Record], int]:
    """The rows in ``data``, the content of ``path`` from byte ``start`` on, and their length in
    bytes."""
    lines = data.split(b"\n")
    # Text after the last newline is an incomplete line of a killed process. After a crash of the
    # machine, the last complete line may be damaged too.
    lines.pop()
    finished: dict[str, Record] = {}
    numbers: dict[str, int] = {}
    length = 0
    after = f" after byte {start}" if start else ""
    for number, line in enumerate(lines, start=1):
        try:
            row = _row(line)
        except ValueError as error:
            if number == len(lines):
                break
            raise CalibError(
                "invalid-content",
                f"{path}, line {number}{after} is not a row: it {error}. It begins {line[:60]!r}. "
                "The disk or another program changed the file. Delete that line (its row is then "
                "made again), or give another folder with out=FOLDER.",
            ) from error
        key = row["row"]
        if key in finished and not _may_replace(finished[key], row):
            raise CalibError(
                "invalid-content",
                f"{path}, lines {numbers[key]} and {number}{after} are both row {key}, and they "
                f"differ in {_first_difference(finished[key], row)}. Another program changed the "
                "file. Delete both lines (the row is then made again), or give another folder "
                "with out=FOLDER.",
            )
        finished[key], numbers[key] = row, number
        length += len(line) + 1
    return finished, length


def _row(line: bytes) -> Record:
    """The row in a line. Raises ValueError, whose text continues "it ...", when it is damaged."""
    row = read_checked_line(line)
    for key in ("row", "response"):
        if not isinstance(row.get(key), str):
            raise ValueError(f"has {key}={row[key]!r:.40}" if key in row else f"has no {key!r}")
    for key, expected in _DETAILS.items():
        if not isinstance(row.get(key), expected):
            raise ValueError(f"has {key}={row[key]!r:.40}")
    return row


def _may_replace(earlier: Record, later: Record) -> bool:
    """Whether a row may follow another one of its id: an equal one, or a verdict that follows a
    reply without a label."""
    return earlier == later or ("label" in earlier and earlier["label"] is None)


def _first_difference(one: Record, other: Record) -> str:
    # A key with null differs from an absent one, too.
    return next(key for key in {**one, **other} if one.get(key, ...) != other.get(key, ...))


def _lock(folder: Path, descriptor: int, kind: int) -> bool:
    """Lock the folder; False where the file system has no locks."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise CalibError(
            "in-use",
            f"another calib process is using {folder}. Wait for it to end, or give another folder "
            "with out=FOLDER.",
        ) from error
    except OSError as error:
        # Some network file systems have no locks: run without one.
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            raise
        return False
    return True
