"""Prompts that have been read, and their rows that wait to join the flight."""

from collections import deque
from collections.abc import Sequence

import torch

from calib.engine.divergence import divergence
from calib.engine.prefill import Entry, Prefix, Read, read_last, read_prefix, read_whole
from calib.engine.row import Row
from calib.engine.tally import Tally
from calib.vlm.load import VLM


class Group:
    """Rows whose prompts are read, and who join when there is room."""

    def __init__(
        self, vlm: VLM, parts: Sequence[Sequence[Row]], whole: bool, kl: bool, tally: Tally
    ) -> None:
        """Read the prompts of each part together: up to their last token, or ``whole``."""
        self.kl = kl
        self.vlm, self.tally = vlm, tally
        self.rows = [row for part in parts for row in part]
        self.entries: list[Entry] = []  # by row, then the unedited ones read along
        self.unedited: dict[int, int] = {}  # by prompt, the entry that KL is measured against
        self.base: dict[int, torch.Tensor] = {}  # logits by prompt, unedited
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
            for k, prompt in enumerate(prompts):
                if kl and id(prompt) not in self.unedited:
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
            new = dict.fromkeys(id(self.rows[k].prompt) for k in chosen)
            along = [self.unedited[n] for n in new if self.kl and n not in self.base]
            entries = list(dict.fromkeys([*chosen, *along]))
            needed = [self.entries[k] for k in entries]
            read = read_last(self.vlm, self.prefixes, needed, self.tally)
        place = {entry: k for k, entry in enumerate(entries)}
        if self.kl:
            self._measure(chosen, read, place)
        return [self.rows[k] for k in chosen], read, [place[k] for k in chosen]

    def _measure(self, chosen: Sequence[int], read: Read, place: dict[int, int]) -> None:
        """Set each row's KL(edited || unedited) of the first response token, in nats."""
        for name in {id(self.rows[k].prompt) for k in chosen} - self.base.keys():
            self.base[name] = read.logits[read.state_of[place[self.unedited[name]]]]
        edited = [k for k in chosen if self.rows[k].edits]
        for k in chosen:
            self.rows[k].kl = 0.0
        if not edited:
            return
        states = torch.tensor([read.state_of[place[k]] for k in edited], device=read.logits.device)
        base = torch.stack([self.base[id(self.rows[k].prompt)] for k in edited])
        found = divergence(read.logits[states], base)
        for k, kl in zip(edited, found.tolist(), strict=True):
            self.rows[k].kl = kl
