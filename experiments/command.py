"""How a command of the experiments starts: its words as arguments, and errors as a sentence.

    def main(out: Path, threads: int = 2) -> None: ...

    if __name__ == "__main__":
        command.run(main, __doc__, out=command.path, threads=command.whole(1))

Exit codes are those of calib's commands: 0 success, 2 a problem that the user can fix (one message
with its code), 130 Ctrl-C. ``HYDRA_FULL_ERROR=1`` shows the traceback of every error.
"""

import inspect
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import make_dataclass
from pathlib import Path
from typing import Any

from calib.cli.command import INTERRUPTED, TRACEBACKS, USER_ERROR
from calib.cli.problems import problem_of
from calib.config import checks
from calib.util.errors import CalibError, did_you_mean
from calib.util.files import home_expanded
from calib.util.terminal import terminal_safe

Reader = Callable[[str, str], Any]
"""From the name and the text of an option to its value; raises CalibError (invalid-setting)."""


def run(main: Callable[..., None], usage: str | None, **readers: Reader) -> None:
    """Call ``main`` with the options key=value of the command line, each read by its reader.

    Options without a default in ``main`` are required. ``usage`` is printed by --help.
    """
    with reported():
        given = options(_words(usage), readers, usage)
        for name, parameter in inspect.signature(main).parameters.items():
            if parameter.default is parameter.empty and name not in given:
                raise CalibError("missing-setting", f"{name}= is required.{_usage(usage)}")
        main(**given)


def run_on(main: Callable[..., None], usage: str | None, most: int | None = 1) -> None:
    """Call ``main`` with the paths of the command line: at least one, and at most ``most``."""
    with reported():
        words = _words(usage)
        if not words or len(words) > (most or len(words)):
            count = {1: "one path"}.get(most or 0, "one path or more")
            raise CalibError(
                "missing-setting" if not words else "invalid-setting",
                f"Give {count}, not {len(words)}.{_usage(usage)}",
            )
        main(*(path("path", word) for word in words))


def options(
    words: Sequence[str], readers: Mapping[str, Reader], usage: str | None = None
) -> dict[str, Any]:
    """The options that are given, by name.

    Raises CalibError for one that is unknown (unknown-setting), is blank or has another value than
    its reader takes (invalid-setting), or is given twice (conflicting-settings).
    """
    found: dict[str, Any] = {}
    for word in words:
        name, _, text = word.partition("=")
        if name not in readers:
            hint = did_you_mean(name, readers)
            raise CalibError("unknown-setting", f"There is no option {name}.{hint}{_usage(usage)}")
        if name in found:
            raise CalibError("conflicting-settings", f"{name}= is given twice. Omit one of them.")
        if not text.strip():
            raise CalibError("invalid-setting", f"{name}= has no value. Give one, or omit {name}=.")
        found[name] = readers[name](name, text)
    return found


def text(name: str, given: str) -> str:
    """The text as it is."""
    return given


def path(name: str, given: str) -> Path:
    """A path, in which ~ is the user's home."""
    checks.path(name, given)
    return home_expanded(given)


def whole(least: int) -> Reader:
    """A whole number of at least ``least``."""

    def read(name: str, given: str) -> int:
        digits = given.removeprefix("-")
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 18 or int(given) < least:
            raise CalibError(
                "invalid-setting", f"{name}={given}: give a whole number from {least} on."
            )
        return int(given)

    return read


def one_of(*choices: str) -> Reader:
    """One of several words."""

    def read(name: str, given: str) -> str:
        checks.one_of(name, given, choices)
        return given

    return read


def flag(name: str, given: str) -> bool:
    """Accept true or false."""
    return one_of("true", "false")(name, given) == "true"


@contextmanager
def reported() -> Iterator[None]:
    """Print an error that the user can fix as a sentence, and end the command with its status."""
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:
        if os.environ.get(TRACEBACKS) == "1":
            raise
        if isinstance(error, subprocess.CalledProcessError):  # it has printed its own message
            sys.exit(error.returncode if error.returncode > 0 else USER_ERROR)
        problem = problem_of(error, make_dataclass("NoSettings", []), []) or _of_a_file(error)
        if problem is None:
            raise
        for line in f"[{problem.code}] {problem}".split("\n"):
            print(terminal_safe(line), file=sys.stderr)
        sys.exit(USER_ERROR)


def _of_a_file(error: Exception) -> CalibError | None:
    """The error of a file that the user named; None for any other."""
    if not isinstance(error, OSError) or error.filename is None:
        return None
    codes = {FileNotFoundError: "not-found", FileExistsError: "already-exists"}
    code = codes.get(type(error), "unreadable")
    return CalibError(code, f"{error.filename}: {error.strerror}. Give another path.")


def _words(usage: str | None) -> list[str]:
    """The words of the command line; --help prints ``usage`` and ends the command."""
    words = sys.argv[1:]
    if {"--help", "-h"} & set(words):
        print((usage or "").strip())
        sys.exit(0)
    return words


def _usage(usage: str | None) -> str:
    return f"\n\n{usage.strip()}" if usage else ""
