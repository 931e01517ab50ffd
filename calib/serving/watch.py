"""The watch over the worker: notices a forward pass that never returns.

A slow model makes progress with every block of its decoder and vision tower that it computes; one
that hangs, as a GPU does after a fault of its driver, makes none. No thread can be ended from
outside, so the server can only report it and fail the requests that wait.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from calib.models.layers import decoder, decoder_layers

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
        """Note progress with every block that the model computes, and when its vision tower and
        decoder begin and end, until ``end``."""

        def computed(*_: Any) -> None:
            self.mark()

        parts = list(model.base_model.children())
        blocks = [*decoder_layers(model), *_blocks_outside_decoder(model)]
        self._hooks = [part.register_forward_pre_hook(computed) for part in parts]
        self._hooks += [part.register_forward_hook(computed) for part in (*parts, *blocks)]

    def end(self) -> None:
        """Stop following the model."""
        for hook in self._hooks:
            hook.remove()


def _blocks_outside_decoder(model: Any) -> Iterator[nn.Module]:
    inside = set(decoder(model).modules())
    for module in model.modules():
        if isinstance(module, nn.ModuleList | nn.Sequential) and module not in inside:
            yield from module
