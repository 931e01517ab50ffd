"""The names in dist/ agree with the version, and with a tag if one is given.

python tests/support/release_files.py dist [v0.1.0]
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def problems(names: set[str], version: str, tag: str | None) -> list[str]:
    """Reasons not to publish the files: a missing or other file, another tag, no section of the
    changelog."""
    wanted = {f"calib-{version}-py3-none-any.whl", f"calib-{version}.tar.gz"}
    found = [f"{name} is missing" for name in sorted(wanted - names)]
    found += [f"{name} is not of version {version}" for name in sorted(names - wanted)]
    if tag is not None and tag != f"v{version}":
        found.append(f"the tag is {tag}, and the version in calib/__init__.py {version}")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    if f"## [{version}] - " not in changelog:
        found.append(f"CHANGELOG.md has no section [{version}] with a date")
    return found


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    from calib import __version__

    names = {path.name for path in Path(sys.argv[1]).iterdir()}
    sys.exit("\n".join(problems(names, __version__, (sys.argv[2:] or [None])[0])) or 0)
