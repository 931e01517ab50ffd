"""Prints the lower bounds of pyproject.toml as constraints; `make lower-bounds` installs them.

    python tests/support/lower_bounds.py [torch==2.13.0 ...]

An argument replaces the bound of its package.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def lower_bounds(others: list[str]) -> list[str]:
    """NAME==VERSION for each requirement with a lower bound, its extras' included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = list(project["dependencies"])
    for extra in project["optional-dependencies"].values():
        requirements += extra
    found = (re.match(r"([\w.-]+)>=([\w.]+)", each) for each in requirements)
    bounds = {match[1]: match[2] for match in found if match}
    bounds |= dict(other.split("==") for other in others)
    return [f"{name}=={version}" for name, version in sorted(bounds.items())]


if __name__ == "__main__":
    print("\n".join(lower_bounds(sys.argv[1:])))
