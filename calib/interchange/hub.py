"""Upload directions and merged checkpoints to the Hugging Face hub, and download directions.

huggingface_hub takes the token from ``hf auth login`` or HF_TOKEN; calib never handles it.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from calib.directions.direction import Direction, read_direction
from calib.util.errors import CalibError

FILE = "direction.safetensors"
"""Name of the direction file in a repository."""
_REPO = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)


def push_to_hub(repo: str, files: Mapping[str, Path | bytes], private: bool) -> str:
    """Upload ``files`` by name as one commit; return the repository's address.

    ``files`` includes the card as README.md.

    Raises CalibError if ``repo`` is not a repository name, the repository contains something else,
    or the hub fails.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    _require_name(repo, "push")
    api = HfApi()
    try:
        address = api.create_repo(repo, private=private, exist_ok=True)
        existing = set(api.list_repo_files(repo))
        if "README.md" in existing and not set(files) - {"README.md"} <= existing:
            raise CalibError(
                "already-exists",
                f"push={repo} contains something else, and its README.md would be overwritten. "
                "Give a new name.",
            )
        operations = [
            CommitOperationAdd(name, content if isinstance(content, bytes) else str(content))
            for name, content in files.items()
        ]
        api.create_commit(repo, operations, commit_message="Written by calib.export")
    except CalibError:
        raise
    except Exception as error:  # no login, no network or a refusal, each with its own type
        raise CalibError(
            "endpoint",
            f"push={repo}: the upload failed: {_reason(error)}. The local files are complete. Log "
            "in with 'hf auth login' (the token needs write access) and run the command again.",
        ) from error
    return str(address)


def from_hub(repo: str, revision: str | None = None, file: str = FILE) -> Direction:
    """The direction in a repository; downloads only ``file``.

    Raises CalibError if the download fails or ``file`` is not a direction file.
    """
    from huggingface_hub import hf_hub_download

    _require_name(repo, "hub")
    if not file.endswith(".safetensors"):
        raise CalibError("invalid-setting", f"hub={repo}: '{file}' must end in .safetensors.")
    try:
        path = hf_hub_download(repo, file, revision=revision)
    except Exception as error:  # no login, no network or a refusal, each with its own type
        raise CalibError(
            "endpoint",
            f"hub={repo}: {file} could not be downloaded: {_reason(error)}. Check the name and the "
            "revision; for a private repository log in with 'hf auth login'.",
        ) from error
    return read_direction(Path(path))


def model_card(card: str, model: str) -> bytes:
    """A card with the hub's metadata in front: tags and the base model."""
    base = f"base_model: {model}\n" if _REPO.fullmatch(model) else ""
    return f"---\n{base}tags:\n- calib\n- steering-vector\n---\n\n{card}".encode()


def _require_name(repo: str, key: str) -> None:
    if not _REPO.fullmatch(repo):
        raise CalibError(
            "invalid-setting", f"{key}: '{repo}' is not a repository name. Give {key}=USER/NAME."
        )


def _reason(error: Any) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines)[:300].rstrip(". ") or type(error).__name__
