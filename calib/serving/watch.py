"""The watch over the worker: notices a forward pass that never returns.

A slow model makes progress with every decoder block that it computes; one that hangs, as a GPU does
after a fault of its driver, makes none. No thread can be ended from outside, so the server can only
say so, and answer the requests that wait.
"""

import time
from collections.abc import Callable
from typing import Any

from calib.models.layers import decoder_layers

STALLED_AFTER = 600.0
"""Seconds without progress after which a busy worker counts as stalled."""
CHECK_SECONDS = 1.0
"""Time between two checks."""


class Watch:
    """The time since a model last made progress."""

    def __init__(
        self, limit: float = STALLED_AFTER, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``limit`` is in seconds."""
        self.limit, self.clock = limit, clock
        self._last = clock()
        self._hooks: list[Any] = []

    def mark(self) -> None:
        """Note progress."""
        self._last = self.clock()

    @property
    def expired(self) -> bool:
        """Whether the last progress is longer ago than the limit."""
        return self.clock() - self._last > self.limit

    def follow(self, model: Any) -> None:
        """Note progress with every decoder block that the model computes, until ``end``."""

        def computed(*_: Any) -> None:
            self.mark()

        self._hooks = [block.register_forward_hook(computed) for block in decoder_layers(model)]

    def end(self) -> None:
        """Follow the model no longer."""
        for hook in self._hooks:
            hook.remove()
