"""Answer rows whose model cannot share: each reads its own prompt, as transformers prepares it.

Enters through ``generate(custom_generate=...)``, so that masks, positions, caches and inputs of
every family are what its own code makes of them. Rows still have edits of their own, and one that
has ended leaves the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch

from calib.engine.edit import REACH, LayerEdits, layers_of
from calib.engine.packing import Room
from calib.engine.row import Row
from calib.vlm.layers import decoder, decoder_layers
from calib.vlm.load import VLM
from calib.vlm.prompts import PromptBatch, collate, prompt_positions

if TYPE_CHECKING:
    from calib.engine.generate import Engine


def answer_unshared(engine: Engine, rows: Sequence[Row], room: Room) -> None:
    """Answer rows in batches of their own."""
    batch: list[Row] = []
    for row in rows:
        # Mllama's blocks leave layers out for a batch without pictures, not for a row.
        if batch and (len(batch) == room.slots or row.prompt.pictured != batch[0].prompt.pictured):
            _answer(engine, batch)
            batch = []
        batch.append(row)
    if batch:
        _answer(engine, batch)


def _answer(engine: Engine, rows: Sequence[Row]) -> None:
    # The unedited prompt is what KL is measured against: read along where nobody asks for it.
    have = {id(row.prompt) for row in rows if not row.edits}
    extra = {id(row.prompt): Row(-1, row.prompt, ()) for row in rows if id(row.prompt) not in have}
    together = [*rows, *extra.values()]
    batch = collate(engine.vlm, [row.prompt for row in together])
    with _editing(engine.vlm, batch, together) as edits:
        engine.vlm.model.generate(
            **batch.inputs,
            max_new_tokens=engine.decoding.max_new_tokens,
            do_sample=False,
            num_beams=1,
            custom_generate=_Loop(engine, together, edits).__call__,
        )


class _Loop:
    """A ``custom_generate`` function over rows that leave as they end."""

    def __init__(self, engine: Engine, rows: Sequence[Row], edits: _Edits) -> None:
        self.engine, self.rows, self.edits = engine, list(rows), edits

    def __call__(
        self,
        model: Any,
        input_ids: torch.Tensor,
        logits_processor: Any,
        stopping_criteria: Any,
        generation_config: Any,
        **state: Any,
    ) -> torch.Tensor:
        prompt, engine = input_ids, self.engine
        for step in range(generation_config.max_new_tokens):
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
            if step == 0:
                _measure(self.rows, logits)
            else:
                engine.tally.decode_row_steps += len(self.rows)
            scores = engine.chooser.processed(input_ids, logits)
            chosen = engine.chooser.choose(scores, [row.generator for row in self.rows])
            for row, token in zip(self.rows, chosen.tolist(), strict=True):
                row.tokens.append(token)
            flying = [
                k for k, row in enumerate(self.rows) if row.index >= 0 and not engine.ended(row)
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


def _measure(rows: Sequence[Row], logits: torch.Tensor) -> None:
    """Set each row's KL(edited || unedited) of the first response token, in nats."""
    found = logits.log_softmax(-1)
    base = {id(row.prompt): k for k, row in enumerate(rows) if not row.edits}
    for k, row in enumerate(rows):
        p, q = found[k].double(), found[base[id(row.prompt)]].double()
        row.kl = max(0.0, float((p.exp() * (p - q)).nan_to_num(0.0).sum())) if row.edits else 0.0


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
    """The edits by layer: those of the prompt first, then those of generated tokens."""

    def __init__(self, prompt: dict[int, LayerEdits], response: dict[int, LayerEdits]) -> None:
        self.prompt, self.response = prompt, response
        self.passes = 0

    def keep(self, order: torch.Tensor) -> None:
        """Go on with some rows only, after the prompt. # [kept] int64"""
        for edits in self.response.values():
            edits.keep(order)

    def apply(self, layer: int, hidden: torch.Tensor) -> torch.Tensor:
        edits = (self.prompt if self.passes <= 1 else self.response).get(layer)
        return hidden if edits is None else edits.apply(hidden)


@contextmanager
def _editing(vlm: VLM, batch: PromptBatch, rows: Sequence[Row]) -> Iterator[_Edits]:
    """While open, the first pass is the prompts, every later one a generated token."""
    masks = {
        edit.positions: prompt_positions(batch, edit.positions)
        for row in rows
        for edit in row.edits
    }
    later = [tuple(e for e in row.edits if REACH[e.positions][2]) for row in rows]
    device = vlm.device

    def at(layer: int, edits: Sequence[Any]) -> list[Any]:
        return [tuple(edit for edit in found if edit.layer == layer) for found in edits]

    all_edits = [row.edits for row in rows]
    edits = _Edits(
        {k: LayerEdits(at(k, all_edits), device, masks) for k in layers_of(all_edits)},
        {k: LayerEdits(at(k, later), device) for k in layers_of(later)},
    )

    def count(module: Any, args: Any) -> None:
        edits.passes += 1

    def editor(layer: int) -> Any:
        def hook(module: Any, args: Any, output: Any) -> Any:
            if torch.is_tensor(output):
                return edits.apply(layer, output)
            return (edits.apply(layer, output[0]), *output[1:])

        return hook

    blocks = decoder_layers(vlm.model)
    with ExitStack() as stack:
        if edits.prompt:
            stack.callback(decoder(vlm.model).register_forward_pre_hook(count).remove)
        for layer in edits.prompt:
            hook = blocks[layer].register_forward_hook(editor(layer), prepend=True)
            stack.callback(hook.remove)
        yield edits
