"""The start of a command: compose its settings, run it, report errors and set the exit code.

A command is a function of its settings:

    def main(config: SweepConfig) -> None: ...

    if __name__ == "__main__":
        command.run(main, "sweep", SweepConfig)

Exit codes: 0 success, 1 a bug (with its traceback), 2 a problem that the user can fix (one message
with its error code), 130 Ctrl-C, 143 SIGTERM. ``HYDRA_FULL_ERROR=1`` shows the traceback of every
error.
"""

import contextlib
import dataclasses
import functools
import io
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn, TypeVar

import hydra
from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from calib.cli.config_errors import unknown_setting
from calib.cli.help import register_help
from calib.cli.launcher import check_launcher
from calib.cli.one_or_several import as_list, current_runs
from calib.cli.problems import problem_of
from calib.cli.secrets import require_no_secrets, require_no_secrets_in
from calib.config.extensions import settings_objects
from calib.config.quoting import quote_values
from calib.config.schemas import CONF, register
from calib.config.typed import current_override
from calib.util.errors import CalibError
from calib.util.progress import job_label, waiting
from calib.util.terminal import terminal_safe

TRACEBACKS = "HYDRA_FULL_ERROR"

BUG, USER_ERROR, INTERRUPTED, TERMINATED = 1, 2, 130, 143

Config = TypeVar("Config")


class Terminated(KeyboardInterrupt):
    """SIGTERM: a scheduler or `kill` ends the command, which stops as it does at Ctrl-C."""


class _BrokenPipe(BaseException):
    """A broken pipe inside a job. Not an Exception, which Hydra would report as a failed job."""


def run(main: Callable[[Config], None], name: str, schema: type[Config]) -> None:
    """Run ``main`` with the settings from ``conf/<name>.yaml`` and the command line: once, or with
    ``-m`` once per combination.

    Returns after success, and raises SystemExit otherwise. With ``-m`` a failing job is reported
    at once, and the remaining jobs still run.
    """
    # A log must be complete after a kill, and in order with stderr. Characters that the encoding of
    # the terminal lacks are written as escapes.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    _rewrite_overrides(schema)
    _stop_at_sigterm()
    given = os.environ.get(TRACEBACKS)  # a user who sets it wants tracebacks
    launcher = os.getpid()
    exit_codes: list[int] = []

    def report(error: BaseException, job: str = "") -> None:
        exit_codes.append(_report(error, schema, f"calib.{name}{job}", given == "1"))

    @functools.wraps(main)
    def job(composed: DictConfig) -> None:
        try:
            with job_label(_job().strip(" []")), _tracebacks(given):
                main(_typed(composed, schema))
        except Exception as error:
            if os.getpid() != launcher:  # in a worker process, which passes the error on
                raise
            if isinstance(error, BrokenPipeError):
                raise _BrokenPipe from error
            report(error, _job())

    with warnings.catch_warnings():
        # Hydra 1.4 warns about the version_base that makes it behave like 1.3.
        warnings.filterwarnings("ignore", message=".*version_base.*")
        start = hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)
    try:
        register()
        register_help()
        _check_flags()
        # With it Hydra raises errors instead of printing them, and we explain them.
        with _fast_help(), _tracebacks("1"):
            start(job)()
    except (BrokenPipeError, _BrokenPipe):  # the reader of the output, e.g. head, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (Exception, KeyboardInterrupt) as error:
        report(error)
    if exit_codes:
        stopped = [code for code in exit_codes if code in (INTERRUPTED, TERMINATED)]
        sys.exit(max(stopped, default=min(exit_codes)))


def import_libraries() -> None:
    """Import torch and transformers, with a message if that takes long."""
    with waiting("loading torch and transformers"):
        import transformers  # noqa: F401


def print_notes(notes: Iterable[str]) -> None:
    """Print notes on a result to stdout, safe for a terminal."""
    for note in notes:
        print(f"note: {terminal_safe(note)}")


def _check_flags() -> None:
    """Raise CalibError for an unknown flag (unknown-setting), for which Hydra would print its usage
    and exit, for a key or password, and for a launcher of jobs that cannot submit any."""

    def refuse(message: str) -> NoReturn:
        raise CalibError(
            "unknown-setting",
            f"{message}. Settings are written key=value; --help lists them.",
        )

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    given = parser.parse_args()
    require_no_secrets_in(given.overrides)
    check_launcher(given.overrides, given.multirun)


def _stop_at_sigterm() -> None:
    """Have SIGTERM raise Terminated in the main thread.

    A second SIGTERM ends the process at once. A process that ignores SIGTERM keeps ignoring it.
    """

    def stop(number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise Terminated

    in_main_thread = threading.current_thread() is threading.main_thread()
    if in_main_thread and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, stop)


def _rewrite_overrides(schema: type) -> None:
    """Replace former names of settings on the command line, with a note on stderr for each, quote
    values that Hydra cannot read, give ``run=`` and ``runs=`` the command's own name, and write a
    single value of a list as a list: ``runs=FOLDER`` as ``runs=[FOLDER]``."""
    for position, argument in enumerate(sys.argv[1:], start=1):
        renamed = current_override(argument)
        if renamed != argument:
            former, present = (text.partition("=")[0].lstrip("+~") for text in (argument, renamed))
            note = f"note: {former} is now called {present}"
            print(terminal_safe(note), file=sys.stderr)
            sys.argv[position] = renamed
        given = current_runs(quote_values(sys.argv[position]), schema)
        sys.argv[position] = as_list(given, schema)


@contextlib.contextmanager
def _tracebacks(value: str | None) -> Iterator[None]:
    """Set the variable HYDRA_FULL_ERROR to ``value``, or unset it, for the time of a block."""
    before = os.environ.pop(TRACEBACKS, None)
    try:
        if value is not None:
            os.environ[TRACEBACKS] = value
        yield
    finally:
        os.environ.pop(TRACEBACKS, None)
        if before is not None:
            os.environ[TRACEBACKS] = before


@contextlib.contextmanager
def _fast_help() -> Iterator[None]:
    """Skip Hydra's own list of config groups, except in --hydra-help.

    To make the list, Hydra copies every schema once per group, which takes most of the time of
    --help, and our --help has its own list.
    """
    listing = Hydra.format_config_groups
    if "--hydra-help" not in sys.argv:
        Hydra.format_config_groups = lambda *_, **__: ""  # type: ignore[method-assign]
    try:
        yield
    finally:
        Hydra.format_config_groups = listing  # type: ignore[method-assign]


def _typed(composed: DictConfig, schema: type[Config]) -> Config:
    require_no_secrets(composed)
    config = settings_objects(composed)
    assert isinstance(config, schema)
    # +key=value bypasses the schema; the value would never be read.
    for key, owner in _unread(OmegaConf.to_container(composed), config):
        raise unknown_setting(key, schema, owner, _overrides())
    return config


def _overrides() -> list[str]:
    return [text for text in sys.argv[1:] if "=" in text]


def _unread(given: Any, config: Any, prefix: str = "") -> Iterator[tuple[str, type]]:
    """Keys of ``given`` without a field in the dataclass ``config``, with the dataclass."""
    if isinstance(config, dict):  # several methods by name; tables of words have other keys now
        for name, value in config.items():
            if dataclasses.is_dataclass(value):
                yield from _unread(given[name], value, f"{prefix}{name}.")
    if not dataclasses.is_dataclass(config):
        return
    fields = {field.name for field in dataclasses.fields(config)}
    for key, value in given.items():
        if key in fields:
            yield from _unread(value, getattr(config, key), f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", type(config)


_AFTER_STOP = {
    "calib.sweep": "Run the same command to resume. Finished segments of rows are saved; the one "
    "in progress (of a remote model or a server: the requests in flight) is computed again.",
    "calib.judge": "Run the same command to resume.",
    "calib.extract": "Run the same command to resume.",
    "calib.plan": "Nothing was written.",
}
"""What follows from stopping a command, by its name."""


def _report(error: BaseException, schema: type, command: str, full_tracebacks: bool) -> int:
    """Print the error and return the exit code."""
    if isinstance(error, KeyboardInterrupt):
        exit_code = TERMINATED if isinstance(error, Terminated) else INTERRUPTED
        cause = "stopped by SIGTERM" if exit_code == TERMINATED else "stopped"
        advice = _AFTER_STOP.get(command.partition(" ")[0], "Run the same command again.")
        message: str | None = f"{cause}. {advice}"
    elif (explained := problem_of(error, schema, _overrides())) is not None:
        message, exit_code = f"[{explained.code}] {explained}", USER_ERROR
    else:
        message, exit_code = None, BUG
    if message is None or full_tracebacks:
        traceback.print_exception(error)
    if message is not None:
        # Messages quote names and content of files, which may contain escape sequences.
        for line in f"{command}: {message}".split("\n"):
            print(terminal_safe(line), file=sys.stderr)
    return exit_code


def _job() -> str:
    """The overrides of this job of a multirun, which distinguish its messages; "" otherwise."""
    settings = HydraConfig.get()
    if settings.mode is not RunMode.MULTIRUN:
        return ""
    return f" [{' '.join(settings.overrides.task)}]"
