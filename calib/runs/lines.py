"""Files of JSON lines that a run leaves, read back and checked."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from calib.errors import CalibError


def read_lines(path: Path, kinds: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The objects of a file, one a line; ``kinds`` says of which type (or types) each key is.

    Raises CalibError when the file cannot be read, is empty, or holds something else.
    """
    try:
        # Not splitlines: JSON leaves some of the characters that it breaks at as they are.
        lines = [line for line in path.read_bytes().decode().split("\n") if line.strip()]
        found = [_checked(json.loads(line), kinds, k) for k, line in enumerate(lines, 1)]
        if not found:
            raise ValueError("it is empty")
    except (OSError, ValueError, RecursionError) as error:
        raise CalibError(
            f"{path} cannot be read ({error}). Give the sweep's command again; finished rows are "
            "not done again."
        ) from error
    return found


def _checked(line: Any, kinds: Mapping[str, Any], number: int) -> dict[str, Any]:
    if not isinstance(line, dict):
        raise ValueError(f"line {number} is no JSON object")
    for name, kind in kinds.items():
        if name not in line:
            raise ValueError(f"line {number} has no {name}")
        # True is an int to Python, but no layer.
        if not isinstance(line[name], kind) or isinstance(line[name], bool) != (kind is bool):
            raise ValueError(f"line {number} has {line[name]!r} for {name}")
    return line
