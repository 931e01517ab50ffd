"""The last lines of a command: what was written, and what to open."""

from collections.abc import Mapping
from pathlib import Path

from calib.printable import columns, padded, printable

REPORT = "report"
"""Of what was written, what there is to look at."""


def written(files: Mapping[str, Path]) -> list[str]:
    """One line per file, by what it is; the report set apart at the end, where there is one."""
    others = {what: path for what, path in files.items() if what != REPORT}
    width = max((columns(printable(what)) for what in others), default=0)
    lines = [f"{padded(what, width)}  {printable(str(path))}" for what, path in others.items()]
    if REPORT not in files:
        return lines
    return [*lines, "", f"Open {printable(str(files[REPORT]))}"]
