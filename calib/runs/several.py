"""Several finished runs, as a command line names them: each once, each with its own name."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from calib.errors import CalibError
from calib.runs.measured import EXTRACTED, Measured, read_measured
from calib.runs.tables import RESULTS_FILE


def home_expanded(path: str) -> Path:
    """``path`` with the ~ in front, which a shell leaves as it is in runs=[~/a]."""
    # Unlike pathlib's, os.path's expanduser leaves a user that does not exist alone.
    return Path(os.path.expanduser(path))  # noqa: PTH111


def read_several(given: Sequence[str]) -> list[Measured]:
    """The finished runs in these folders; those of one name are called by as much of their path as
    sets them apart.

    Raises CalibError when a folder is no finished run of calib.sweep or calib.extract, is given
    twice, or holds a damaged file.
    """
    folders: dict[Path, Path] = {}
    for folder in map(home_expanded, given):
        if not any((folder / name).is_file() for name in (RESULTS_FILE, EXTRACTED)):
            raise CalibError(
                f"'{folder}' has no {RESULTS_FILE}: it is not a finished run of calib.sweep, nor "
                "one of calib.extract. Give the run's folder, which the command prints at its end, "
                "or give the command again: it goes on where it stopped."
            )
        twin = folders.setdefault(folder.resolve(), folder)
        if twin is not folder:
            raise CalibError(f"runs: '{twin}' and '{folder}' are one folder; give it once.")
    runs = [read_measured(folder) for folder in folders.values()]
    return [replace(run, results=replace(run.results, run=name))
            for run, name in zip(runs, _told_apart(runs), strict=True)]  # fmt: skip


def _told_apart(runs: Sequence[Measured]) -> list[str]:
    names = [run.results.run for run in runs]
    parts = [run.folder.resolve().parts for run in runs]
    return [
        name if names.count(name) == 1 else _shortest(own, parts)
        for name, own in zip(names, parts, strict=True)
    ]


def _shortest(own: tuple[str, ...], others: Sequence[tuple[str, ...]]) -> str:
    """As much of the end of a path as none of the others has."""
    length = next(k for k in range(1, len(own) + 1)
                  if sum(other[-k:] == own[-k:] for other in others) == 1)  # fmt: skip
    return "/".join(own[-length:])
