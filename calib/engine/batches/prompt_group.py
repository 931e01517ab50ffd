"""Rows that start from prompts read together, with the KL of each row's first token."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch

from calib.engine.activations import ReferenceLogits, divergences
from calib.engine.batches.prefill import (
    Place,
    Prefilled,
    Prefix,
    PrefixRow,
    read_in_single_pass,
    read_last_token,
    read_prefix,
)
from calib.engine.batches.prefix_sharing import fork
from calib.engine.edits import Edits
from calib.engine.request import DecodingRow, Stats
from calib.models.load import VLM
from calib.models.prompts import Prompt

KL_ROWS = 16
"""Rows whose KL is computed together: it needs several float64 numbers per token of the
vocabulary."""


@dataclass
class PromptPass:
    """Prompts that are read together, and the rows that start from them."""

    rows: list[DecodingRow]
    prompts: list[Prompt]
    prompt_of: list[int]
    """The prompt of each of ``rows``, followed by unedited rows that are read for KL only."""
    edits: list[Edits]
    """As ``prompt_of``."""
    unedited: dict[int, int]
    """By id() of the prompt, the index of an unedited row in ``prompt_of``."""

    @classmethod
    def of(cls, rows: Sequence[DecodingRow], kl: bool) -> "PromptPass":
        """Rows whose prompts have similar lengths; ``kl`` adds the unedited rows it needs."""
        prompts = list({id(row.prompt): row.prompt for row in rows}.values())
        index = {id(prompt): k for k, prompt in enumerate(prompts)}
        prompt_of = [index[id(row.prompt)] for row in rows]
        edits = [row.edits for row in rows]
        unedited: dict[int, int] = {}
        for k, row in enumerate(rows):
            if not row.edits:
                unedited.setdefault(id(row.prompt), k)
        own_reference = {id(row.prompt) for row in rows if row.reference is None}
        for k, prompt in enumerate(prompts):
            if kl and id(prompt) in own_reference and id(prompt) not in unedited:
                unedited[id(prompt)] = len(prompt_of)
                prompt_of.append(k)
                edits.append(())
        return cls(list(rows), prompts, prompt_of, edits, unedited)

    def last_token_forks(self, layers: int) -> bool:
        """Whether any rows share the prompt before its last token, but not the last token."""
        before, complete = (
            fork(self.prompt_of, self.edits, layers, (True, last), computed=(True, last))
            for last in (False, True)
        )
        return any(before.count(layer) != complete.count(layer) for layer in range(layers + 1))


class PromptGroup:
    """Rows that start from some prompts, waiting for a free place in the decode batch.

    Prompts are read up to their last token at once, and the last token for the rows that are taken.
    Where rows share nothing but what a complete pass would compute once too, such a pass reads
    everything when its rows are taken: each pass has to read all weights of the model.
    """

    def __init__(
        self,
        vlm: VLM,
        passes: Sequence[Sequence[DecodingRow]],
        single_pass: bool,
        references: ReferenceLogits | None,
        stats: Stats,
        most: int,
    ) -> None:
        """Read the prompts of each pass up to the last token, except where that shares nothing.

        With ``single_pass``, all prompts are read completely. KL is measured unless ``references``
        is None. A complete pass has at most ``most`` rows, or the rows of one prompt: their logits
        are in memory at once.
        """
        self.vlm, self.references, self.stats = vlm, references, stats
        self.passes: list[PromptPass] = []
        self.prefixes: dict[int, Prefix] = {}  # by number of the pass, if it is not complete
        self.unedited_logits: dict[int, torch.Tensor] = {}  # by id() of the prompt. # [vocabulary]
        for rows in passes:
            together = PromptPass.of(rows, references is not None)
            if single_pass or not together.last_token_forks(vlm.num_layers):
                chunks = _split_at_prompts(rows, most)
                self.passes += [PromptPass.of(chunk, references is not None) for chunk in chunks]
            else:
                self.prefixes[len(self.passes)] = read_prefix(
                    vlm, together.prompts, together.prompt_of, together.edits, stats
                )
                self.passes.append(together)
        self.waiting = deque(
            (n, k) for n, one in enumerate(self.passes) for k in range(len(one.rows))
        )

    def take(
        self, last_tokens: int, place: Place | None = None
    ) -> tuple[list[DecodingRow], Prefilled, list[int]]:
        """The next rows with their KL, their prefill, and the index of each row in it.

        These are all rows of a complete pass, or ``last_tokens`` rows whose last prompt token is
        read now, with keys and values where ``place`` says.
        """
        first, _ = self.waiting[0]
        complete = first not in self.prefixes
        taken: list[PrefixRow] = []
        while self.waiting and (complete or len(taken) < last_tokens):
            number, _ = self.waiting[0]
            if number != first if complete else number not in self.prefixes:
                break
            taken.append(self.waiting.popleft())
        if complete:
            one = self.passes[first]
            prefilled = read_in_single_pass(
                self.vlm, one.prompts, one.prompt_of, one.edits, self.stats
            )
            position = {(first, k): k for k in range(len(one.prompt_of))}
        else:
            unmeasured = self._unmeasured_prompts(taken) if self.references else {}
            needed = list(dict.fromkeys([*taken, *unmeasured.values()]))
            prefilled = read_last_token(self.vlm, self.prefixes, needed, self.stats, place)
            position = {prefix_row: k for k, prefix_row in enumerate(needed)}
        if self.references:
            self._measure_kl(taken, prefilled, position, self.references)
        return [self._row(at) for at in taken], prefilled, [position[at] for at in taken]

    def _row(self, at: PrefixRow) -> DecodingRow:
        number, k = at
        return self.passes[number].rows[k]

    def _unmeasured_prompts(self, taken: Sequence[PrefixRow]) -> dict[int, PrefixRow]:
        """Unedited rows by id() of their prompt, where KL needs logits that are not known yet."""
        own = {id(self._row(at).prompt): at[0] for at in taken if self._row(at).reference is None}
        return {
            key: (number, self.passes[number].unedited[key])
            for key, number in own.items()
            if key not in self.unedited_logits
        }

    def _measure_kl(
        self,
        taken: Sequence[PrefixRow],
        prefilled: Prefilled,
        position: dict[PrefixRow, int],
        references: ReferenceLogits,
    ) -> None:
        """Set each row's KL of the first response token against the unedited prompt, both ways."""
        for key, at in self._unmeasured_prompts(taken).items():
            self.unedited_logits[key] = prefilled.logits[prefilled.state_of[position[at]]]
        for row in map(self._row, taken):
            row.kl = row.kl_base = 0.0
        changed = [at for at in taken if self._row(at).edits or self._row(at).reference is not None]
        device = prefilled.logits.device
        for start in range(0, len(changed), KL_ROWS):
            some = changed[start : start + KL_ROWS]
            states = torch.tensor([prefilled.state_of[position[at]] for at in some], device=device)
            rows = [self._row(at) for at in some]
            unedited = torch.stack(
                [
                    self.unedited_logits[id(row.prompt)]
                    if row.reference is None
                    else references.logits(row).to(device)
                    for row in rows
                ]
            )
            both = divergences(prefilled.logits[states], unedited)
            for row, kl, kl_base in zip(rows, *(kls.tolist() for kls in both), strict=True):
                row.kl, row.kl_base = kl, kl_base


def _split_at_prompts(rows: Sequence[DecodingRow], most: int) -> Iterator[list[DecodingRow]]:
    """Split rows, sorted by prompt, into lists of at most ``most``, or of one prompt."""
    chunk: list[DecodingRow] = []
    for _, of_prompt in groupby(rows, key=lambda row: id(row.prompt)):
        added = list(of_prompt)
        if chunk and len(chunk) + len(added) > most:
            yield chunk
            chunk = []
        chunk += added
    yield chunk
