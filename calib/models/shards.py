"""The weights in a checkpoint's folder: what there is, and one shard of them at a time."""

import json
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from calib.util.errors import CalibError

SAFE, PICKLED = "model*.safetensors", "pytorch_model*.bin"

_DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}


@dataclass(frozen=True)
class Weight:
    shape: tuple[int, ...]
    dtype: torch.dtype


def shards(folder: Path) -> list[Path]:
    """The files of weights in a folder: safetensors, or else pickled ones.

    Raises CalibError when there are none, or one that the index names is not there.
    """
    for pattern in (SAFE, PICKLED):
        found = sorted(folder.glob(pattern))
        if found:
            _require_all(folder, found)
            return found
    raise CalibError(
        f"'{folder}' holds no weights ({SAFE} or {PICKLED}). A LoRA adapter must be merged into "
        "its model first; give the folder of a whole checkpoint."
    )


def _require_all(folder: Path, found: list[Path]) -> None:
    for index in sorted(folder.glob(f"*{found[0].suffix}.index.json")):
        try:
            named = set(json.loads(index.read_text())["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _damaged(index, "it is no index of weights") from error
        absent = sorted(named - {path.name for path in found})
        if absent:
            raise CalibError(
                f"'{folder}' lacks {absent[0]}, one of {len(named)} files that {index.name} names. "
                "Get a complete copy."
            )


def inventory(paths: list[Path]) -> dict[str, Weight]:
    """Every weight by name, without reading the values.

    Raises CalibError when a file is damaged or holds anything but floating-point weights, or a
    name stands in two files.
    """
    found: dict[str, Weight] = {}
    for path in paths:
        for name, weight in _described(path):
            if name in found:
                raise _damaged(path, f"it holds {name} a second time")
            found[name] = weight
    return found


def _described(path: Path) -> Iterator[tuple[str, Weight]]:
    if path.suffix == ".bin":
        for name, tensor in _unpickled(path).items():
            yield name, Weight(tuple(tensor.shape), tensor.dtype)
        return
    try:
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 - no mapping
                part = file.get_slice(name)
                if part.get_dtype() not in _DTYPES:
                    raise _damaged(path, f"{name} is of type {part.get_dtype()}")
                yield name, Weight(tuple(part.get_shape()), _DTYPES[part.get_dtype()])
    except (SafetensorError, OSError) as error:
        raise _damaged(path, str(error)) from error


def tensors(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """The weights of a file, one after the other, mapped and not held in memory."""
    if path.suffix == ".bin":
        yield from _unpickled(path).items()
        return
    try:
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 - no mapping
                yield name, file.get_tensor(name)
    except (SafetensorError, OSError) as error:
        raise _damaged(path, str(error)) from error


def _unpickled(path: Path) -> dict[str, torch.Tensor]:
    try:
        # weights_only: nothing in the file is run.
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise _damaged(path, "it holds more than weights, and nothing in it is run") from error
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        raise _damaged(path, str(error).splitlines()[0] if str(error) else "unreadable") from error
    if not isinstance(loaded, dict):
        raise _damaged(path, "it is no table of weights")
    for name, tensor in loaded.items():
        plain = isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided
        if not isinstance(name, str) or not plain or tensor.dtype not in _DTYPES.values():
            raise _damaged(path, f"{name} is no weight in float16, bfloat16 or float32")
    return loaded


def _damaged(path: Path, why: str) -> CalibError:
    return CalibError(f"'{path}' is not what was expected: {why}. Get a new copy.")
