"""The checksum of a direction file, which finds a flipped bit."""

import hashlib
from collections.abc import Mapping

import torch

CHECKSUM = "calib_sha256"
"""Metadata key of the checksum; files of earlier versions have none."""


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
