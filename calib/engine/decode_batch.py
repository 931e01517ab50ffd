"""Decode rows in one batch: finished sequences free their slot for queued ones."""

from collections import deque
from collections.abc import Sequence
from itertools import compress

import torch

from calib.engine.cache import Slots
from calib.engine.edits import SiteEdits, edits_by_site, of_response
from calib.engine.prefill import Entry, Prefix, Read, read_last, read_prefix, read_whole
from calib.engine.reference_logits import ReferenceLogits, divergence
from calib.engine.request import DecodingRow, Stats
from calib.engine.sampling import Stopping
from calib.models.layers import LayerSite, edit_activations
from calib.models.load import VLM


class PromptGroup:
    """Rows whose prompts are read, and who join when there is room."""

    def __init__(
        self,
        vlm: VLM,
        parts: Sequence[Sequence[DecodingRow]],
        whole: bool,
        bases: ReferenceLogits | None,
        tally: Stats,
    ) -> None:
        """Read the prompts of each part together: up to their last token, or ``whole``.

        KL is measured where there are ``bases``.
        """
        self.bases = bases
        self.vlm, self.tally = vlm, tally
        self.rows = [row for part in parts for row in part]
        self.entries: list[Entry] = []  # by row, then the unedited ones read along
        self.unedited: dict[int, int] = {}  # by prompt, the entry that KL is measured against
        self.own: dict[int, torch.Tensor] = {}  # logits by prompt, unedited
        self.prefixes: list[Prefix] = []
        self.read: Read | None = None
        along: list[tuple[int, Entry]] = []
        for number, part in enumerate(parts):
            prompts = list({id(row.prompt): row.prompt for row in part}.values())
            place = {id(prompt): k for k, prompt in enumerate(prompts)}
            prompt_of = [place[id(row.prompt)] for row in part]
            edits = [row.edits for row in part]
            for k, row in enumerate(part):
                if not row.edits:
                    self.unedited.setdefault(id(row.prompt), len(self.entries))
                self.entries.append((number, k))
            # Where nobody asks for the unedited prompt it is read along, for KL.
            compared = {id(row.prompt) for row in part if row.base is None}
            for k, prompt in enumerate(prompts):
                if bases and id(prompt) in compared and id(prompt) not in self.unedited:
                    along.append((id(prompt), (number, len(prompt_of))))
                    prompt_of.append(k)
                    edits.append(())
            if whole:
                self.read = read_whole(vlm, prompts, prompt_of, edits, tally)
            else:
                self.prefixes.append(read_prefix(vlm, prompts, prompt_of, edits, tally))
        for name, entry in along:
            self.unedited[name] = len(self.entries)
            self.entries.append(entry)
        self.waiting = deque(range(len(self.rows)))

    def take(self, count: int) -> tuple[list[DecodingRow], Read, list[int]]:
        """The next rows with the KL of their first token, what was read for them, and their places
        in it."""
        chosen = [self.waiting.popleft() for _ in range(min(count, len(self.waiting)))]
        if self.read is not None:
            read, entries = self.read, list(range(len(self.entries)))
        else:
            along = [self.unedited[name] for name in self._new(chosen)] if self.bases else []
            entries = list(dict.fromkeys([*chosen, *along]))
            needed = [self.entries[k] for k in entries]
            read = read_last(self.vlm, self.prefixes, needed, self.tally)
        place = {entry: k for k, entry in enumerate(entries)}
        if self.bases:
            self._measure(chosen, read, place, self.bases)
        return [self.rows[k] for k in chosen], read, [place[k] for k in chosen]

    def _new(self, chosen: Sequence[int]) -> list[int]:
        """Prompts whose own unedited logits these rows are the first to be compared with."""
        rows = [self.rows[k] for k in chosen]
        own = dict.fromkeys(id(row.prompt) for row in rows if row.base is None)
        return [name for name in own if name not in self.own]

    def _measure(
        self, chosen: Sequence[int], read: Read, place: dict[int, int], bases: ReferenceLogits
    ) -> None:
        """Set each row's KL(edited || unedited) of the first response token, in nats."""
        for name in self._new(chosen):
            self.own[name] = read.logits[read.state_of[place[self.unedited[name]]]]
        for k in chosen:
            self.rows[k].kl = 0.0
        moved = [k for k in chosen if self.rows[k].edits or self.rows[k].base is not None]
        if not moved:
            return
        device = read.logits.device
        states = torch.tensor([read.state_of[place[k]] for k in moved], device=device)
        base = [
            self.own[id(row.prompt)] if row.base is None else bases.logits(row).to(device)
            for row in (self.rows[k] for k in moved)
        ]
        found = divergence(read.logits[states], torch.stack(base))
        for k, kl in zip(moved, found.tolist(), strict=True):
            self.rows[k].kl = kl


class DecodeBatch:
    """The rows in flight, in slots 0, 1, ... without gaps."""

    def __init__(self, vlm: VLM, finish: Stopping, slots: int, columns: int, tally: Stats) -> None:
        """Room for ``slots`` rows of at most ``columns`` tokens."""
        self.vlm, self.finish, self.tally = vlm, finish, tally
        self.slots = slots
        self.rows: list[DecodingRow] = []
        self.cache = Slots(vlm.num_layers, slots, columns)
        self.editing: dict[LayerSite, SiteEdits] = {}
        device = vlm.device
        self.start = torch.empty(0, dtype=torch.int64, device=device)  # [rows] first column
        self.last = self.start  # [rows] token that is read next
        self.places = torch.empty(0, device=device)  # [rows] or [axes, rows] its position

    @property
    def free(self) -> int:
        """Slots that are not taken."""
        return self.slots - len(self.rows)

    def join(self, rows: Sequence[DecodingRow], read: Read, places: Sequence[int]) -> None:
        """Choose the first tokens of rows; those with more to say take a slot.

        ``places`` gives the place of each in what was ``read``.
        """
        # A sharded model has its logits on another device than its inputs.
        states = torch.tensor([read.state_of[k] for k in places], device=read.logits.device)
        self.finish.write(rows, self.finish.scores(rows, read.logits[states]))
        more = [not self.finish.ended(row) for row in rows]
        if any(more):
            self._enter(list(compress(rows, more)), read, list(compress(places, more)))

    def _enter(self, rows: Sequence[DecodingRow], read: Read, of: Sequence[int]) -> None:
        device = self.vlm.device
        before, window = len(self.rows), self.cache.window
        self.start = self.start + self.cache.make_room(read.length)
        for layer, held, states in zip(
            self.cache.layers, read.held, read.held_state_of, strict=True
        ):
            layer.write(before, held, torch.tensor([states[k] for k in of], device=device))
        lengths = torch.tensor([len(row.prompt.tokens) for row in rows], device=device)
        places = torch.stack([row.prompt.position_ids[..., -1] + 1 for row in rows], dim=-1)
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
        with edit_activations(self.vlm.model, changes):
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
