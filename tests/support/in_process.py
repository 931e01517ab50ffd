"""Commands run inside the test process, because importing torch takes longer than a small sweep.

    done = command("sweep", "method=none", f"out={out}")
    assert done.code == 0, done.stderr

Tests of signals and of imports start a real process.
"""

import importlib
import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from quick_hydra import speed_up

from calib.cli import command as entry
from calib.config.schemas import ENTRY_POINTS


@dataclass(frozen=True)
class Done:
    """The exit code and the output of a command."""

    code: int
    stdout: str
    stderr: str


def command(name: str, *arguments: str) -> Done:
    """``python -m calib.NAME ARGUMENTS`` without a new process: calib.cli.command composes and
    checks the arguments, and reports errors and the exit code."""
    module = importlib.import_module(f"calib.{name}")
    if not hasattr(module, "main"):  # a package
        module = importlib.import_module(f"calib.{name}.__main__")
    return started(module.main, name, *arguments)


def started(main: Callable[[Any], None], name: str, *arguments: str) -> Done:
    """The same with ``main`` as the command's function."""
    speed_up()
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        redirect_stdout(out),
        redirect_stderr(err),
        patch.object(sys, "argv", [f"calib.{name}", *arguments]),
    ):
        try:
            entry.run(main, name, ENTRY_POINTS[name])
        except SystemExit as error:
            code = error.code
    return Done(code, out.getvalue(), err.getvalue())


@contextmanager
def undrawn() -> Iterator[None]:
    """Skip laying out and rendering figures, which takes more than half of a small sweep's time.

    Figures are composed as usual, and their files have empty drawings; reports have no figures.
    """

    def savefig(_: object, file: io.BytesIO | io.StringIO, **__: object) -> None:
        text = '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1" viewBox="0 0 1 1"/>'
        if isinstance(file, io.BytesIO):
            file.write(text.encode())
        else:
            file.write(text)

    with (
        patch("matplotlib.figure.Figure.savefig", savefig),
        patch("matplotlib.figure.Figure.draw_without_rendering", lambda _: None),
        patch("calib.report.page.drawings.FIGURES", {}),
    ):
        yield
