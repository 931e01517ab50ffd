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


@contextmanager
def editing(vlm: VLM, batch: PromptBatch, rows: Sequence[Sequence[Edit]]) -> Iterator[None]:
    """While open, forward passes over ``batch`` and its continuation carry the rows' edits.

    The first pass through the decoder is the prompt, every later one a generated token. A row
    without edits is bit-identical to what the model does without hooks.
    """
    plans = _plan(vlm, batch, rows)
    passes = 0

    def count(module: Any, args: Any) -> None:
        nonlocal passes
        passes += 1

    def editor(plan: _LayerEdit) -> Any:
        def hook(module: Any, args: Any, output: Any) -> Any:
            hidden = output if torch.is_tensor(output) else output[0]  # [rows, length, width]
            where = plan.prompt if passes <= 1 else plan.response[:, None]
            where, added = where.to(hidden.device), plan.added.to(hidden)
            edited = torch.where(where[..., None], hidden + added[:, None], hidden)
            return edited if torch.is_tensor(output) else (edited, *output[1:])

        return hook

    layers = decoder_layers(vlm.model)
    with ExitStack() as stack:
        if plans:
            counter = decoder(vlm.model).register_forward_pre_hook(count)
            stack.callback(counter.remove)
        for layer, plan in plans.items():
            handle = layers[layer].register_forward_hook(editor(plan), prepend=True)
            stack.callback(handle.remove)
        yield


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
