"""Prefill: read prompts with shared computation.

A prompt is read in two passes. The first pass reads all tokens but the last, the second pass reads
the last token, which produces the first response token. Edits with positions "response" start at
the last token, so the rows that have only such edits share the keys and values of the first pass.
In both passes, rows of a prompt share the layers below their first different edit.

A prompt is read in a single pass if its rows have nothing more to share in two (one row, or rows
that differ before the last token), or if its tokens attend to later tokens (PaliGemma).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import Cache

from calib.engine.batches.prefix_sharing import (
    ForkedLayer,
    PlacedLayer,
    PrefixStates,
    StateSource,
    fork,
    forking,
)
from calib.engine.edits import Edits, Masks
from calib.engine.request import Stats
from calib.models.load import VLM
from calib.models.prompt_batch import PromptBatch, collate, prompt_positions
from calib.models.prompts import Prompt

KeysValues = tuple[torch.Tensor, torch.Tensor]
"""Keys and values of one layer. # two of [states, heads, length, head width]"""

Place = Callable[[int, int, list[KeysValues]], list[tuple[torch.Tensor, ...]] | None]
"""Memory for some rows with some columns each, with heads and widths like given keys and values of
all layers. None if there is no place for so many rows.
# by layer, two of [rows, heads, length, head width]"""


@dataclass
class Prefix:
    """Prompts read up to, but without, their last token."""

    prompts: list[Prompt]
    batch: PromptBatch
    prompt_of: list[int]
    """The prompt of each row. # [rows]"""
    edits: list[Edits]  # [rows]
    states: PrefixStates | None = None
    keys_values: list[KeysValues] = field(default_factory=list)
    """By layer, for the states at its input. Empty if all prompts have one token."""

    def last_token(
        self, prompt: int, length: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """A prompt's last token, its attention mask of ``length`` columns, and its position.

        # [1], [length], [1] or [axes, 1]
        """
        mask = self.batch.attention_mask[prompt]
        padded = torch.nn.functional.pad(mask, (length - len(mask), 0))
        return self.batch.tokens[prompt, -1:], padded, self.batch.position_ids[..., prompt, -1:]


PrefixRow = tuple[int, int]
"""The number of a pass or prefix, and a row in it."""


@dataclass
class Prefilled:
    """Rows whose prompt is read completely; decoding starts here."""

    logits: torch.Tensor  # [states, vocabulary] float32
    state_of: list[int]
    """The state of each row after the last layer. # [rows]"""
    keys_values: list[KeysValues]
    """By layer, for the states at its input. Empty if rows have their own, in the places that were
    given for them."""
    layer_state_of: list[list[int]]
    """The state of each row at the input of each layer. # [layers][rows]"""
    length: int
    """Columns of keys and values."""


def read_prefix(
    vlm: VLM,
    prompts: Sequence[Prompt],
    prompt_of: Sequence[int],
    edits: Sequence[Edits],
    stats: Stats,
) -> Prefix:
    """First pass: read prompts without their last token."""
    batch = collate(vlm, prompts)
    prefix = Prefix(list(prompts), batch, list(prompt_of), list(edits))
    length = batch.tokens.shape[1] - 1
    if length == 0:
        return prefix
    # Rows that differ only in edits of the last token are in one state here.
    prefix.states = fork(prompt_of, edits, vlm.num_layers, (True, False), computed=(True, False))
    cache = DynamicCache()
    with forking(vlm, prefix.states, _masks(batch, edits, slice(None, -1))):
        vlm.model.base_model(
            **_inputs(batch, slice(None, -1)), past_key_values=cache, use_cache=True
        )
    prefix.keys_values = [(layer.keys, layer.values) for layer in cache.layers]
    _count(stats, prefix.states, vlm.num_layers, length)
    return prefix


def read_last_token(
    vlm: VLM,
    prefixes: Mapping[int, Prefix],
    rows: Sequence[PrefixRow],
    stats: Stats,
    place: Place | None = None,
) -> Prefilled:
    """Second pass: read the last prompt token of some rows.

    Keys and values are written where ``place`` says, so that they never exist twice.
    """
    # Numbered by appearance, as ``fork`` requires.
    prompts = list(dict.fromkeys((k, prefixes[k].prompt_of[row]) for k, row in rows))
    number = {prompt: index for index, prompt in enumerate(prompts)}
    states = fork(
        [number[k, prefixes[k].prompt_of[row]] for k, row in rows],
        [prefixes[k].edits[row] for k, row in rows],
        vlm.num_layers,
        differ_in=(True, True),
        computed=(False, True),
    )
    length = max(prefixes[k].batch.tokens.shape[1] for k, _ in prompts)
    inputs = [prefixes[k].last_token(prompt, length) for k, prompt in prompts]
    like = next((prefixes[k].keys_values for k, _ in prompts if prefixes[k].keys_values), None)
    places = place(len(rows), length, like) if place is not None and like else None
    layers: list[ForkedLayer]
    if places is not None:
        layers = [
            PlacedLayer(_sources(prefixes, rows, layer, vlm.device), places[layer], state_of, first)
            for layer, (state_of, first) in enumerate(
                zip(states.of_row[:-1], states.row_of[:-1], strict=True)
            )
        ]
    else:
        layers = [
            ForkedLayer(_sources(prefixes, [rows[row] for row in first], layer, vlm.device))
            for layer, first in enumerate(states.row_of[:-1])
        ]
    with forking(vlm, states, None):
        output = vlm.model(
            input_ids=torch.stack([token for token, _, _ in inputs]),
            attention_mask=torch.stack([mask for _, mask, _ in inputs]),
            position_ids=torch.stack([position for _, _, position in inputs], dim=-2),
            past_key_values=(cache := Cache(layers=layers) if length > 1 else DynamicCache()),
            use_cache=True,
        )
    _count(stats, states, vlm.num_layers, 1)
    return _prefilled(output.logits, states, cache, length, placed=places is not None)


def _sources(
    prefixes: Mapping[int, Prefix],
    rows: Sequence[PrefixRow],
    layer: int,
    device: torch.device,
) -> list[StateSource]:
    """The keys and values that each row continues from; one row of each state gives the states'."""
    sources = []
    for k in dict.fromkeys(k for k, _ in rows):
        prefix = prefixes[k]
        if prefix.states is None:
            continue  # prompts of one token have no earlier keys and values
        in_prefix = [(state, row) for state, (owner, row) in enumerate(rows) if owner == k]
        states = torch.tensor([state for state, _ in in_prefix], device=device)
        source_states = [prefix.states.of_row[layer][row] for _, row in in_prefix]
        sources.append(
            StateSource(
                prefix.keys_values[layer], states, torch.tensor(source_states, device=device)
            )
        )
    return sources


def read_in_single_pass(
    vlm: VLM,
    prompts: Sequence[Prompt],
    prompt_of: Sequence[int],
    edits: Sequence[Edits],
    stats: Stats,
) -> Prefilled:
    """Read complete prompts."""
    batch = collate(vlm, prompts)
    states = fork(prompt_of, edits, vlm.num_layers, (True, True), computed=(True, True))
    cache = DynamicCache()
    with forking(vlm, states, _masks(batch, edits, slice(None))):
        output = vlm.model(
            **_inputs(batch, slice(None)), past_key_values=cache, use_cache=True, logits_to_keep=1
        )
    _count(stats, states, vlm.num_layers, batch.tokens.shape[1])
    return _prefilled(output.logits, states, cache, batch.tokens.shape[1])


def _prefilled(
    logits: torch.Tensor, states: PrefixStates, cache: Cache, length: int, placed: bool = False
) -> Prefilled:
    keys_values = [] if placed else [(layer.keys, layer.values) for layer in cache.layers]
    last = logits[:, -1].to(torch.float32, copy=True)
    return Prefilled(last, states.of_row[-1], keys_values, states.of_row[:-1], length)


def _inputs(batch: PromptBatch, columns: slice) -> dict[str, Any]:
    return {
        "input_ids": batch.tokens[:, columns],
        "attention_mask": batch.attention_mask[:, columns],
        "position_ids": batch.position_ids[..., columns],
        **{key: value[:, columns] for key, value in batch.token_inputs.items()},
        **batch.image_inputs,
    }


def _masks(batch: PromptBatch, edits: Sequence[Edits], columns: slice) -> Masks:
    names = {edit.positions for row_edits in edits for edit in row_edits}
    return {name: prompt_positions(batch, name)[:, columns] for name in names}


def _count(stats: Stats, states: PrefixStates, layers: int, length: int) -> None:
    stats.prefill_token_layers += length * sum(states.count(layer) for layer in range(layers))
