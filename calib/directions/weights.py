"""A hash of a checkpoint's weights that does not depend on how they are stored or loaded."""

import hashlib
import json
import mmap
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from calib.models.load import source_of
from calib.util.files import home_expanded
from calib.util.reading import file_bytes, parse_json

_FLOATS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
"""Types of safetensors that are compared after rounding to bfloat16."""
_PLACES, _VALUES = 16, 4
"""Places in each weight, and values read at each place."""


def weights_hash(checkpoint: str, revision: str | None, model: Any) -> str:
    """Hash of the weights, as 16 hex digits.

    It is taken from the stored files, so that it is the same under every dtype, device and
    quantization, and from up to 64 values of each weight, rounded to bfloat16. The number and names
    of the files, the order of the weights and their names (but for the numbers of blocks) do not
    count, so a copy has the same hash if it is sharded otherwise, saved by another version of
    transformers, or saved as float32 or bfloat16. Training changes practically every tensor, but a
    change of single values may go undetected.

    The weights in memory are hashed instead where no files are found.
    """
    files = weight_files(checkpoint, revision)
    parts = {part for path in files for part in _file_parts(path, *_version(path))}
    if not parts:
        parts = set(_model_parts(model))
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()[:16]


def weight_files(checkpoint: str, revision: str | None) -> list[Path]:
    """The safetensors files of a folder or of a downloaded hub checkpoint; [] without any."""
    folder = home_expanded(source_of(checkpoint))
    if folder.is_dir():
        whole, index = folder / SAFE_WEIGHTS_NAME, folder / SAFE_WEIGHTS_INDEX_NAME
    else:
        found = [
            _downloaded(checkpoint, name, revision)
            for name in (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME)
        ]
        whole, index = (path or folder for path in found)
    if whole.is_file():
        return [whole]
    if not index.is_file():
        return []
    names = set(parse_json(file_bytes(index))["weight_map"].values())
    files = [index.parent / name for name in sorted(names)]
    return files if all(file.is_file() for file in files) else []


def _downloaded(checkpoint: str, name: str, revision: str | None) -> Path | None:
    try:
        path = try_to_load_from_cache(checkpoint, name, revision=revision)
    except HFValidationError:
        return None
    return Path(path) if isinstance(path, str) else None


def _version(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


@cache
def _file_parts(path: Path, size: int, changed: int) -> frozenset[str]:
    """A part of the hash for each weight of a file; ``size`` and ``changed`` are its version."""
    parts = set()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = 8 + int.from_bytes(data[:8], "little")
        for name, entry in json.loads(data[8:start]).items():
            if name == "__metadata__":
                continue
            first, last = (start + offset for offset in entry["data_offsets"])
            dtype = _FLOATS.get(entry["dtype"])
            count = 1
            for side in entry["shape"]:
                count *= side
            width = (last - first) // count if count else 1
            if width * count != last - first:  # several values a byte
                count, width = last - first, 1

            def read(begin: int, end: int, at: int = first, width: int = width) -> bytes:
                return data[at + begin * width : at + end * width]

            values = _sampled(read, count)
            stored = _rounded(values, dtype) if dtype else entry["dtype"].encode() + values
            parts.add(_part(name, entry["shape"], stored))
    return frozenset(parts)


def _model_parts(model: Any) -> Iterator[str]:
    for name, weight in model.named_parameters():
        if weight.device.type == "meta":  # offloaded weights cannot be read
            continue
        flat = weight.detach().reshape(-1)
        places = [flat[begin:end] for begin, end in _places(len(flat))]
        values = torch.cat(places) if places else flat
        yield _part(name, list(weight.shape), _bits(values.float().cpu()))


def _sampled(read: Callable[[int, int], bytes], count: int) -> bytes:
    return b"".join(read(begin, end) for begin, end in _places(count))


def _places(count: int) -> list[tuple[int, int]]:
    """First and last index (exclusive) of the values that are read, of ``count`` values."""
    if count <= _PLACES * _VALUES:
        return [(0, count)] if count else []
    last = count - _VALUES
    starts = [last * place // (_PLACES - 1) for place in range(_PLACES)]
    return [(start, start + _VALUES) for start in starts]


def _rounded(values: bytes, dtype: torch.dtype) -> bytes:
    return _bits(torch.frombuffer(bytearray(values), dtype=dtype)) if values else b""


def _bits(values: torch.Tensor) -> bytes:
    return values.to(torch.bfloat16).view(torch.int16).numpy().tobytes()


def _part(name: str, shape: list[int], values: bytes) -> str:
    # Versions of transformers name a weight differently, but number its block equally. A weight
    # that is tied to another may be stored once or twice: it has the same part.
    numbers = ".".join(re.findall(r"\d+", name))
    return f"{numbers} {shape} {hashlib.sha256(values).hexdigest()[:16]}"
