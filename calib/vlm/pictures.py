"""The vision tower's output, kept: a picture passes the tower once, whoever asks about it.

One picture at a time, so that its features do not depend on its neighbours in a batch: rows are
then repeatable to the bit whatever else a run contains.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch

LIMIT = 2 * 1024**3
"""Bytes of features kept in memory; what was used longest ago goes first."""


class Pictures:
    """Features by picture."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self.passes = 0
        """How often a picture went through the vision tower."""
        self._kept: OrderedDict[str, tuple[Any, int]] = OrderedDict()
        self._bytes = 0

    def features(self, name: str, encode: Callable[[], Any]) -> Any:
        """The features of the picture ``name``, from ``encode`` when they are not at hand."""
        if name in self._kept:
            self._kept.move_to_end(name)
            return self._kept[name][0]
        found = encode()
        self.passes += 1
        size = _size(found)
        self._kept[name] = (found, size)
        self._bytes += size
        while self._bytes > self.limit and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1][1]
        return found


def _size(features: Any) -> int:
    if isinstance(features, torch.Tensor):
        return features.numel() * features.element_size()
    if isinstance(features, dict):
        return sum(map(_size, features.values()))
    if isinstance(features, (list, tuple)):
        return sum(map(_size, features))
    return 0
