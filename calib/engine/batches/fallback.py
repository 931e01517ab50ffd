"""Decode rows without shared computation: each row reads its own prompt.

For models that the shared path does not support. It runs inside transformers' own ``generate``
through ``custom_generate``, so that each family's own code makes the masks, positions, caches and
inputs. Rows have their own edits, and rows that end leave the batch.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from calib.engine.activations import ReferenceLogits, divergences
from calib.engine.batches.batching import Capacity
from calib.engine.edits import SiteEdits, edits_by_site, response_edits
from calib.engine.request import DecodingRow, Stats
from calib.engine.sampling import Stopping
from calib.models.layers import LayerSite, decoder, edit_activations
from calib.models.load import VLM
from calib.models.prompt_batch import PromptBatch, collate, prompt_positions


def decode_without_sharing(
    vlm: VLM,
    rows: Sequence[DecodingRow],
    capacity: Capacity,
    stopping: Stopping,
    references: ReferenceLogits | None,
    stats: Stats,
) -> None:
    """Generate the responses of rows, batch by batch; measures KL unless ``references`` is None."""
    batch: list[DecodingRow] = []
    for row in rows:
        if batch and (len(batch) == capacity.rows or not _can_share_batch(row, batch[0], stopping)):
            _decode_batch(vlm, batch, stopping, references, stats)
            batch = []
        batch.append(row)
    if batch:
        _decode_batch(vlm, batch, stopping, references, stats)


def _can_share_batch(row: DecodingRow, other: DecodingRow, stopping: Stopping) -> bool:
    """Whether two rows get the same responses in one batch as alone."""
    if stopping.sampler.length_processor and row.prompt is not other.prompt:
        return False  # a processor that counts tokens would count padding
    return row.prompt.batch_key == other.prompt.batch_key


def _decode_batch(
    vlm: VLM,
    rows: Sequence[DecodingRow],
    stopping: Stopping,
    references: ReferenceLogits | None,
    stats: Stats,
) -> None:
    # KL needs the unedited prompt; it is added to the batch if no row has it.
    present = {id(row.prompt) for row in rows if not row.edits}
    needed = {id(row.prompt): row.prompt for row in rows if row.reference is None}
    unedited = [DecodingRow(-1, prompt, ()) for key, prompt in needed.items() if key not in present]
    all_rows = [*rows, *(unedited if references else ())]
    batch = collate(vlm, [row.prompt for row in all_rows])
    with _editing(vlm, batch, all_rows) as edits:
        vlm.model.generate(
            **batch.inputs,
            max_new_tokens=stopping.max_new_tokens,
            num_beams=1,
            **stopping.sampler.arguments,
            custom_generate=_DecodingLoop(all_rows, edits, stopping, references, stats).__call__,
        )
    stats.prefill_token_layers += batch.tokens.numel() * vlm.num_layers


class _DecodingLoop:
    """A ``custom_generate`` function in which rows leave the batch when they end."""

    def __init__(
        self,
        rows: Sequence[DecodingRow],
        edits: "_BatchEdits",
        stopping: Stopping,
        references: ReferenceLogits | None,
        stats: Stats,
    ) -> None:
        self.rows, self.edits, self.stopping = list(rows), edits, stopping
        self.references, self.stats = references, stats

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
        for step in range(self.stopping.max_new_tokens):
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
            if step == 0 and self.references:
                _measure_kl(self.rows, logits, self.references)
            if step > 0:
                self.stats.decode_row_steps += len(self.rows)
            # Processors that count tokens are those of this call to generate; such a batch has a
            # single prompt and therefore no padding.
            scores = (
                logits_processor(input_ids, logits)
                if self.stopping.sampler.length_processor
                else self.stopping.scores(self.rows, logits)
            )
            tokens = self.stopping.append_tokens(self.rows, scores)
            remaining = [
                k
                for k, row in enumerate(self.rows)
                if row.index >= 0 and not self.stopping.has_ended(row)
            ]
            if not remaining:
                break
            input_ids = torch.cat([input_ids, tokens[:, None]], dim=1)
            if len(remaining) < len(self.rows):
                order = torch.tensor(remaining, device=input_ids.device)
                state = _select_rows(state, order, len(self.rows))
                self.edits.select_rows(order)
                input_ids = input_ids[order]
                self.rows = [self.rows[k] for k in remaining]
        return prompt


def _measure_kl(
    rows: Sequence[DecodingRow], logits: torch.Tensor, references: ReferenceLogits
) -> None:
    """Set each row's KL of the first response token against the unedited prompt, both ways."""
    unedited = {id(row.prompt): k for k, row in enumerate(rows) if not row.edits}
    for row, own in zip(rows, logits, strict=True):
        if row.reference is not None:
            base = references.logits(row).to(own.device)
        elif row.edits:
            base = logits[unedited[id(row.prompt)]]
        else:
            row.kl = row.kl_base = 0.0
            continue
        row.kl, row.kl_base = map(float, divergences(own, base))


def _select_rows(state: dict[str, Any], order: torch.Tensor, rows: int) -> dict[str, Any]:
    """The generation state of some rows; entries without a row axis are unchanged."""
    # By beam search's own method: batch_select_indices lacks linear attention and convolutions.
    state["past_key_values"].reorder_cache(order)
    for key, value in state.items():
        if torch.is_tensor(value) and key == "position_ids" and value.dim() == 3:
            state[key] = value[:, order]  # multimodal rotary positions: [axes, rows, length]
        elif torch.is_tensor(value) and value.dim() > 0 and value.shape[0] == rows:
            state[key] = value[order]
    return state


class _BatchEdits:
    """The edits of a batch by site, separately for the prompt and for generated tokens."""

    def __init__(
        self, prompt: dict[LayerSite, SiteEdits], response: dict[LayerSite, SiteEdits]
    ) -> None:
        self.prompt, self.response = prompt, response
        self.passes = 0

    def select_rows(self, order: torch.Tensor) -> None:
        """Keep only these rows, after the prompt has been read. # [kept rows] int64"""
        for edits in self.response.values():
            edits.select_rows(order)

    def apply(self, at: LayerSite, hidden: torch.Tensor) -> torch.Tensor:
        """The edited activations at a site. # [rows, tokens, width]"""
        edits = (self.prompt if self.passes <= 1 else self.response).get(at)
        return hidden if edits is None else edits.apply(hidden)


@contextmanager
def _editing(vlm: VLM, batch: PromptBatch, rows: Sequence[DecodingRow]) -> Iterator[_BatchEdits]:
    """Edit activations while open: the first pass reads prompts, later ones generated tokens."""
    masks = {
        edit.positions: prompt_positions(batch, edit.positions)
        for row in rows
        for edit in row.edits
    }
    edits = _BatchEdits(
        edits_by_site([row.edits for row in rows], vlm.device, masks),
        edits_by_site([response_edits(row.edits) for row in rows], vlm.device),
    )

    def count(module: Any, args: Any) -> None:
        edits.passes += 1

    counter = decoder(vlm.model).register_forward_pre_hook(count)
    try:
        with edit_activations(vlm.model, {at: partial(edits.apply, at) for at in edits.prompt}):
            yield edits
    finally:
        counter.remove()
