"""Read vectors from third-party files with bounds on size, shape and dtype."""

from pathlib import Path
from typing import Any

import torch

from calib.util.errors import CalibError

LARGEST = 256 * 2**20
"""Bytes. Vectors for 128 layers 65,536 wide, and seven times as much."""


_FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def bytes_of(path: Path) -> bytes:
    """The bytes of a file.

    Raises CalibError when it is missing, cannot be read or is too large for a file of vectors.
    """
    check_size(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise CalibError(f"'{path}' cannot be read ({error.strerror}).") from error


def check_size(path: Path) -> None:
    """Raise CalibError when there is no such file, or it is too large for a file of vectors."""
    if not path.is_file():
        raise CalibError(f"no file at '{path}'. Give the path of a file of vectors.")
    if path.stat().st_size > LARGEST:
        raise CalibError(
            f"'{path}' has {path.stat().st_size} bytes, and vectors for a large model have less "
            f"than {LARGEST}. Is it a checkpoint?"
        )


def as_vector(value: Any, where: str) -> torch.Tensor:
    """A tensor of one dimension as float32.  # [width]

    Raises CalibError, beginning with ``where``, when it is anything else.
    """
    plain = type(value) is torch.Tensor and value.layout == torch.strided
    if not plain or value.device.type != "cpu" or value.dtype not in _FLOATS:
        kind = f"{value.dtype} on {value.device}" if torch.is_tensor(value) else type(value)
        raise CalibError(f"{where} is no plain tensor of floats ({kind}).")
    if value.dim() != 1 or not 0 < 4 * value.numel() <= LARGEST:
        raise CalibError(
            f"{where} has shape {list(value.shape)}; a direction is one vector as wide as the "
            "model's residual stream."
        )
    return value.detach().to(torch.float32).contiguous()
