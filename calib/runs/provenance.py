"""How a run was made: day, versions, commit and threads, and those of sessions that resumed it.

Nothing here identifies a machine.
"""

import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import calib

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


def provenance(command: str | None = None) -> dict[str, Any]:
    """Day (UTC), versions, commit and threads of torch, and the ``command`` that repeats the run,
    if there is one, as JSON.

    A missing package is None, and so is the commit if calib is not a git checkout; "changed" is
    whether files of the checkout differ from its commit.
    """
    return ({"command": command} if command else {}) | {
        "date": datetime.now(UTC).date().isoformat(),
        "calib": calib.__version__,
        "commit": (commit := _git("rev-parse", "HEAD")),
        "changed": bool(_git("status", "--porcelain", "--", "calib", "conf")) if commit else None,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


_COMPARED = ("calib", "commit", "python", "torch", "transformers", "threads", "device")
"""Fields of a session that can change a response by rounding, or by a change of the code."""


def session_of(provenance: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Any]:
    """Day, versions, threads and device of a session, from its provenance and the origin of its
    model."""
    packages = provenance.get("packages") or {}
    facts = {**packages, **provenance, "device": model.get("device")}
    return {name: facts.get(name) for name in ("date", *_COMPARED)}


def is_known_session(manifest: Mapping[str, Any], session: Mapping[str, Any]) -> bool:
    """Whether an earlier session on record in ``manifest``, the content of run.json, had the same
    versions, threads and device; a field that one of the two lacks counts as the same."""
    return any(
        all(
            earlier.get(name) is None or session[name] in (None, earlier[name])
            for name in _COMPARED
        )
        for earlier in _sessions(manifest)
    )


def session_notes(manifest: Mapping[str, Any]) -> list[str]:
    """A note where a run was resumed under other versions, threads or another device."""
    changes = []
    for name in _COMPARED:
        values = [session.get(name) for session in _sessions(manifest)]
        distinct = dict.fromkeys(str(value)[:12] for value in values if value is not None)
        if len(distinct) > 1:
            changes.append(f"{name} {', then '.join(distinct)}")
    if not changes:
        return []
    return [
        f"the run was resumed under other conditions ({'; '.join(changes)}): rounding may differ, "
        "so that single responses may differ from those of a run without interruption"
    ]


def _sessions(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    first = session_of(manifest.get("provenance") or {}, manifest.get("model") or {})
    return [first, *manifest.get("sessions", [])]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    # In a virtual environment inside another project, git would report that project's commit.
    if not (CHECKOUT / ".git").exists():
        return None
    # Inside a git hook, GIT_ variables name the repository that the hook runs for.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    try:
        result = subprocess.run(
            ["git", "-C", str(CHECKOUT), *arguments],
            env=environment,
            capture_output=True,
            encoding="utf-8",
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
