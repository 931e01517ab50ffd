"""What made a run and when: versions of calib, Python, the platform and the packages that matter.

Nothing about whose machine it was: no host or user names, paths or environment variables.
"""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

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
