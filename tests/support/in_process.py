"""Commands in this process: a process of its own imports torch for longer than a small sweep takes.

    done = command("sweep", "method=none", f"out={out}")
    assert done.code == 0, done.stderr

Tests of what only a real process has (signals, what it imports) start one.
"""

import importlib
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO
from unittest.mock import patch

from calib.cli import command as entry
from calib.config.schemas import ENTRY_POINTS


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it wrote."""

    code: int
    stdout: str
    stderr: str


def command(name: str, *arguments: str) -> Done:
    """``python -m calib.NAME ARGUMENTS`` as far as Python code has a part in it: the arguments are
    read, composed and checked, errors told, and the exit code given, by calib.cli.command."""
    main = importlib.import_module(f"calib.{name}").main
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        redirect_stdout(out),
        redirect_stderr(err),
        patch.object(sys, "argv", [f"calib.{name}", *arguments]),
    ):
        try:
            entry.run(main, name, ENTRY_POINTS[name])
        except SystemExit as ended:
            code = ended.code
    return Done(code, out.getvalue(), err.getvalue())


@contextmanager
def undrawn() -> Iterator[None]:
    """Figures are put together as ever and not rendered, and reports have none: both are more than
    half of a small sweep's time.

    Each file is there and holds an empty drawing.
    """

    def savefig(_: object, file: Path | TextIO, **__: object) -> None:
        text = '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1" viewBox="0 0 1 1"/>'
        (file.write_text if isinstance(file, Path) else file.write)(text)

    with (
        patch("matplotlib.figure.Figure.savefig", savefig),
        patch("calib.report.page.drawings.FIGURES", {}),
    ):
        yield
