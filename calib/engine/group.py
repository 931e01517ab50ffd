"""Prompts that have been read, and their rows that wait to join the flight."""

from collections import deque
from collections.abc import Sequence

import torch

from calib.engine.divergence import divergence
from calib.engine.prefill import Prefix, Read, read_last, read_prefix, read_whole
from calib.engine.row import Row
from calib.engine.tally import Tally
from calib.vlm.load import VLM


class Group:
    """Rows whose prompts are read together and who join when there is room."""

    def __init__(self, vlm: VLM, rows: Sequence[Row], whole: bool, tally: Tally) -> None:
        """Read the prompts up to their last token, or ``whole``."""
        self.vlm, self.tally = vlm, tally
        self.rows = list(rows)
        prompts = list({id(row.prompt): row.prompt for row in rows}.values())
        place = {id(prompt): k for k, prompt in enumerate(prompts)}
        prompt_of = [place[id(row.prompt)] for row in rows]
        edits = [row.edits for row in rows]
        # The unedited prompt is what KL is measured against: read along where nobody asks for it.
        self.unedited = {prompt_of[k]: k for k, row in enumerate(rows) if not row.edits}
        for prompt in range(len(prompts)):
            if prompt not in self.unedited:
                self.unedited[prompt] = len(prompt_of)
                prompt_of.append(prompt)
                edits.append(())
        self.prompt_of = prompt_of
        self.base: dict[int, torch.Tensor] = {}  # logits by prompt, unedited
        self.waiting = deque(range(len(rows)))
        self.prefix: Prefix | None = None
        self.read: Read | None = None
        if whole:
            self.read = read_whole(vlm, prompts, prompt_of, edits, tally)
        else:
            self.prefix = read_prefix(vlm, prompts, prompt_of, edits, tally)

    def take(self, count: int) -> tuple[list[Row], Read, list[int]]:
        """The next rows with the KL of their first token, what was read for them, and their places
        in it."""
        chosen = [self.waiting.popleft() for _ in range(min(count, len(self.waiting)))]
        if self.read is not None:
            read, entries = self.read, list(range(len(self.prompt_of)))
        else:
            assert self.prefix is not None
            new = {self.prompt_of[k] for k in chosen} - self.base.keys()
            along = [self.unedited[prompt] for prompt in sorted(new)]
            entries = list(dict.fromkeys([*chosen, *along]))
            read = read_last(self.vlm, self.prefix, entries, self.tally)
        place = {entry: k for k, entry in enumerate(entries)}
        self._measure(chosen, read, place)
        return [self.rows[k] for k in chosen], read, [place[k] for k in chosen]

    def _measure(self, chosen: Sequence[int], read: Read, place: dict[int, int]) -> None:
        """Set each row's KL(edited || unedited) of the first response token, in nats."""
        for prompt in {self.prompt_of[k] for k in chosen} - self.base.keys():
            state = read.state_of[place[self.unedited[prompt]]]
            self.base[prompt] = read.logits[state]
        edited = [k for k in chosen if self.rows[k].edits]
        if not edited:
            return
        states = torch.tensor([read.state_of[place[k]] for k in edited], device=read.logits.device)
        base = torch.stack([self.base[self.prompt_of[k]] for k in edited])
        found = divergence(read.logits[states], base)
        for k, kl in zip(edited, found.tolist(), strict=True):
            self.rows[k].kl = kl
