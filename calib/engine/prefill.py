"""Read prompts: what rows share is computed once, and forks where an edit tells them apart.

A prompt is read in two passes. The first reads all of it but the last token, the second the last
token, which produces the first token of the response. Edits that begin with the response leave the
first pass the same for all rows, so its keys and values serve them all; in both passes the rows of
one prompt go through the layers below their first edit as one.

A model whose prompt tokens look ahead at the last one (PaliGemma) is read in a single pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import Cache

from calib.engine.cache import ForkedLayer, Source
from calib.engine.edits import Edits, Masks
from calib.engine.prefix_sharing import PrefixStates, fork, forking
from calib.engine.request import Stats
from calib.models.load import VLM
from calib.models.prompt_batch import PromptBatch, collate, prompt_positions
from calib.models.prompts import Prompt

KeysValues = tuple[torch.Tensor, torch.Tensor]
"""Of one layer, by state. # [states, heads, length, head width] each"""


@dataclass
class Prefix:
    """Prompts read up to their last token, and the rows that will go on from there."""

    prompts: list[Prompt]
    batch: PromptBatch
    prompt_of: list[int]
    """The prompt of each row. # [rows]"""
    edits: list[Edits]  # [rows]
    states: PrefixStates | None = None
    held: list[KeysValues] = field(default_factory=list)
    """Keys and values of each layer by state at its input; empty where nothing was read."""

    def last(self, prompt: int, length: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Last token, mask of ``length`` columns and last position of a prompt.

        # [1], [length], [1] or [axes, 1]
        """
        mask = self.batch.attention_mask[prompt]
        padded = torch.nn.functional.pad(mask, (length - len(mask), 0))
        return self.batch.tokens[prompt, -1:], padded, self.batch.position_ids[..., prompt, -1:]


@dataclass
class Read:
    """Rows whose prompt has been read whole: what decoding starts from."""

    logits: torch.Tensor  # [states, vocabulary] float32
    state_of: list[int]
    """The final state of each row."""
    held: list[KeysValues]  # by layer
    held_state_of: list[list[int]]
    """By layer, the state of each row at its input."""
    length: int
    """Columns of keys and values."""


def read_prefix(
    vlm: VLM,
    prompts: Sequence[Prompt],
    prompt_of: Sequence[int],
    edits: Sequence[Edits],
    tally: Stats,
) -> Prefix:
    """First pass: the prompts without their last token."""
    batch = collate(vlm, prompts)
    prefix = Prefix(list(prompts), batch, list(prompt_of), list(edits))
    length = batch.tokens.shape[1] - 1
    if length == 0:
        return prefix
    # Edits of the last token alone do not tell rows apart before it.
    prefix.states = fork(prompt_of, edits, vlm.num_layers, parts=(True, False), shown=(True, False))
    cache = DynamicCache()
    with forking(vlm, prefix.states, _masks(batch, edits, slice(None, -1))):
        vlm.model.base_model(
            **_inputs(batch, slice(None, -1)), past_key_values=cache, use_cache=True
        )
    prefix.held = [(layer.keys, layer.values) for layer in cache.layers]
    _count(tally, prefix.states, vlm.num_layers, length)
    return prefix


Entry = tuple[int, int]
"""A row that was read up to its last token: the number of its prefix, and its row there."""


def read_last(vlm: VLM, prefixes: Sequence[Prefix], entries: Sequence[Entry], tally: Stats) -> Read:
    """Second pass, for some rows: the last token of their prompts."""
    # Prompts are numbered by appearance, so that a state at the first layer is a prompt.
    prompts = list(dict.fromkeys((k, prefixes[k].prompt_of[row]) for k, row in entries))
    number = {prompt: place for place, prompt in enumerate(prompts)}
    states = fork(
        [number[k, prefixes[k].prompt_of[row]] for k, row in entries],
        [prefixes[k].edits[row] for k, row in entries],
        vlm.num_layers,
        parts=(True, True),
        shown=(False, True),
    )
    length = max(prefixes[k].batch.tokens.shape[1] for k, _ in prompts)
    shown = [prefixes[k].last(prompt, length) for k, prompt in prompts]
    layers = [
        ForkedLayer(_sources(prefixes, [entries[row] for row in first], layer, vlm.device))
        for layer, first in enumerate(states.row_of[:-1])
    ]
    with forking(vlm, states, None):
        output = vlm.model(
            input_ids=torch.stack([token for token, _, _ in shown]),
            attention_mask=torch.stack([mask for _, mask, _ in shown]),
            position_ids=torch.stack([place for _, _, place in shown], dim=-2),
            past_key_values=(cache := Cache(layers=layers) if length > 1 else DynamicCache()),
            use_cache=True,
        )
    _count(tally, states, vlm.num_layers, 1)
    return _read(output.logits, states, cache)


def _sources(
    prefixes: Sequence[Prefix], entries: Sequence[Entry], layer: int, device: torch.device
) -> list[Source]:
    """Where the states that ``entries`` stand for find their keys and values."""
    sources = []
    for k in dict.fromkeys(k for k, _ in entries):
        prefix = prefixes[k]
        if prefix.states is None:
            continue  # prompts of one token: nothing was held
        chosen = [(place, row) for place, (owner, row) in enumerate(entries) if owner == k]
        states = torch.tensor([place for place, _ in chosen], device=device)
        of = [prefix.states.of_row[layer][row] for _, row in chosen]
        sources.append(Source(prefix.held[layer], states, torch.tensor(of, device=device)))
    return sources


def read_whole(
    vlm: VLM,
    prompts: Sequence[Prompt],
    prompt_of: Sequence[int],
    edits: Sequence[Edits],
    tally: Stats,
) -> Read:
    """Both passes in one, where the tokens of a prompt look ahead."""
    batch = collate(vlm, prompts)
    states = fork(prompt_of, edits, vlm.num_layers, parts=(True, True), shown=(True, True))
    cache = DynamicCache()
    with forking(vlm, states, _masks(batch, edits, slice(None))):
        output = vlm.model(
            **_inputs(batch, slice(None)), past_key_values=cache, use_cache=True, logits_to_keep=1
        )
    _count(tally, states, vlm.num_layers, batch.tokens.shape[1])
    return _read(output.logits, states, cache)


def _read(logits: torch.Tensor, states: PrefixStates, cache: Cache) -> Read:
    held = [(layer.keys, layer.values) for layer in cache.layers]
    final = logits[:, -1].to(torch.float32, copy=True)
    return Read(final, states.of_row[-1], held, states.of_row[:-1], held[0][0].shape[-2])


def _inputs(batch: PromptBatch, columns: slice) -> dict[str, Any]:
    return {
        "input_ids": batch.tokens[:, columns],
        "attention_mask": batch.attention_mask[:, columns],
        "position_ids": batch.position_ids[..., columns],
        **{key: value[:, columns] for key, value in batch.token_inputs.items()},
        **batch.image_inputs,
    }


def _masks(batch: PromptBatch, edits: Sequence[Edits], columns: slice) -> Masks:
    names = {edit.positions for row in edits for edit in row}
    return {name: prompt_positions(batch, name)[:, columns] for name in names}


def _count(tally: Stats, states: PrefixStates, layers: int, length: int) -> None:
    tally.prefill_token_layers += length * sum(states.count(layer) for layer in range(layers))
