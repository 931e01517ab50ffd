"""Prompts that have been read, and their rows that wait to join the flight."""

from collections import deque
from collections.abc import Sequence

import torch

from calib.engine.bases import Bases
from calib.engine.divergence import divergence
from calib.engine.prefill import Entry, Prefix, Read, read_last, read_prefix, read_whole
from calib.engine.row import Row
from calib.engine.tally import Tally
from calib.vlm.load import VLM


class Group:
    """Rows whose prompts are read, and who join when there is room."""

    def __init__(
        self,
        vlm: VLM,
        parts: Sequence[Sequence[Row]],
        whole: bool,
        bases: Bases | None,
        tally: Tally,
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

    def take(self, count: int) -> tuple[list[Row], Read, list[int]]:
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
        self, chosen: Sequence[int], read: Read, place: dict[int, int], bases: Bases
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
