"""Keys and values of a batch whose rows come and go.

transformers' own cache copies every key and value at every step, and takes rows out by copying all
others. Here each row has a slot: a token is written beside the others, a row that has ended is
overwritten by the last one, and a joining row writes only what is its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers.cache_utils import Cache, DynamicLayer


@dataclass
class Window:
    """Which part of the slots is in use: the first ``rows``, columns ``low`` to ``high``."""

    rows: int = 0
    low: int = 0
    high: int = 0

    @property
    def length(self) -> int:
        return self.high - self.low


class SlotLayer(DynamicLayer):
    """One layer's keys and values in slots. # [slots, heads, columns, head width]"""

    def __init__(self, window: Window, slots: int, columns: int) -> None:
        super().__init__()
        self.window, self.slots, self.columns = window, slots, columns
        self.held: tuple[torch.Tensor, ...] = ()

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write one token per row behind the others and return all columns in use."""
        window = self.window
        for held, new in zip(self.held, (key_states, value_states), strict=True):
            held[: window.rows, :, window.high] = new[:, :, 0]
        keys, values = (held[: window.rows, :, window.low : window.high + 1] for held in self.held)
        return keys, values

    def get_seq_length(self) -> int:
        return self.window.length

    def write(self, first: int, new: tuple[torch.Tensor, ...], states: torch.Tensor) -> None:
        """Put rows into the slots from ``first`` on, their last column at the window's end.

        ``new`` are keys and values by state. # [states, heads, length, head width]
        ``states`` is the state of each row. # [rows] int64
        """
        if not self.held:
            shape = (self.slots, new[0].shape[1], self.columns)
            self.held = tuple(part.new_zeros(*shape, part.shape[-1]) for part in new)
            self.is_initialized = True
        high, last = self.window.high, first + len(states)
        for held, part in zip(self.held, new, strict=True):
            # What stands left of a joining row is masked, but 0 x infinity is not 0.
            held[first:last] = 0
            held[first:last, :, high - part.shape[2] : high] = part[states.to(part.device)]

    def move_rows(self, source: torch.Tensor, target: torch.Tensor) -> None:
        """Overwrite the slots ``target`` with the slots ``source``. # [moved] int64 each"""
        low, high = self.window.low, self.window.high
        for held in self.held:
            columns = held[:, :, low:high]
            columns[target.to(held.device)] = columns[source.to(held.device)]

    def move_columns(self, by: int) -> None:
        """Shift the columns in use to the right (or left, below 0)."""
        window = self.window
        for held in self.held:
            moved = held[: window.rows, :, window.low : window.high].clone()
            held[: window.rows, :, window.low + by : window.high + by] = moved


class Slots(Cache):
    """The keys and values of all layers, with room for ``slots`` rows and ``columns`` tokens."""

    def __init__(self, layers: int, slots: int, columns: int) -> None:
        self.window = Window()
        self.columns = columns
        super().__init__(layers=[SlotLayer(self.window, slots, columns) for _ in range(layers)])

    def make_room(self, left: int) -> int:
        """See that ``left`` columns fit before the window's end and one more behind it.

        Returns by how much the columns in use moved to the right.
        """
        window = self.window
        if window.rows == 0:
            window.low, window.high = 0, left
            return 0
        by = 0
        if window.high >= self.columns:
            by = -window.low
        if window.high + by < left:
            by = left - window.high
        if by:
            for layer in self.layers:
                layer.move_columns(by)
            window.low += by
            window.high += by
        return by


@dataclass(frozen=True)
class Source:
    """Where some states' keys and values come from."""

    held: tuple[torch.Tensor, ...]  # keys and values. # [states held, heads, length, head width]
    states: torch.Tensor  # [some] int64: which of the states that read here
    of: torch.Tensor  # [some] int64: the held state of each


class ForkedLayer(DynamicLayer):
    """One layer's keys and values while states fork: each state reads one of those held before.

    Sources may be of different lengths; what they hold ends at the same column.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        super().__init__()
        self.sources = sources
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Each state's held columns with its new ones behind them."""
        length = self.get_seq_length()
        joined = []
        for k, new in enumerate((key_states, value_states)):
            states, heads, added, width = new.shape
            # Zeros: what stands left of a shorter source is masked, but 0 x infinity is not 0.
            both = new.new_zeros(states, heads, length + added, width)
            for source in self.sources:
                held, device = source.held[k], new.device
                own = held[source.of.to(device)]
                both[source.states.to(device), :, length - held.shape[2] : length] = own
            both[:, :, length:] = new
            joined.append(both)
        self.keys, self.values = joined
        return self.keys, self.values

    def get_seq_length(self) -> int:
        return max(source.held[0].shape[-2] for source in self.sources)
