"""The manifest of a run folder: its identity, its provenance, and whether its rows can be reused.

``run.json`` holds the "identity" of a run, what must agree for rows to belong together, and its
"provenance", what else there is to know about how it was made.

Nothing about whose machine it was: no host or user names, paths or environment variables.
"""

import dataclasses
import hashlib
import json
import os
import platform
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import calib
from calib.config.typed import current_names, former_names
from calib.util.errors import CalibError
from calib.util.files import write_atomically

RUN_FILE = "run.json"
# What changes where or how fast rows are made or how they are scored, but not the rows: a run that
# ran out of memory can be continued with smaller batches, and scored again by another mapping.
NOT_IDENTITY = (
    "out",
    "generation.batch_rows",
    "generation.memory_gb",
    "generation.sharing",
    "batch_rows",
    "mapping",
    "report",
    *(
        f"{group}.{setting}"
        for group in ("model", "judge")
        for setting in ("key_env", "concurrency", "timeout", "retries", "max_requests", "note")
    ),
)
_MOST_CHANGES_SHOWN = 8


def identity_of(config: object) -> dict[str, Any]:
    """The part of a configuration (a dataclass of calib.config) that decides a run's rows."""
    assert dataclasses.is_dataclass(config) and not isinstance(config, type)
    settings = _as_json(dataclasses.asdict(config))
    for key in NOT_IDENTITY:
        *groups, last = key.split(".")
        holder = settings
        for group in groups:
            holder = holder.get(group, {})
        holder.pop(last, None)
    return settings


def folder_name(names: Sequence[str], config: object, fingerprint: str = "") -> Path:
    """The folder of a run: ``names`` (model, method, data) for people, and a hash of the rest.

    The rest is ``config`` and the ``fingerprint`` of the weights. The same command finds its rows
    again, and new weights under an old name get a folder of their own.
    """
    # Under their first names, so that a renamed setting does not move the run to another folder.
    settings = former_names(identity_of(config))
    canonical = json.dumps(settings, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256((canonical + fingerprint).encode()).hexdigest()[:8]
    return Path("runs") / "-".join([*map(_plain, names), digest])


def check_same_run(
    folder: str | Path,
    identity: Mapping[str, Any],
    provenance: Mapping[str, Any],
    *,
    unfinished: bool = False,
) -> dict[str, Any]:
    """Make ``folder`` the run of ``identity``, or check that it is; its rows can then be reused.

    ``identity`` is what must agree (configuration, fingerprints of model and data); ``provenance``
    is noted beside it when the run begins, and never compared. ``unfinished`` says that the folder
    holds no row and no direction yet: there is nothing to protect, so the run of something else
    that was begun there is replaced instead of refused.

    Returns the content of run.json.

    Raises:
        CalibError: the folder holds a run of something else; the message says what differs.
    """
    path = Path(folder) / RUN_FILE
    identity = _as_json(identity)
    run = read_run(folder) if path.exists() else None
    changes = list(_changes(run["identity"], identity)) if run else []
    if run is None or (changes and unfinished):
        run = {"identity": identity, "provenance": _as_json(provenance)}
        write_atomically(path, json.dumps(run, indent=2, ensure_ascii=False) + "\n")
        return run
    if changes:
        shown = "\n".join(f"  {change}" for change in changes[:_MOST_CHANGES_SHOWN])
        more = len(changes) - _MOST_CHANGES_SHOWN
        raise CalibError(
            f"{folder} holds a run of something else (there → now):\n{shown}\n"
            + (f"  and {more} more\n" if more > 0 else "")
            + "Give another folder with out=FOLDER, or go back to what the run was made with."
        )
    return run


def read_run(folder: str | Path) -> dict[str, Any]:
    """What ``folder`` is a run of: its "identity" and "provenance".

    Raises:
        CalibError: it is not the folder of a run.
    """
    path = Path(folder) / RUN_FILE
    try:
        run = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise CalibError(
            f"{folder} is not the folder of a run: there is no {RUN_FILE} in it. "
            "calib.sweep prints the folder it writes to."
        ) from error
    except (OSError, ValueError) as error:
        raise CalibError(f"{path} cannot be read ({error}).") from error
    if not isinstance(run, dict) or not isinstance(run.get("identity"), dict):
        raise CalibError(f"{path} does not say what it is a run of: there is no 'identity' in it.")
    return {**run, "identity": current_names(run["identity"])}


def _plain(name: str) -> str:
    # Names may come from files of others: nothing in them may lead out of the folder of runs.
    return re.sub(r"[^A-Za-z0-9_.]+", "_", name).strip("._")[:40] or "unnamed"


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _changes(old: Any, new: Any, key: str = "") -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            inner = f"{key}.{name}" if key else name
            yield from _changes(old.get(name), new.get(name), inner)
    elif old != new:
        yield f"{key}: {json.dumps(old)} → {json.dumps(new)}"


PACKAGES = (
    "torch",
    "torchvision",
    "transformers",
    "tokenizers",
    "accelerate",
    "safetensors",
    "hydra-core",
    "omegaconf",
    "numpy",
    "scikit-learn",
    "pillow",
    "matplotlib",
    "datasets",
    "openai",
)
CHECKOUT = Path(calib.__file__).resolve().parent.parent


def provenance() -> dict[str, Any]:
    """Day (UTC), versions and commit, as JSON. A package that is not installed, or a commit where
    calib is no checkout, is None; "changed" says that the checkout's files differ from its commit.
    """
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "calib": calib.__version__,
        "commit": (commit := _git("rev-parse", "HEAD")),
        "changed": bool(_git("status", "--porcelain", "--", "calib", "conf")) if commit else None,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    # Only a checkout of calib itself: installed into another project's virtual environment, git
    # would answer for that project.
    if not (CHECKOUT / ".git").exists():
        return None
    # Inside a git hook these point at whatever repository the hook runs for.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    try:
        result = subprocess.run(
            ["git", "-C", str(CHECKOUT), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
