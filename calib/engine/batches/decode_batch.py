"""Decode rows in one batch: finished sequences free their slot for queued ones.

transformers' own cache copies every key and value at every step, and removes rows by copying all
others. Here each row has a slot. A new token is written next to the earlier ones, a finished row is
overwritten by the row in the last slot, and a joining row writes only its own keys and values.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import compress

import torch
from transformers.cache_utils import Cache, DynamicLayer

from calib.engine.batches.prefill import KeysValues, Prefilled
from calib.engine.batches.prefix_sharing import gather_into
from calib.engine.edits import SiteEdits, edits_by_site, response_edits
from calib.engine.request import DecodingRow, Stats
from calib.engine.sampling import Stopping
from calib.models.layers import LayerSite, edit_activations
from calib.models.load import VLM


@dataclass
class Window:
    """The part of the cache in use: slots 0 to ``rows``, columns ``low`` to ``high``."""

    rows: int = 0
    low: int = 0
    high: int = 0

    @property
    def length(self) -> int:
        """Columns in use."""
        return self.high - self.low


class SlotLayer(DynamicLayer):
    """Keys and values of one layer. # [slots, heads, columns, head width]"""

    def __init__(self, window: Window, slots: int, columns: int) -> None:
        super().__init__()
        self.window, self.slots, self.columns = window, slots, columns
        self.stored: tuple[torch.Tensor, ...] = ()

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append one token per row and return all columns in use."""
        if not self.stored:
            self._allocate((key_states, value_states), torch.zeros)
        window = self.window
        for stored, new in zip(self.stored, (key_states, value_states), strict=True):
            stored[: window.rows, :, window.high] = new[:, :, 0]
        keys, values = (
            stored[: window.rows, :, window.low : window.high + 1] for stored in self.stored
        )
        return keys, values

    def get_seq_length(self) -> int:
        return self.window.length

    def write(self, first: int, new: tuple[torch.Tensor, ...], states: torch.Tensor | None) -> None:
        """Write rows to the slots from ``first`` on, aligned at the last column in use.

        ``new`` are keys and values by state. # [states, heads, length, head width]
        ``states`` is the state of each row; None: each row has its own, in order. # [rows] int64
        """
        count = len(new[0]) if states is None else len(states)
        for place, part in zip(self.place(first, count, new), new, strict=True):
            if states is None:
                place.copy_(part)
            else:
                gather_into(place, part, states.to(part.device))

    def place(
        self, first: int, count: int, like: tuple[torch.Tensor, ...], length: int | None = None
    ) -> tuple[torch.Tensor, ...]:
        """The columns of ``count`` slots from ``first`` on, up to the last one in use, for writing.

        There are ``length`` of them; None: as in ``like``. # two of [slots, heads, length, width]
        """
        if not self.stored:
            self._allocate(like, torch.empty)
        high, start = self.window.high, self.window.high - (length or like[0].shape[2])
        slots = tuple(stored[first : first + count] for stored in self.stored)
        for part in slots:
            # Zeros: columns left of a joining row are masked, but 0 x infinity is not 0. Columns
            # right of it are written before they are read.
            part[:, :, :start] = 0
        return tuple(part[:, :, start:high] for part in slots)

    def _allocate(self, like: tuple[torch.Tensor, ...], new: Callable[..., torch.Tensor]) -> None:
        shape = (self.slots, like[0].shape[1], self.columns)
        self.stored = tuple(
            new(*shape, part.shape[-1], dtype=part.dtype, device=part.device) for part in like
        )
        self.is_initialized = True

    def move_rows(self, source: torch.Tensor, target: torch.Tensor) -> None:
        """Overwrite the slots ``target`` with the slots ``source``. # [moved] int64 each"""
        low, high = self.window.low, self.window.high
        for stored in self.stored:
            columns = stored[:, :, low:high]
            columns[target.to(stored.device)] = columns[source.to(stored.device)]

    def shift_columns(self, by: int) -> None:
        """Shift the columns in use to the right, or to the left if ``by`` is negative."""
        window = self.window
        for stored in self.stored:
            shifted = stored[: window.rows, :, window.low : window.high].clone()
            stored[: window.rows, :, window.low + by : window.high + by] = shifted
            # After a shift by more than their length, some of these columns were never written.
            stored[: window.rows, :, window.low : window.low + by] = 0


class SlotCache(Cache):
    """Keys and values of all layers for up to ``slots`` rows of ``columns`` tokens."""

    def __init__(self, layers: int, slots: int, columns: int) -> None:
        self.window = Window()
        self.columns = columns
        super().__init__(layers=[SlotLayer(self.window, slots, columns) for _ in range(layers)])

    def make_space(self, before: int) -> int:
        """Ensure ``before`` columns up to the end of the window and one free column after it.

        Returns the number of columns by which the window moved to the right.
        """
        window = self.window
        if window.rows == 0:
            window.low, window.high = 0, before
            return 0
        by = 0
        if window.high >= self.columns:
            by = -window.low
        if window.high + by < before:
            by = before - window.high
        if by:
            for layer in self.layers:
                layer.shift_columns(by)
            window.low += by
            window.high += by
        return by


class DecodeBatch:
    """Rows that decode together, in slots 0, 1, ... without gaps."""

    def __init__(
        self, vlm: VLM, stopping: Stopping, slots: int, columns: int, stats: Stats
    ) -> None:
        """Allocate a batch for up to ``slots`` rows of ``columns`` tokens."""
        self.vlm, self.stopping, self.stats = vlm, stopping, stats
        self.slots = slots
        self.rows: list[DecodingRow] = []
        self.cache = SlotCache(vlm.num_layers, slots, columns)
        self.edits: dict[LayerSite, SiteEdits] = {}
        device = vlm.device
        self.start = torch.empty(0, dtype=torch.int64, device=device)  # [rows] first column
        self.next_input = self.start  # [rows] token that the next step reads
        self.position_ids = torch.empty(0, device=device)  # [rows] or [axes, rows]

    @property
    def free(self) -> int:
        """Number of free slots."""
        return self.slots - len(self.rows)

    def fill(self, row: DecodingRow, length: int) -> None:
        """Fill all slots with copies of a row whose ``length`` earlier tokens are zeros, to measure
        the time of a step."""
        last = [row.prompt.tokens[-1:], row.prompt.position_ids[..., -1:]]
        tokens, positions = (t.to(self.vlm.device) for t in last)
        self.rows = [replace(row, index=-1, tokens=tokens.tolist()) for _ in range(self.slots)]
        for copied in self.rows:
            copied.restart()
        self.start = torch.zeros(self.slots, dtype=torch.int64, device=self.vlm.device)
        self.next_input = tokens.expand(self.slots)
        self.position_ids = positions.expand(*positions.shape[:-1], self.slots)
        self.cache.window.rows, self.cache.window.high = self.slots, length
        self._stack_edits()

    def place(
        self, count: int, length: int, like: list[KeysValues]
    ) -> list[tuple[torch.Tensor, ...]] | None:
        """Free slots for the keys and values of ``count`` rows that join next, see ``Place``."""
        if count > self.free:
            return None
        self.start = self.start + self.cache.make_space(length)
        return [
            layer.place(len(self.rows), count, keys_values, length)
            for layer, keys_values in zip(self.cache.layers, like, strict=True)
        ]

    def join(self, rows: Sequence[DecodingRow], prefilled: Prefilled, index: Sequence[int]) -> None:
        """Choose the first tokens of rows; rows that continue take a slot.

        ``index`` is the position of each row in ``prefilled``.
        """
        # The logits of a sharded model are on another device than its inputs.
        device = prefilled.logits.device
        states = torch.tensor([prefilled.state_of[k] for k in index], device=device)
        self.stopping.append_tokens(rows, self.stopping.scores(rows, prefilled.logits[states]))
        going_on = [not self.stopping.has_ended(row) for row in rows]
        if not any(going_on):
            return
        if not prefilled.keys_values:  # all rows have theirs in slots
            before = len(self.rows)
            self._enter(rows, prefilled, index)
            if ended := {before + k for k, goes_on in enumerate(going_on) if not goes_on}:
                self._leave(ended)
        else:
            self._enter(list(compress(rows, going_on)), prefilled, list(compress(index, going_on)))

    def _enter(
        self, rows: Sequence[DecodingRow], prefilled: Prefilled, index: Sequence[int]
    ) -> None:
        device = self.vlm.device
        before, window = len(self.rows), self.cache.window
        self.start = self.start + self.cache.make_space(prefilled.length)
        placed = not prefilled.keys_values
        for layer, keys_values, states in zip(
            () if placed else self.cache.layers,
            prefilled.keys_values,
            () if placed else prefilled.layer_state_of,
            strict=True,
        ):
            chosen = [states[k] for k in index]
            in_order = chosen == list(range(len(keys_values[0])))  # nothing to gather
            layer.write(
                before, keys_values, None if in_order else torch.tensor(chosen, device=device)
            )
        lengths = torch.tensor([len(row.prompt.tokens) for row in rows], device=device)
        position_ids = torch.stack([row.prompt.position_ids[..., -1] + 1 for row in rows], dim=-1)
        next_input = torch.tensor([row.tokens[-1] for row in rows], device=device)
        start = window.high - lengths
        if before:
            start = torch.cat([self.start, start])
            position_ids = torch.cat([self.position_ids, position_ids], dim=-1)
            next_input = torch.cat([self.next_input, next_input])
        self.start, self.position_ids, self.next_input = start, position_ids, next_input
        self.rows += rows
        window.rows = len(self.rows)
        window.low = int(start.min())
        self._stack_edits()

    def _stack_edits(self) -> None:
        rows = [response_edits(row.edits) for row in self.rows]
        self.edits = edits_by_site(rows, self.vlm.device)

    def step(self) -> None:
        """Read the last token of every row and append its next one; rows that end leave."""
        window = self.cache.window
        self.start = self.start + self.cache.make_space(0)
        columns = torch.arange(window.low, window.high + 1, device=self.start.device)
        changes = {at: edits.apply for at, edits in self.edits.items()}
        with edit_activations(self.vlm.model, changes):
            output = self.vlm.model(
                input_ids=self.next_input[:, None],
                attention_mask=(columns >= self.start[:, None]).long(),
                position_ids=self.position_ids[..., None],
                past_key_values=self.cache,
                use_cache=True,
            )
        window.high += 1
        self.stats.decode_row_steps += len(self.rows)
        scores = self.stopping.scores(self.rows, output.logits[:, -1].float())
        self.next_input = self.stopping.append_tokens(self.rows, scores).to(self.start.device)
        self.position_ids = self.position_ids + 1
        ended = {slot for slot, row in enumerate(self.rows) if self.stopping.has_ended(row)}
        if ended:
            self._leave(ended)

    def _leave(self, ended: set[int]) -> None:
        """Free slots by moving the rows of the last slots into them."""
        count = len(self.rows)
        remaining = count - len(ended)
        target = [slot for slot in sorted(ended) if slot < remaining]
        source = [slot for slot in range(remaining, count) if slot not in ended]
        order = list(range(remaining))
        for to_slot, from_slot in zip(target, source, strict=True):
            order[to_slot] = from_slot
        device = self.start.device
        if target:
            moved = torch.tensor(source, device=device), torch.tensor(target, device=device)
            for layer in self.cache.layers:
                layer.move_rows(*moved)
        index = torch.tensor(order, dtype=torch.int64, device=device)
        self.rows = [self.rows[slot] for slot in order]
        self.start, self.next_input = self.start[index], self.next_input[index]
        self.position_ids = self.position_ids[..., index]
        for edits in self.edits.values():
            edits.select_rows(index)
        window = self.cache.window
        window.rows = remaining
        if remaining:
            window.low = int(self.start.min())
