"""Edit activations while a model answers: every row of a batch has its own edits.

Handles are our own, registered first (so that whoever reads sees the edited state), and removed
exactly, also after an exception. Outputs are replaced, never changed in place.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from calib.vlm.layers import decoder, decoder_layers
from calib.vlm.load import VLM
from calib.vlm.prompts import Positions, PromptBatch, edits_response, prompt_positions


@dataclass(frozen=True)
class Edit:
    """Add a vector to the residual stream after one decoder block, at some positions."""

    layer: int
    """0-based decoder block; its output is edited."""
    vector: torch.Tensor
    """What is added, strength included. # [width] float32"""
    positions: Positions = "all"


@dataclass
class _LayerEdit:
    added: torch.Tensor  # [rows, width]
    prompt: torch.Tensor  # [rows, length] bool: edited prompt tokens
    response: torch.Tensor  # [rows] bool: whether generated tokens are edited


class Edits:
    """The edits in force, by layer."""

    def __init__(self, layers: dict[int, _LayerEdit]) -> None:
        self.layers = layers
        self.passes = 0

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with some rows only, after the prompt. # [kept] int64"""
        for edit in self.layers.values():
            edit.added, edit.response = edit.added[rows], edit.response[rows]

    def apply(self, layer: int, hidden: torch.Tensor) -> torch.Tensor:
        """The edited output of a layer. # [rows, length, width]"""
        edit = self.layers[layer]
        where = edit.response[:, None]
        if self.passes <= 1:  # the prompt, or the end of it that was not read before
            where = edit.prompt[:, -hidden.shape[1] :]
        added = edit.added.to(hidden)[:, None]
        return torch.where(where.to(hidden.device)[..., None], hidden + added, hidden)


@contextmanager
def editing(vlm: VLM, batch: PromptBatch, rows: Sequence[Sequence[Edit]]) -> Iterator[Edits]:
    """While open, forward passes over ``batch`` and its continuation carry the rows' edits.

    The first pass through the decoder is the prompt, every later one a generated token. A row
    without edits is bit-identical to what the model does without hooks.
    """
    edits = Edits(_plan(vlm, batch, rows))

    def count(module: Any, args: Any) -> None:
        edits.passes += 1

    def editor(layer: int) -> Any:
        def hook(module: Any, args: Any, output: Any) -> Any:
            if torch.is_tensor(output):
                return edits.apply(layer, output)
            return (edits.apply(layer, output[0]), *output[1:])

        return hook

    layers = decoder_layers(vlm.model)
    with ExitStack() as stack:
        if edits.layers:
            counter = decoder(vlm.model).register_forward_pre_hook(count)
            stack.callback(counter.remove)
        for layer in edits.layers:
            handle = layers[layer].register_forward_hook(editor(layer), prepend=True)
            stack.callback(handle.remove)
        yield edits


def _plan(vlm: VLM, batch: PromptBatch, rows: Sequence[Sequence[Edit]]) -> dict[int, _LayerEdit]:
    count, length = batch.tokens.shape
    plans: dict[int, _LayerEdit] = {}
    masks: dict[Positions, torch.Tensor] = {}
    for row, edits in enumerate(rows):
        for edit in edits:
            if edit.positions not in masks:
                masks[edit.positions] = prompt_positions(batch, edit.positions)
            plan = plans.setdefault(
                edit.layer,
                _LayerEdit(
                    torch.zeros(count, vlm.width, device=vlm.device),
                    torch.zeros(count, length, dtype=torch.bool, device=vlm.device),
                    torch.zeros(count, dtype=torch.bool, device=vlm.device),
                ),
            )
            if plan.prompt[row].any():
                raise ValueError(f"row {row} has two edits at layer {edit.layer}")
            plan.added[row] = edit.vector.to(vlm.device)
            plan.prompt[row] = masks[edit.positions][row]
            plan.response[row] = edits_response(edit.positions)
    return plans
