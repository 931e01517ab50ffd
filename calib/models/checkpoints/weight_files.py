"""Read the weights in a checkpoint folder: names, shapes and types, or one file at a time."""

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from calib.util.errors import CalibError
from calib.util.reading import file_bytes, parse_json

SAFE, PICKLED = "model*.safetensors", "pytorch_model*.bin"

_DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}


@dataclass(frozen=True)
class Weight:
    """Shape and type of a weight."""

    shape: tuple[int, ...]
    dtype: torch.dtype


def weight_files(folder: Path) -> list[Path]:
    """Weight files in a folder: safetensors if there are any, else pickled files.

    Raises CalibError if there are none, or a file that the index names is missing.
    """
    for pattern in (SAFE, PICKLED):
        paths = sorted(path for path in folder.glob(pattern) if path.is_file())
        if paths:
            _require_all(folder, paths)
            return paths
    raise CalibError(
        "not-found",
        f"'{folder}' contains no weights ({SAFE} or {PICKLED}). Give the folder of a complete "
        "checkpoint; merge a LoRA adapter into its model first.",
    )


def _require_all(folder: Path, paths: list[Path]) -> None:
    for index in sorted(folder.glob(f"*{paths[0].suffix}.index.json")):
        try:
            listed = set(parse_json(file_bytes(index))["weight_map"].values())
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise _damaged(index, "it is not an index of weights") from error
        absent = sorted(listed - {path.name for path in paths})
        if absent:
            raise CalibError(
                "not-found",
                f"'{folder}' lacks {absent[0]}, one of the {len(listed)} files in {index.name}. "
                "Get a complete copy.",
            )


def inventory(paths: list[Path]) -> dict[str, Weight]:
    """All weights by name, without reading their values.

    Raises CalibError if a file is damaged or contains anything but floating-point weights, or a
    name occurs in two files.
    """
    weights: dict[str, Weight] = {}
    for path in paths:
        for name, weight in _described(path):
            if name in weights:
                raise _damaged(path, f"another file also contains {name}")
            weights[name] = weight
    return weights


def _described(path: Path) -> Iterator[tuple[str, Weight]]:
    if path.suffix == ".bin":
        for name, tensor in _unpickled(path).items():
            yield name, Weight(tuple(tensor.shape), tensor.dtype)
        return
    try:
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 - not a mapping
                part = file.get_slice(name)
                if part.get_dtype() not in _DTYPES:
                    raise _damaged(path, f"{name} has type {part.get_dtype()}")
                yield name, Weight(tuple(part.get_shape()), _DTYPES[part.get_dtype()])
    except (SafetensorError, OSError) as error:
        raise _damaged(path, str(error)) from error


def tensors(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Weights of a file one after another, memory-mapped instead of loaded."""
    if path.suffix == ".bin":
        yield from _unpickled(path).items()
        return
    try:
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 - not a mapping
                yield name, file.get_tensor(name)
    except (SafetensorError, OSError) as error:
        raise _damaged(path, str(error)) from error


def _unpickled(path: Path) -> dict[str, torch.Tensor]:
    try:
        # weights_only: no code in the file is executed.
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise _damaged(path, "it contains objects other than tensors; none was run") from error
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        raise _damaged(path, str(error).splitlines()[0] if str(error) else "unreadable") from error
    if not isinstance(loaded, dict):
        raise _damaged(path, "it is not a table of weights")
    for name, tensor in loaded.items():
        plain = isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided
        if not isinstance(name, str) or not plain or tensor.dtype not in _DTYPES.values():
            raise _damaged(path, f"{name} is not a weight in float16, bfloat16 or float32")
    return loaded


def _damaged(path: Path, reason: str) -> CalibError:
    return CalibError(
        "invalid-content", f"'{path}' is damaged or in another format: {reason}. Get a new copy."
    )
