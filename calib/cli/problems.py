"""Errors of a command that the user can fix: its settings, a full disk, a lack of memory."""

import dataclasses
import errno
import os
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

import hydra
import yaml
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from calib.cli.config_errors import explain
from calib.util.errors import CalibError

HYDRA_INTERNALS = Path(hydra.__file__).parent / "_internal"


def problem_of(error: BaseException, schema: type, overrides: Sequence[str]) -> CalibError | None:
    """An error of a command as a problem that the user can fix; None for a bug.

    ``schema`` is the command's dataclass, and ``overrides`` are its command-line arguments.
    """
    if isinstance(error, CalibError):
        return error
    if isinstance(error, HydraException | OmegaConfBaseException):
        return explain(error, schema, overrides)
    if isinstance(error, yaml.YAMLError):  # names the file and the line
        return CalibError("unreadable", str(error))
    if isinstance(error, RecursionError) and _raised_while_composing(error):
        return CalibError("invalid-setting", "A setting is nested too deeply. Use fewer brackets.")
    if _raised_by_hydra(error):
        return CalibError("invalid-setting", str(error))
    if isinstance(error, OverflowError) and "full_key: " in str(error):  # OmegaConf's
        text, key = str(error).splitlines()[:2]
        return CalibError("invalid-setting", f"{key.partition('full_key: ')[2]}: {text}.")
    if _disk_is_full(error):
        return CalibError(
            "no-space",
            f"The disk is full ({error}). Finished rows, if any, are saved: free some space and "
            "run the same command to resume.",
        )
    if (out_of_memory := _out_of_memory(error)) is not None:
        return CalibError("no-memory", _how_to_save_memory(out_of_memory, schema))
    return None


def _disk_is_full(error: BaseException) -> bool:
    # safetensors and torch wrap the system's error in their own and keep only its text.
    return any(
        getattr(link, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        or os.strerror(errno.ENOSPC) in str(link)
        for link in _chain(error)
    )


_NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")
"""Texts of torch's RuntimeErrors about memory that have no class of their own."""


def _out_of_memory(error: BaseException) -> BaseException | None:
    """The error of the chain that reports a lack of memory; None without one."""
    for link in _chain(error):
        # By name: torch is not imported here.
        names = {kind.__name__ for kind in type(link).__mro__}
        if names & {"OutOfMemoryError", "MemoryError"}:
            return link
        if isinstance(link, RuntimeError) and any(t in str(link).lower() for t in _NO_MEMORY):
            return link
    return None


def _how_to_save_memory(error: BaseException, schema: type) -> str:
    fields = {field.name for field in dataclasses.fields(schema)}
    cause = str(error).partition("\n")[0].partition(". ")[0].strip() or type(error).__name__
    if not fields & {"generation", "batch_rows"}:
        return f"There is not enough memory ({cause}). Free some and run the same command again."
    setting = "generation.batch_rows" if "generation" in fields else "batch_rows"
    return (
        f"There is not enough memory ({cause}). Finished rows, if any, are saved: lower {setting} "
        "and run the command again to resume."
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """``error``, its cause or context, and theirs."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _raised_while_composing(error: BaseException) -> bool:
    return any("omegaconf" in f.filename for f in traceback.extract_tb(error.__traceback__)[-20:])


def _raised_by_hydra(error: BaseException) -> bool:
    # Hydra raises a bare ValueError for flags that exclude each other and for a group set to null.
    raised_in = traceback.extract_tb(error.__traceback__)[-1].filename
    return isinstance(error, ValueError) and Path(raised_in).is_relative_to(HYDRA_INTERNALS)
