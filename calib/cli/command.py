"""The one way an entry point starts: a configuration from ``conf/`` and the command line in,
one clear message and an exit code out.

An entry point is a function of its configuration:

    def main(config: SweepConfig) -> None: ...

    if __name__ == "__main__":
        command.run(main, "sweep", SweepConfig)

Exit codes: 0 done, 1 a bug (with its traceback), 2 something the user can put right (one message),
130 stopped by Ctrl-C. ``HYDRA_FULL_ERROR=1`` shows the traceback of every error.
"""

import contextlib
import dataclasses
import errno
import functools
import io
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import hydra
import yaml
from hydra._internal.hydra import Hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from calib.cli.config_errors import explain, unknown_setting
from calib.cli.help import register_help
from calib.config.schemas import CONF, register
from calib.util.errors import CalibError
from calib.util.progress import labelled
from calib.util.terminal import terminal_safe

HYDRA_INSIDE = Path(hydra.__file__).parent / "_internal"

BUG, USER_ERROR, INTERRUPTED = 1, 2, 130

Config = TypeVar("Config")


class _ReaderGone(BaseException):
    """A broken pipe on its way out of a job: Hydra reports every Exception as a failed job."""


def run(main: Callable[[Config], None], config_name: str, schema: type[Config]) -> None:
    """Run ``main`` with the configuration that ``conf/<config_name>.yaml`` and the command line
    say, once, or once per combination under ``-m``.

    Returns when all went well and leaves through ``SystemExit`` otherwise. Under ``-m`` the failure
    of one job is told at once and the others still run.
    """
    register()
    register_help()
    # A log holds what was said when it was said, also after a kill, and in order with stderr.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    # Hydra would print errors in its own words; with this set it raises them and we explain them.
    # The user who sets it wants tracebacks.
    full_tracebacks = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"
    launcher = os.getpid()
    codes: list[int] = []

    @functools.wraps(main)
    def job(composed: DictConfig) -> None:
        try:
            with labelled(_job().strip(" []")):
                main(_typed(composed, schema))
        except Exception as error:
            if os.getpid() != launcher:  # a launcher's worker: it carries the error home
                raise
            if isinstance(error, BrokenPipeError):
                raise _ReaderGone from error
            codes.append(_report(error, schema, f"calib.{config_name}{_job()}", full_tracebacks))

    with warnings.catch_warnings():
        # Hydra 1.4 warns about the very version_base that makes 1.3 behave like it.
        warnings.filterwarnings("ignore", message=".*version_base.*")
        start = hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)
    try:
        with _quick_help():
            start(job)()
    except (BrokenPipeError, _ReaderGone):  # whoever read the output, head say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (Exception, KeyboardInterrupt) as error:
        codes.append(_report(error, schema, f"calib.{config_name}", full_tracebacks))
    finally:
        if not full_tracebacks:
            del os.environ["HYDRA_FULL_ERROR"]
    if codes:
        sys.exit(INTERRUPTED if INTERRUPTED in codes else min(codes))


@contextlib.contextmanager
def _quick_help() -> Iterator[None]:
    """Keep Hydra from listing all groups for a text that has its own list: it copies every schema
    for each of them, which takes most of the time of --help."""
    listing = Hydra.format_config_groups
    if "--hydra-help" not in sys.argv:
        Hydra.format_config_groups = lambda *_, **__: ""  # type: ignore[method-assign]
    try:
        yield
    finally:
        Hydra.format_config_groups = listing  # type: ignore[method-assign]


def _typed(composed: DictConfig, schema: type[Config]) -> Config:
    config = OmegaConf.to_object(composed)
    assert isinstance(config, schema)
    # +key=value gets past the schema; nothing would ever read it.
    for key, owner in _unread(OmegaConf.to_container(composed), config):
        raise CalibError(unknown_setting(key, schema, owner, _overrides()))
    return config


def _overrides() -> list[str]:
    return [text for text in sys.argv[1:] if "=" in text]


def _unread(given: Any, config: Any, prefix: str = "") -> Iterator[tuple[str, type]]:
    """Keys of ``given`` that the dataclass ``config`` has no field for, with the dataclass each
    was meant for."""
    if isinstance(config, dict):  # several methods by name
        for name, value in config.items():
            yield from _unread(given[name], value, f"{prefix}{name}.")
    if not dataclasses.is_dataclass(config):
        return
    fields = {field.name for field in dataclasses.fields(config)}
    for key, value in given.items():
        if key in fields:
            yield from _unread(value, getattr(config, key), f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", type(config)


def _report(error: BaseException, schema: type, who: str, full_tracebacks: bool) -> int:
    """Print what went wrong, return the exit code."""
    message, code = _verdict(error, schema)
    if message is None or full_tracebacks:
        traceback.print_exception(error)
    if message is not None:
        # Messages quote file names and files of others, which may hold escape sequences.
        for line in f"{who}: {message}".split("\n"):
            print(terminal_safe(line), file=sys.stderr)
    return code


def _verdict(error: BaseException, schema: type) -> tuple[str | None, int]:
    if isinstance(error, KeyboardInterrupt):
        message = "stopped; finished rows are kept, run the same command to continue"
        return message, INTERRUPTED
    if isinstance(error, CalibError):
        return str(error), USER_ERROR
    if isinstance(error, HydraException | OmegaConfBaseException):
        return explain(error, schema, _overrides()), USER_ERROR
    # YAML's errors say which file and line themselves.
    if isinstance(error, yaml.YAMLError) or _refused_by_hydra(error):
        return str(error), USER_ERROR
    if _disk_is_full(error):
        message = (
            f"The disk is full ({error}). Finished rows are safe: free some space and run the same "
            "command to continue."
        )
        return message, USER_ERROR
    if (out_of_memory := _out_of_memory(error)) is not None:
        return _how_to_save_memory(out_of_memory, schema), USER_ERROR
    return None, BUG


def _job() -> str:
    """What sets this job of a multirun apart, to tell its errors from the others'."""
    settings = HydraConfig.get()
    if settings.mode is not RunMode.MULTIRUN:
        return ""
    return f" [{' '.join(settings.overrides.task)}]"


def _disk_is_full(error: BaseException) -> bool:
    # safetensors and torch wrap the system's error in their own and keep only its text.
    return any(
        getattr(link, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        or os.strerror(errno.ENOSPC) in str(link)
        for link in _chain(error)
    )


_NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")
"""What torch's RuntimeErrors say where it has no class of its own for it."""


def _out_of_memory(error: BaseException) -> BaseException | None:
    """The link of the chain that says so; torch's are told by name, for torch is not imported."""
    for link in _chain(error):
        names = {kind.__name__ for kind in type(link).__mro__}
        if names & {"OutOfMemoryError", "MemoryError"}:
            return link
        if isinstance(link, RuntimeError) and any(t in str(link).lower() for t in _NO_MEMORY):
            return link
    return None


def _how_to_save_memory(error: BaseException, schema: type) -> str:
    fields = {field.name for field in dataclasses.fields(schema)}
    said = str(error).partition("\n")[0].partition(". ")[0].strip() or type(error).__name__
    if not fields & {"generation", "batch_rows"}:
        return f"The memory is not enough ({said}). Free some and run the same command again."
    setting = "generation.batch_rows" if "generation" in fields else "batch_rows"
    return (
        f"The memory is not enough ({said}). Finished rows are safe: lower {setting} and run the "
        "command again, it continues where it stopped."
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """``error`` and what it was raised from or while handling."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _refused_by_hydra(error: BaseException) -> bool:
    # Flags that exclude each other and a group set to null: Hydra raises a bare ValueError there.
    raised_in = traceback.extract_tb(error.__traceback__)[-1].filename
    return isinstance(error, ValueError) and Path(raised_in).is_relative_to(HYDRA_INSIDE)
