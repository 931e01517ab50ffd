"""The bytes of a direction file: equal for equal directions, with checksums of the file and of the
tables beside it, which find a flipped bit."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch

from calib.util.checksums import crc32
from calib.util.errors import CalibError

CHECKSUM = "calib_sha256"
"""Metadata key of the checksum; files of earlier versions have none."""
TABLES = "calib_tables"
"""Metadata key of the CRC-32 of the tables beside the file, by the ends of their names; files of
earlier versions have none."""
PROJECTIONS, PARTS = ".projections.csv", ".parts.csv"
"""Ends of the names of these tables; each replaces the suffix of the direction file."""


def checksum(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> str:
    """SHA-256 of tensors and of the metadata other than the checksum, as hexadecimal digits."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        total.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    for key, text in sorted(metadata.items()):
        if key != CHECKSUM:
            total.update(f"{key} {text}\n".encode())
    return total.hexdigest()


def in_order(file: bytes) -> bytes:
    """A safetensors file with its metadata in alphabetical order.

    safetensors writes them in random order, but a resumed run writes identical files.
    """
    length = int.from_bytes(file[:8], "little")
    header = json.loads(file[8 : 8 + length])
    header = {"__metadata__": dict(sorted(header.pop("__metadata__").items())), **header}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors begin at a multiple of 8 bytes
    return len(text).to_bytes(8, "little") + text + file[8 + length :]


def table_path(direction_file: Path, suffix: str) -> Path:
    """Path of a table beside a direction file."""
    return direction_file.with_name(direction_file.stem + suffix)


def tables_beside(path: Path) -> dict[str, str]:
    """The checksums of the tables that exist beside a direction file, by the ends of their
    names."""
    tables = {suffix: table_path(path, suffix) for suffix in (PROJECTIONS, PARTS)}
    return {k: crc32(table.read_bytes()) for k, table in tables.items() if table.is_file()}


def require_tables(path: Path, recorded: Mapping[str, str]) -> None:
    """Raise CalibError (invalid-content) if a table beside a direction file differs from the
    checksum that the file has ``recorded``."""
    now = tables_beside(path)
    for suffix, given in recorded.items():
        if now.get(suffix, given) != given:
            raise CalibError(
                "invalid-content",
                f"'{table_path(path, suffix)}' does not match its checksum in "
                f"{path.name} ({TABLES}): the disk or another program changed it. Delete both "
                "files and run the command that made them again, which writes the same ones.",
            )
