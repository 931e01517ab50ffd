"""Collect the faults of a table, so that all of them can be listed at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from calib.util.errors import CalibError


@dataclass
class Faults:
    """The faults of the table at ``path``, in the order in which they were found."""

    path: Path
    found: list[CalibError] = field(default_factory=list)

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Keep a CalibError of the block, and go on after it."""
        try:
            yield
        except CalibError as error:
            if str(error) not in map(str, self.found[-20:]):
                self.found.append(error)

    def raise_first(self) -> None:
        """Raise the first fault, with the number of the others; nothing if there is none."""
        if not self.found:
            return
        first, others = self.found[0], len(self.found) - 1
        if not others:
            raise first
        raise CalibError(
            first.code,
            f"{first}\n{others} more fault{'s' * (others > 1)}: python -m calib.pairs "
            f"check={self.path} lists all of them.",
        ) from first
