"""Answer rows whose model cannot share: each reads its own prompt, as transformers prepares it.

Enters through ``generate(custom_generate=...)``, so that masks, positions, caches and inputs of
every family are what its own code makes of them. Rows still have edits of their own, and one that
has ended leaves the batch.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from calib.engine.batching import Room
from calib.engine.edits import SiteEdits, edits_by_site, of_response
from calib.engine.reference_logits import ReferenceLogits, divergence
from calib.engine.request import DecodingRow, Stats
from calib.engine.sampling import Stopping
from calib.models.layers import LayerSite, decoder, edit_activations
from calib.models.load import VLM
from calib.models.prompt_batch import PromptBatch, collate, prompt_positions


def answer_without_sharing(
    vlm: VLM,
    rows: Sequence[DecodingRow],
    room: Room,
    finish: Stopping,
    bases: ReferenceLogits | None,
    tally: Stats,
) -> None:
    """Answer rows in batches of their own; KL is measured where there are ``bases``."""
    batch: list[DecodingRow] = []
    for row in rows:
        if batch and (len(batch) == room.slots or not _alike(row, batch[0], finish)):
            _answer(vlm, batch, finish, bases, tally)
            batch = []
        batch.append(row)
    if batch:
        _answer(vlm, batch, finish, bases, tally)


def _alike(row: DecodingRow, other: DecodingRow, finish: Stopping) -> bool:
    """Whether two rows can stand in one batch and answer as they do alone."""
    if finish.chooser.counts_length and row.prompt is not other.prompt:
        return False  # padding would be counted
    return row.prompt.batch_key == other.prompt.batch_key


def _answer(
    vlm: VLM,
    rows: Sequence[DecodingRow],
    finish: Stopping,
    bases: ReferenceLogits | None,
    tally: Stats,
) -> None:
    # The unedited prompt is what KL is measured against: read along where nobody asks for it.
    have = {id(row.prompt) for row in rows if not row.edits}
    compared = {id(row.prompt): row.prompt for row in rows if row.base is None}
    along = [DecodingRow(-1, prompt, ()) for key, prompt in compared.items() if key not in have]
    together = [*rows, *(along if bases else ())]
    batch = collate(vlm, [row.prompt for row in together])
    with _editing(vlm, batch, together) as edits:
        vlm.model.generate(
            **batch.inputs,
            max_new_tokens=finish.max_new_tokens,
            num_beams=1,
            **finish.chooser.sampling,
            custom_generate=_Loop(together, edits, finish, bases, tally).__call__,
        )
    tally.prefill_token_layers += batch.tokens.numel() * vlm.num_layers


class _Loop:
    """A ``custom_generate`` function over rows that leave as they end."""

    def __init__(
        self,
        rows: Sequence[DecodingRow],
        edits: "_Edits",
        finish: Stopping,
        bases: ReferenceLogits | None,
        tally: Stats,
    ) -> None:
        self.rows, self.edits, self.finish = list(rows), edits, finish
        self.bases, self.tally = bases, tally

    def __call__(
        self,
        model: Any,
        input_ids: torch.Tensor,
        logits_processor: Any,
        stopping_criteria: Any,
        generation_config: Any,
        **state: Any,
    ) -> torch.Tensor:
        prompt = input_ids
        for step in range(self.finish.max_new_tokens):
            inputs = model.prepare_inputs_for_generation(
                input_ids,
                next_sequence_length=None if step == 0 else 1,
                is_first_iteration=step == 0,
                **state,
            )
            outputs = model(**inputs, return_dict=True)
            state = model._update_model_kwargs_for_generation(
                outputs, state, is_encoder_decoder=False
            )
            logits = outputs.logits[:, -1].to(torch.float32, copy=True)  # [rows, vocabulary]
            if step == 0 and self.bases:
                _measure(self.rows, logits, self.bases)
            if step > 0:
                self.tally.decode_row_steps += len(self.rows)
            # Those that count tokens were made for this batch, in which nothing is padded.
            counting = self.finish.chooser.counts_length is not None
            scores = (
                logits_processor(input_ids, logits)
                if counting
                else self.finish.scores(self.rows, logits)
            )
            chosen = self.finish.write(self.rows, scores)
            flying = [
                k for k, r in enumerate(self.rows) if r.index >= 0 and not self.finish.ended(r)
            ]
            if not flying:
                break
            input_ids = torch.cat([input_ids, chosen[:, None]], dim=1)
            if len(flying) < len(self.rows):
                kept = torch.tensor(flying, device=input_ids.device)
                state = _select(state, kept, len(self.rows))
                self.edits.keep(kept)
                input_ids = input_ids[kept]
                self.rows = [self.rows[k] for k in flying]
        return prompt


def _measure(rows: Sequence[DecodingRow], logits: torch.Tensor, bases: ReferenceLogits) -> None:
    """Set each row's KL(edited || unedited) of the first response token, in nats."""
    own = {id(row.prompt): k for k, row in enumerate(rows) if not row.edits}
    for row, found in zip(rows, logits, strict=True):
        if row.base is not None:
            row.kl = float(divergence(found, bases.logits(row).to(found.device)))
        else:
            row.kl = float(divergence(found, logits[own[id(row.prompt)]])) if row.edits else 0.0


def _select(state: dict[str, Any], kept: torch.Tensor, rows: int) -> dict[str, Any]:
    """The generation state of some rows; what has no row axis stays as it is."""
    state["past_key_values"].batch_select_indices(kept)
    for key, value in state.items():
        if torch.is_tensor(value) and key == "position_ids" and value.dim() == 3:
            state[key] = value[:, kept]  # multimodal rotary positions: [axes, rows, length]
        elif torch.is_tensor(value) and value.dim() > 0 and value.shape[0] == rows:
            state[key] = value[kept]
    return state


class _Edits:
    """The edits by site: those of the prompt first, then those of generated tokens."""

    def __init__(
        self, prompt: dict[LayerSite, SiteEdits], response: dict[LayerSite, SiteEdits]
    ) -> None:
        self.prompt, self.response = prompt, response
        self.passes = 0

    def keep(self, order: torch.Tensor) -> None:
        """Go on with some rows only, after the prompt. # [kept] int64"""
        for edits in self.response.values():
            edits.keep(order)

    def apply(self, at: LayerSite, hidden: torch.Tensor) -> torch.Tensor:
        edits = (self.prompt if self.passes <= 1 else self.response).get(at)
        return hidden if edits is None else edits.apply(hidden)


@contextmanager
def _editing(vlm: VLM, batch: PromptBatch, rows: Sequence[DecodingRow]) -> Iterator[_Edits]:
    """While open, the first pass is the prompts, every later one a generated token."""
    masks = {
        edit.positions: prompt_positions(batch, edit.positions)
        for row in rows
        for edit in row.edits
    }
    edits = _Edits(
        edits_by_site([row.edits for row in rows], vlm.device, masks),
        edits_by_site([of_response(row.edits) for row in rows], vlm.device),
    )

    def count(module: Any, args: Any) -> None:
        edits.passes += 1

    counter = decoder(vlm.model).register_forward_pre_hook(count)
    try:
        with edit_activations(vlm.model, {at: partial(edits.apply, at) for at in edits.prompt}):
            yield edits
    finally:
        counter.remove()
