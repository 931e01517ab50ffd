"""The greedy decode loop: a row that has ended leaves the batch, and prompts are read once.

Enters through ``generate(custom_generate=...)``, so that transformers prepares masks, positions,
caches and logits processors for every family as it always does.
"""

from typing import Any

import torch
from transformers import DynamicCache

from calib.vlm.editing import Edits
from calib.vlm.load import VLM
from calib.vlm.prompts import PromptBatch

COMPACTED_SHARE = 1 / 8
"""Ended rows are taken out once they are this share of those in flight; each time copies caches."""


class Greedy:
    """A ``custom_generate`` function that remembers what each row generated."""

    def __init__(self, edits: Edits, end_tokens: torch.Tensor) -> None:
        self.edits = edits
        self.end_tokens = end_tokens
        self.tokens: list[list[int]] = []
        self.first_logits = torch.empty(0)

    def __call__(
        self,
        model: Any,
        input_ids: torch.Tensor,
        logits_processor: Any,
        stopping_criteria: Any,
        generation_config: Any,
        **state: Any,
    ) -> torch.Tensor:
        """Generate until every row has ended or ``max_new_tokens`` are reached."""
        prompt = input_ids  # [rows, length]; returned as it is, the answers are in ``tokens``
        ends = self.end_tokens.to(input_ids.device)
        self.tokens = [[] for _ in range(len(input_ids))]
        rows = torch.arange(len(input_ids), device=input_ids.device)  # still in the batch
        ended = torch.zeros_like(rows, dtype=torch.bool)
        cached = state["past_key_values"].get_seq_length() if "past_key_values" in state else 0
        unread = input_ids.shape[1] - cached
        for step in range(generation_config.max_new_tokens):
            inputs = model.prepare_inputs_for_generation(
                input_ids,
                next_sequence_length=unread,
                is_first_iteration=step == 0,
                **state,
            )
            outputs = model(**inputs, return_dict=True)
            state = model._update_model_kwargs_for_generation(outputs, state)
            logits = outputs.logits[:, -1].to(torch.float32, copy=True)  # [rows, vocabulary]
            scores = logits_processor(input_ids, logits)
            if step == 0:
                self.first_logits = scores.cpu()
            chosen = scores.argmax(-1)
            for row, token, over in zip(
                rows.tolist(), chosen.tolist(), ended.tolist(), strict=True
            ):
                if not over:
                    self.tokens[row].append(token)
            ended = ended | torch.isin(chosen, ends)
            if ended.all():
                break
            input_ids = torch.cat([input_ids, chosen[:, None]], dim=1)
            unread = 1
            if ended.float().mean() >= COMPACTED_SHARE:
                kept = (~ended).nonzero()[:, 0]
                state = _select(state, kept, len(rows))
                self.edits.keep(kept)
                input_ids, rows, ended = input_ids[kept], rows[kept], ended[kept]
        return prompt


def _select(state: dict[str, Any], kept: torch.Tensor, rows: int) -> dict[str, Any]:
    """The generation state of some rows; what has no row axis stays as it is."""
    state["past_key_values"].batch_select_indices(kept)
    for key, value in state.items():
        if torch.is_tensor(value) and key == "position_ids" and value.dim() == 3:
            state[key] = value[:, kept]  # multimodal rotary positions: [3, rows, length]
        elif torch.is_tensor(value) and value.dim() > 0 and value.shape[0] == rows:
            state[key] = value[kept]
    return state


def can_share(vlm: VLM, batch: PromptBatch) -> bool:
    """Whether prompts can be read once for all rows.

    Positions must follow from the mask alone and no input but features may belong to tokens;
    families with multimodal positions or token types read every row's prompt whole.
    """
    plain = batch.inputs.keys() <= {"input_ids", "attention_mask", "mm_encoder_outputs"}
    return plain and not hasattr(vlm.model.model, "get_rope_index")


def read_once(vlm: VLM, batch: PromptBatch, rows: torch.Tensor) -> dict[str, Any]:
    """Read all prompt tokens but the last, once per prompt, and hand the caches to the rows.

    ``rows`` maps rows to prompts. # [rows] int64
    For rows whose edits begin at the last prompt token; returns the arguments of ``generate``.
    """
    positions = (batch.mask.cumsum(-1) - 1).clamp(min=0)
    inputs = {
        **batch.inputs,
        "input_ids": batch.tokens[:, :-1],
        "attention_mask": batch.mask[:, :-1],
        "position_ids": positions[:, :-1],
    }
    config = vlm.model.config.get_text_config(decoder=True)
    cache = DynamicCache(config=config)
    vlm.model(**inputs, past_key_values=cache, use_cache=True, logits_to_keep=1)
    cache.batch_select_indices(rows)
    return {
        "input_ids": batch.tokens[rows],
        "attention_mask": batch.mask[rows],
        "past_key_values": cache,
    }
