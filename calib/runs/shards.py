"""Shards: processes that each make a part of a run's rows, and the joining of their records.

Shard i of n keeps its rows in ``shards/i-of-n`` in the run's folder, which all shards share. They
fit directions one after the other and divide the segments of the validation and test rows. A run
without ``shard`` takes the rows from the records of all shards, in the order of an undivided run,
and generates what is missing.
"""

import contextlib
import dataclasses
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calib.config.checks import shard as check_shard
from calib.config.sweep import SweepConfig
from calib.runs.manifest import require_same_run
from calib.runs.row_store import ROWS_FILE, Record, complete_rows, fcntl
from calib.util.errors import CalibError
from calib.util.files import cannot_write
from calib.util.progress import waiting

SHARDS = "shards"
"""Folder of the shards' records, in the folder of the run."""
_FOLDER = re.compile(r"[1-9]\d*-of-[1-9]\d*")
POLL = 1.0
"""Seconds between two looks at the records of other shards."""


@dataclass(frozen=True)
class Shard:
    """Part ``number`` of ``count`` parts of a run."""

    number: int
    count: int

    @classmethod
    def of(cls, text: str) -> "Shard":
        """The shard that ``text`` names, such as 2/5. Raises CalibError (invalid-setting)."""
        return cls(*check_shard("shard", text))

    def folder(self, run: Path) -> Path:
        return run / SHARDS / f"{self.number}-of-{self.count}"

    def has(self, segment: int) -> bool:
        """Whether this shard generates the segment of this index."""
        return segment % self.count == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


@dataclass
class ShardRecords:
    """The rows that other processes have recorded for the run in ``folder``.

    ``own`` is the shard that this process makes; None joins the shards. ``identity`` is what
    run.json of every shard must agree with.
    """

    folder: Path
    identity: Mapping[str, Any]
    own: Shard | None = None
    wait: float = 3600.0
    """Seconds without a new row of any shard after which this one stops waiting."""
    rows: dict[str, Record] = field(default_factory=dict)
    _read: dict[Path, int] = field(default_factory=dict)

    def refresh(self) -> bool:
        """Read what other processes have recorded since the last call; whether there were rows.

        Raises CalibError: (different-run) a shard belongs to another run; (invalid-content) its
        record is damaged.
        """
        before = len(self.rows)
        for path in self._others():
            if path not in self._read:
                if path.parent != self.folder:
                    require_same_run(path.parent, self.identity)
                self._read[path] = 0
            rows, length = complete_rows(path, self._read[path])
            self.rows.update(rows)
            self._read[path] += length
        return len(self.rows) > before

    def find(self, ids: Sequence[str], known: Mapping[str, Record]) -> list[Record] | None:
        """The records of those of ``ids`` that are not ``known``; None unless all are recorded."""
        missing = [row for row in dict.fromkeys(ids) if row not in known]
        if any(row not in self.rows for row in missing):
            return None
        return [self.rows[row] for row in missing]

    def await_rows(self, ids: Sequence[str], known: Mapping[str, Record]) -> list[Record]:
        """The records of those of ``ids`` that are not ``known``, once other shards have them.

        Raises CalibError (unfinished-run) when no shard records a row for ``wait`` seconds.
        """
        assert self.own is not None
        last = time.monotonic()
        while (records := self.find(ids, known)) is None:
            if self.refresh():
                last = time.monotonic()
            elif time.monotonic() - last >= self.wait:
                missing = sum(row not in known and row not in self.rows for row in set(ids))
                raise CalibError(
                    "unfinished-run",
                    f"shard={self.own} has made its rows of this step and needs {missing:,} rows "
                    f"of other shards, none of which has recorded one for {self.wait / 60:g} "
                    "minutes (shard_wait). Its rows are saved. Start the missing shards, and run "
                    "this command again to go on.",
                )
            else:
                time.sleep(POLL)
        return records

    def _others(self) -> list[Path]:
        shards = sorted((self.folder / SHARDS).glob(f"*/{ROWS_FILE}"))
        paths = [path for path in shards if _FOLDER.fullmatch(path.parent.name)]
        if self.own is None:
            return paths
        # The run's own record, of a session without shards, comes first.
        run, own = self.folder / ROWS_FILE, self.own.folder(self.folder) / ROWS_FILE
        return [path for path in [run, *paths] if path != own and path.is_file()]

    @property
    def names(self) -> list[str]:
        """The shards whose records were read, such as 2/5."""
        names = [path.parent.name for path in self._read if path.parent != self.folder]
        return [name.replace("-of-", "/") for name in names]


def division(config: SweepConfig) -> dict[str, Any]:
    """What shards of one run must agree about, beyond the identity of the run."""
    chosen_by = {"choose": dataclasses.asdict(config.choose), "mapping": config.mapping}
    return {"division": chosen_by | {"generation.batch_rows": config.generation.batch_rows}}


@contextlib.contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Let one shard of the run in ``folder`` in, after waiting for the one that is inside.

    The lock ends with the process. Raises CalibError when the file cannot be created. A file system
    without locks lets all processes in at once.
    """
    path = folder / ".fitting.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        with waiting("waiting for another shard to fit"), contextlib.suppress(OSError):
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
