"""Rows in flight: every step writes one token to each; who has ended leaves, who waits may join."""

from collections.abc import Sequence
from itertools import compress

import torch

from calib.engine.cache import Slots
from calib.engine.edit import SiteEdits, edits_by_site, of_response
from calib.engine.finish import Finish
from calib.engine.prefill import Read
from calib.engine.row import Row
from calib.engine.tally import Tally
from calib.vlm.layers import LayerSite, changing
from calib.vlm.load import VLM


class Flight:
    """The rows in flight, in slots 0, 1, ... without gaps."""

    def __init__(self, vlm: VLM, finish: Finish, slots: int, columns: int, tally: Tally) -> None:
        """Room for ``slots`` rows of at most ``columns`` tokens."""
        self.vlm, self.finish, self.tally = vlm, finish, tally
        self.slots = slots
        self.rows: list[Row] = []
        self.cache = Slots(vlm.layers, slots, columns)
        self.editing: dict[LayerSite, SiteEdits] = {}
        device = vlm.device
        self.start = torch.empty(0, dtype=torch.int64, device=device)  # [rows] first column
        self.last = self.start  # [rows] token that is read next
        self.places = torch.empty(0, device=device)  # [rows] or [axes, rows] its position

    @property
    def free(self) -> int:
        """Slots that are not taken."""
        return self.slots - len(self.rows)

    def join(self, rows: Sequence[Row], read: Read, places: Sequence[int]) -> None:
        """Choose the first tokens of rows; those with more to say take a slot.

        ``places`` gives the place of each in what was ``read``.
        """
        # A sharded model has its logits on another device than its inputs.
        states = torch.tensor([read.state_of[k] for k in places], device=read.logits.device)
        self.finish.write(rows, self.finish.scores(rows, read.logits[states]))
        more = [not self.finish.ended(row) for row in rows]
        if any(more):
            self._enter(list(compress(rows, more)), read, list(compress(places, more)))

    def _enter(self, rows: Sequence[Row], read: Read, of: Sequence[int]) -> None:
        device = self.vlm.device
        before, window = len(self.rows), self.cache.window
        self.start = self.start + self.cache.make_room(read.length)
        for layer, held, states in zip(
            self.cache.layers, read.held, read.held_state_of, strict=True
        ):
            layer.write(before, held, torch.tensor([states[k] for k in of], device=device))
        lengths = torch.tensor([len(row.prompt.tokens) for row in rows], device=device)
        places = torch.stack([row.prompt.places[..., -1] + 1 for row in rows], dim=-1)
        last = torch.tensor([row.tokens[-1] for row in rows], device=device)
        start = window.high - lengths
        if before:
            start = torch.cat([self.start, start])
            places = torch.cat([self.places, places], dim=-1)
            last = torch.cat([self.last, last])
        self.start, self.places, self.last = start, places, last
        self.rows += rows
        window.rows = len(self.rows)
        window.low = int(start.min())
        self._edit_responses()

    def _edit_responses(self) -> None:
        self.editing = edits_by_site([of_response(row.edits) for row in self.rows], self.vlm.device)

    def step(self) -> None:
        """Read every row's last token and write its next one; rows that end leave."""
        window = self.cache.window
        self.start = self.start + self.cache.make_room(0)
        columns = torch.arange(window.low, window.high + 1, device=self.start.device)
        changes = {at: edits.apply for at, edits in self.editing.items()}
        with changing(self.vlm.model, changes):
            output = self.vlm.model(
                input_ids=self.last[:, None],
                attention_mask=(columns >= self.start[:, None]).long(),
                position_ids=self.places[..., None],
                past_key_values=self.cache,
                use_cache=True,
            )
        window.high += 1
        self.tally.decode_row_steps += len(self.rows)
        scores = self.finish.scores(self.rows, output.logits[:, -1].float())
        self.last = self.finish.write(self.rows, scores).to(self.start.device)
        self.places = self.places + 1
        gone = {slot for slot, row in enumerate(self.rows) if self.finish.ended(row)}
        if gone:
            self._leave(gone)

    def _leave(self, left: set[int]) -> None:
        """Free slots; the last rows take their places."""
        count = len(self.rows)
        kept = count - len(left)
        target = [slot for slot in sorted(left) if slot < kept]
        source = [slot for slot in range(kept, count) if slot not in left]
        order = list(range(kept))
        for to, come in zip(target, source, strict=True):
            order[to] = come
        device = self.start.device
        if target:
            moved = torch.tensor(source, device=device), torch.tensor(target, device=device)
            for layer in self.cache.layers:
                layer.move_rows(*moved)
        index = torch.tensor(order, dtype=torch.int64, device=device)
        self.rows = [self.rows[slot] for slot in order]
        self.start, self.last = self.start[index], self.last[index]
        self.places = self.places[..., index]
        for edits in self.editing.values():
            edits.keep(index)
        window = self.cache.window
        window.rows = kept
        if kept:
            window.low = int(self.start.min())
