"""The files that training writes and build.py reads: weights, and the names the tower knows."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn

from calib.util.errors import CalibError
from calib.util.reading import file_text
from experiments.training import write_tensors

PARTS = Path(__file__).parent / "parts"
"""Folder of the shipped files."""
WEIGHTS_FILE, NAMES_FILE = "parts.safetensors", "names.txt"
CONNECTOR_FILE, GUARD_FILE = "connector.safetensors", "guard.safetensors"
NAMES_KEY = "names_sha256"
"""Metadata of the tower's weights: of which names they are."""


def save_parts(
    path: Path, tensors: Mapping[str, torch.Tensor], names: Sequence[str] | None = None
) -> None:
    """Write trained tensors in float16, with the hash of the ``names`` that they are of."""
    halves = {name: tensor.half() for name, tensor in tensors.items()}
    write_tensors(path, halves, {NAMES_KEY: names_hash(names)} if names else None)


def read_parts(path: Path, names: Sequence[str] | None = None) -> dict[str, torch.Tensor]:
    """The tensors of one of our files, in float32.

    Raises CalibError if there is no such file (not-found), if it is damaged (unreadable), or if its
    weights are not of ``names`` (mismatch).
    """
    _require(path)
    try:
        with safe_open(path, "pt") as file:
            of = (file.metadata() or {}).get(NAMES_KEY)
        tensors = {name: tensor.float() for name, tensor in load_file(path).items()}
    except SafetensorError as error:
        raise CalibError("unreadable", f"{path} is damaged: {error}. Copy it again.") from error
    if names is not None and of != names_hash(names):
        raise CalibError(
            "mismatch",
            f"{path} was not trained with the names in {path.with_name(NAMES_FILE)}. Take both "
            "files from the same training.",
        )
    return tensors


def read_names(path: Path) -> list[str]:
    """The names that a trained tower knows, in the order of its scores.

    Raises CalibError (not-found) if there is no such file.
    """
    _require(path)
    return [line for line in file_text(path).splitlines() if line.strip()]


def load_parts(module: nn.Module, tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Load the tensors of ``path`` into a module; raises CalibError (mismatch) unless they fit."""
    shapes = {name: tuple(weight.shape) for name, weight in module.state_dict().items()}
    if shapes != {name: tuple(tensor.shape) for name, tensor in tensors.items()}:
        raise CalibError(
            "mismatch",
            f"{path} does not fit: it has other weights than the {type(module).__name__} that it "
            "is for. Take all files of parts= from the same training.",
        )
    module.load_state_dict(tensors)


def names_hash(names: Sequence[str]) -> str:
    """SHA-256 of the names, a line each."""
    return hashlib.sha256("".join(f"{name}\n" for name in names).encode()).hexdigest()


def _require(path: Path) -> None:
    if not path.is_file():
        raise CalibError(
            "not-found",
            f"{path} does not exist. parts= is a folder that experiments.smolvlm_emoji.train and "
            "tune have written; without it the shipped parts are used.",
        )
