"""Directions and baked checkpoints on the Hugging Face hub: a file with its card, and back.

The token is whatever ``hf auth login`` or HF_TOKEN gave to huggingface_hub; calib neither reads nor
writes one.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from calib.directions.direction import Direction, read_direction
from calib.util.errors import CalibError

FILE = "direction.safetensors"
_REPO = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)


def push_to_hub(repo: str, files: Mapping[str, Path | bytes], private: bool) -> str:
    """Upload ``files`` (by their name there, a card as README.md) as one commit, and return the
    address of the repository.

    Raises CalibError for a name that is none, when the repository holds something else already,
    and for whatever the hub answers.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    _require_name(repo, "push")
    api = HfApi()
    try:
        address = api.create_repo(repo, private=private, exist_ok=True)
        there = set(api.list_repo_files(repo))
        if "README.md" in there and not set(files) - {"README.md"} <= there:
            raise CalibError(
                f"push={repo} holds something else already, and its card would be lost. Give a "
                "new name."
            )
        operations = [
            CommitOperationAdd(name, content if isinstance(content, bytes) else str(content))
            for name, content in files.items()
        ]
        api.create_commit(repo, operations, commit_message="Written by calib.export")
    except CalibError:
        raise
    except Exception as error:  # no login, no network, a refusal: all of different kinds
        raise CalibError(
            f"push={repo}: the hub did not take it: {_reason(error)}. What was written here is "
            "whole. Log in with 'hf auth login' (a token that may write), and give the command "
            "again."
        ) from error
    return str(address)


def from_hub(repo: str, revision: str | None = None, file: str = FILE) -> Direction:
    """The direction of a repository; nothing but that one .safetensors file is downloaded.

    Raises CalibError when it cannot be had, or is no direction file of calib.
    """
    from huggingface_hub import hf_hub_download

    _require_name(repo, "hub")
    if not file.endswith(".safetensors"):
        raise CalibError(f"hub={repo}: '{file}' should end in .safetensors.")
    try:
        path = hf_hub_download(repo, file, revision=revision)
    except Exception as error:  # as above
        raise CalibError(
            f"hub={repo}: {file} cannot be fetched: {_reason(error)}. Correct the name or the "
            "revision; for a private one log in with 'hf auth login'."
        ) from error
    return read_direction(Path(path))


def model_card(card: str, checkpoint: str) -> bytes:
    """A card with what the hub wants to know above it: tags, and the model it belongs to."""
    base = f"base_model: {checkpoint}\n" if _REPO.fullmatch(checkpoint) else ""
    return f"---\n{base}tags:\n- calib\n- steering-vector\n---\n\n{card}".encode()


def _require_name(repo: str, key: str) -> None:
    if not _REPO.fullmatch(repo):
        raise CalibError(f"{key}: '{repo}' is not the name of a repository. Give {key}=USER/NAME.")


def _reason(error: Any) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines)[:300].rstrip(". ") or type(error).__name__
