"""The console script ``calib``: ``calib NAME ...`` is ``python -m calib.NAME ...``.

``calib`` alone lists the commands. Tab completion in bash:

    eval "$(calib -sc install=bash)"
"""

import os
import runpy
import sys

from calib.config.schemas import ENTRY_POINTS
from calib.util.errors import did_you_mean

RENAMED = {"adopt": "import"}
"""Former names of commands, and the present ones."""


def main() -> None:
    """Run the command that the first argument names.

    Raises SystemExit: 0 after the list of commands, 2 for an unknown command, otherwise the exit
    code of the command (see calib.cli.command).
    """
    arguments = sys.argv[1:]
    if arguments[:1] in ([], ["--help"], ["-h"]):
        print(_overview())
        return
    if arguments[0] == "-sc":  # Hydra's flag for shell completion
        arguments = _completion(arguments)
        if not arguments:
            return
    name, rest = arguments[0], arguments[1:]
    if name in RENAMED:
        print(f"note: calib {name} is now called calib {RENAMED[name]}", file=sys.stderr)
        name = RENAMED[name]
    if name not in ENTRY_POINTS:
        print(
            f"calib: [unknown-name] There is no command '{name}'."
            f"{did_you_mean(name, ENTRY_POINTS)} Choose from {', '.join(ENTRY_POINTS)}.",
            file=sys.stderr,
        )
        sys.exit(2)
    sys.argv[1:] = rest
    runpy.run_module(f"calib.{name}", run_name="__main__")


def _overview() -> str:
    width = max(map(len, ENTRY_POINTS))
    lines = [f"  {name:<{width}}  {schema.__doc__}" for name, schema in ENTRY_POINTS.items()]
    return "\n".join(
        [
            "calib: test-time safety calibration of vision-language models.",
            "",
            *lines,
            "",
            "calib NAME --help shows the settings of a command; python -m calib.NAME is the same.",
        ]
    )


def _completion(arguments: list[str]) -> list[str]:
    """The arguments with which a command completes COMP_LINE; [] if the command's name is completed
    here.

    Hydra completes ``calib OVERRIDES``, so the command's name is cut out of the line.
    """
    if len(arguments) < 2 or not arguments[1].startswith("query="):
        return [next(iter(ENTRY_POINTS)), *arguments]  # the same script for all commands
    program, _, line = os.environ.get("COMP_LINE", "").partition(" ")
    name, space, overrides = line.lstrip().partition(" ")
    if not space:
        print(" ".join(command for command in ENTRY_POINTS if command.startswith(name)))
        return []
    os.environ["COMP_LINE"] = f"{program} {overrides}"
    return [name, *arguments]


if __name__ == "__main__":
    main()
