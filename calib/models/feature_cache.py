"""A bounded cache of vision-tower features, so that each image passes the tower once."""

from collections import OrderedDict
from typing import Any

import psutil
import torch

MAX_NAMES = 100_000
"""Number of images whose names are kept to count repeated passes."""


class FeatureCache:
    """Least-recently-used cache of image features by image hash, held in CPU memory."""

    def __init__(self, limit: int | None = None) -> None:
        """Hold at most ``limit`` bytes; by default an eighth of the machine's memory."""
        self.limit = psutil.virtual_memory().total // 8 if limit is None else limit
        self.passes = 0
        """Number of images that passed the vision tower."""
        self.repeated_passes = 0
        """How many of these had passed before and were evicted since."""
        self._encoded: set[str] = set()
        self._entries: OrderedDict[str, tuple[Any, int]] = OrderedDict()
        self._bytes = 0

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def get(self, name: str) -> Any:
        """Features of a cached image."""
        self._entries.move_to_end(name)
        return self._entries[name][0]

    def put(self, name: str, features: Any) -> Any:
        """Cache the features of an image that has just passed the tower; return the CPU copy."""
        copied = _on_cpu(features)
        self.passes += 1
        self.repeated_passes += name in self._encoded
        if len(self._encoded) < MAX_NAMES:  # a server would collect names for ever
            self._encoded.add(name)
        size = _size(copied)
        self._entries[name] = (copied, size)
        self._bytes += size
        while self._bytes > self.limit and len(self._entries) > 1:
            self._bytes -= self._entries.popitem(last=False)[1][1]
        return copied


def _on_cpu(features: Any) -> Any:
    if isinstance(features, torch.Tensor):
        # A copy, because a slice would keep the whole batch in memory.
        return features.detach().to("cpu", copy=True)
    if isinstance(features, dict):
        return {key: _on_cpu(value) for key, value in features.items()}
    return [_on_cpu(part) for part in features]


def _size(features: Any) -> int:
    if isinstance(features, torch.Tensor):
        return features.numel() * features.element_size()
    if isinstance(features, dict):
        return sum(map(_size, features.values()))
    return sum(map(_size, features))
