"""A bounded cache of vision-tower features: each image passes the tower once."""

from collections import OrderedDict
from typing import Any

import psutil
import torch


class FeatureCache:
    """Features by picture, in the machine's memory whatever device the model is on."""

    def __init__(self, limit: int | None = None) -> None:
        """At most ``limit`` bytes, an eighth of the memory by default, are kept; what was used
        longest ago goes first."""
        self.limit = psutil.virtual_memory().total // 8 if limit is None else limit
        self.passes = 0
        """How often a picture went through the vision tower."""
        self.repeated_passes = 0
        """How often it was not for the first time."""
        self._seen: set[str] = set()
        self._kept: OrderedDict[str, tuple[Any, int]] = OrderedDict()
        self._bytes = 0

    def __contains__(self, name: str) -> bool:
        return name in self._kept

    def get(self, name: str) -> Any:
        """The features of a picture that is kept."""
        self._kept.move_to_end(name)
        return self._kept[name][0]

    def put(self, name: str, features: Any) -> Any:
        """Keep the features of a picture that has just passed the tower; returns what is kept."""
        found = _on_cpu(features)
        self.passes += 1
        self.repeated_passes += name in self._seen
        self._seen.add(name)
        size = _size(found)
        self._kept[name] = (found, size)
        self._bytes += size
        while self._bytes > self.limit and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1][1]
        return found


def _on_cpu(features: Any) -> Any:
    if isinstance(features, torch.Tensor):
        # A copy: a part of a batch would keep all of it in memory.
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
