"""Read third-party files of vectors with bounds on size, shape and type."""

import io
import zipfile
from pathlib import Path
from typing import Any

import torch

from calib.util.errors import CalibError, first_line
from calib.util.reading import require_moderate

MAX_BYTES = 256 * 2**20
"""Largest file: eight times the vectors of a model with 128 layers of width 65,536."""
MAX_VECTORS = 100_000
"""Most vectors of a file, and most values of its lists and tables."""
_FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def read_file(path: Path) -> bytes:
    """The bytes of a file.

    Raises CalibError if it does not exist, cannot be read or exceeds MAX_BYTES.
    """
    if not path.is_file():
        raise CalibError("not-found", f"'{path}' does not exist. Give the path of a vector file.")
    if path.stat().st_size > MAX_BYTES:
        raise CalibError(
            "too-large",
            f"'{path}' has {path.stat().st_size} bytes; files of vectors have at most {MAX_BYTES}. "
            "Is it a checkpoint?",
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise CalibError("unreadable", f"'{path}' cannot be read ({error.strerror}).") from error


def as_vector(value: Any, source: str) -> torch.Tensor:
    """A tensor of one dimension as float32. # [width]

    Raises CalibError if ``value`` is anything else; the message begins with ``source``.
    """
    plain = type(value) is torch.Tensor and value.layout == torch.strided and not value.is_nested
    if not plain or value.device.type != "cpu" or value.dtype not in _FLOATS:
        kind = f"{value.dtype} on {value.device}" if torch.is_tensor(value) else type(value)
        raise CalibError(
            "invalid-content", f"{source} is not a plain tensor of floats, but {kind}."
        )
    if value.dim() != 1 or not 0 < 4 * value.numel() <= MAX_BYTES:
        raise CalibError(
            "invalid-content",
            f"{source} has shape {list(value.shape)}; a direction is one vector as wide as the "
            "model's residual stream.",
        )
    return value.detach().to(torch.float32).contiguous()


def require_small_archive(data: bytes, path: Path) -> None:
    """Raise CalibError (too-large) if a zip archive unpacks to more than MAX_BYTES.

    Raises zipfile.BadZipFile if ``data`` is no archive.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > MAX_BYTES:
        raise CalibError(
            "too-large", f"'{path}' unpacks to {unpacked} bytes, too many for a file of vectors."
        )


def read_pickle(path: Path) -> Any:
    """The content of a file of torch.save, on the CPU, read by torch's restricted loader.

    Raises CalibError if it is no such file, unpacks to more than MAX_BYTES, or holds objects other
    than tensors, numbers, texts and their lists and tables (unreadable).
    """
    data = read_file(path)
    try:
        require_small_archive(data, path)
    except zipfile.BadZipFile as error:
        raise CalibError(
            "unreadable",
            f"'{path}' is not a file of torch.save ({error}). Files of torch before 1.6 are not "
            "supported: load the file and save it again with a newer torch.",
        ) from error
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        require_moderate(content, MAX_VECTORS)  # lists of a pickle may contain themselves
        return content
    except Exception as error:  # a hostile pickle can raise any exception
        raise CalibError(
            "unreadable",
            f"'{path}' cannot be read as plain tensors: {first_line(error)[:200]} Pickled "
            "objects are not loaded, because they could run code. Save the tensors alone, e.g. "
            "torch.save({13: torch.as_tensor(vector)}, FILE).",
        ) from error
