"""Read activations: the output of decoder blocks at chosen positions, in one pass that stops early.

Our own hooks, never ``output_hidden_states``: in transformers 5 what that records under an edit
depends on the order in which hooks were registered. Each hook keeps one vector per row, so memory
does not grow with sequence length times layers; what lies above the last wanted layer is not
computed.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch

from calib.data.example import Example
from calib.engine.packing import PASS_TOKENS
from calib.errors import CalibError
from calib.vlm.layers import decoder_layers
from calib.vlm.load import VLM
from calib.vlm.prompts import Positions, Prompt, collate, prompt_positions, read_prompts

PROMPTS = 256
"""Most prompts whose image features are in memory together."""

PADDING = 0.1
"""Largest share of padding among the tokens of a pass; a pass costs about as much as that saves."""


class _Enough(Exception):
    """Ends a forward pass after the last wanted layer."""


@torch.no_grad()
def read_activations(
    vlm: VLM,
    examples: Sequence[Example],
    positions: Positions = "last_prompt",
    batch_rows: int = 64,
    progress: Any = None,
    layers: Sequence[int] | None = None,
) -> torch.Tensor:
    """Residual stream after some blocks, averaged over the chosen positions of each prompt.

    Returns float32 on the CPU. # [examples, layers, width]
    ``layers`` are 0-based and None is all of them. ``progress`` has an ``update(n)`` method (a tqdm
    bar) and is told of finished prompts.

    Raises CalibError when an activation is not finite, or a prompt has none of the positions.
    """
    wanted = list(range(vlm.layers)) if layers is None else list(layers)
    found = torch.empty(len(examples), len(wanted), vlm.width)
    for start in range(0, len(examples), PROMPTS):
        prompts = read_prompts(vlm, examples[start : start + PROMPTS])
        for chosen in _batches(prompts, batch_rows):
            some = [examples[start + k] for k in chosen]
            read = _read(vlm, some, [prompts[k] for k in chosen], positions, wanted)
            _require_finite(read, some, wanted)
            found[[start + k for k in chosen]] = read
            if progress is not None:
                progress.update(len(chosen))
    return found


def _batches(prompts: Sequence[Prompt], batch_rows: int) -> Iterator[list[int]]:
    """Prompts of like length together, as many as one pass holds."""
    batch: list[int] = []
    tokens = 0
    for k in sorted(range(len(prompts)), key=lambda k: len(prompts[k].tokens)):
        length = len(prompts[k].tokens)
        padded = (len(batch) + 1) * length
        full = padded > PASS_TOKENS or len(batch) == batch_rows
        full |= padded > (1 + PADDING) * (tokens + length)
        mixed = batch and prompts[batch[0]].kind != prompts[k].kind
        if batch and (full or mixed):
            yield batch
            batch, tokens = [], 0
        batch.append(k)
        tokens += length
    if batch:
        yield batch


def _read(
    vlm: VLM,
    examples: Sequence[Example],
    prompts: Sequence[Prompt],
    positions: Positions,
    layers: Sequence[int],
) -> torch.Tensor:
    """One batch. # [rows, layers, width]"""
    batch = collate(vlm, prompts)
    chosen = prompt_positions(batch, positions)  # [rows, length]
    counts = chosen.sum(1)
    if (counts == 0).any():
        empty = examples[int((counts == 0).nonzero()[0])].id
        raise CalibError(
            f"example '{empty}' has no {positions} tokens to read from. Choose other "
            "read_positions, or leave examples without a picture out."
        )
    last = bool(chosen[:, -1].all()) and bool((counts == 1).all())
    weights = None if last else chosen.float() / counts[:, None]
    with _readers(vlm, range(max(layers) + 1), weights) as read, suppress(_Enough):
        vlm.model.base_model(**batch.inputs, position_ids=batch.places, use_cache=False)
    for layer in range(1, max(layers) + 1):
        # A block that is left out (Mllama's cross-attention, without pictures) changes nothing.
        read.setdefault(layer, read[layer - 1])
    return torch.stack([read[layer] for layer in layers], dim=1)


@contextmanager
def _readers(
    vlm: VLM, layers: Sequence[int], weights: torch.Tensor | None
) -> Iterator[dict[int, torch.Tensor]]:
    """While open, a pass leaves each wanted layer's mean by ``weights`` (None: the last token)."""
    blocks = decoder_layers(vlm.model)
    read: dict[int, torch.Tensor] = {}

    def reader(index: int) -> Any:
        def hook(module: Any, args: Any, output: Any) -> None:
            hidden = output if torch.is_tensor(output) else output[0]  # [rows, length, width]
            if weights is None:
                mean = hidden[:, -1]
            else:
                share = weights.to(hidden.device)
                # What stands at padding may be anything, also infinite, and 0 x inf is not 0.
                chosen = hidden.float().masked_fill((share == 0)[..., None], 0.0)
                mean = torch.bmm(share[:, None], chosen)[:, 0]
            # A copy: on the CPU a view would keep the whole [rows, length, width] tensor alive.
            read[index] = mean.to("cpu", torch.float32, copy=True)
            if index == max(layers):
                raise _Enough

        return hook

    with ExitStack() as stack:
        for index in layers:
            stack.callback(blocks[index].register_forward_hook(reader(index)).remove)
        yield read


def _require_finite(read: torch.Tensor, examples: Sequence[Example], layers: Sequence[int]) -> None:
    bad = ~torch.isfinite(read).all(-1)  # [rows, layers]
    if bad.any():
        row, place = bad.nonzero()[0].tolist()
        raise CalibError(
            f"the activations of example '{examples[row].id}' are not finite at layer "
            f"{layers[place]} ({int(bad.any(1).sum())} of {len(examples)} examples in this batch). "
            "Load the model in a wider type (model.dtype=float32 or bfloat16)."
        )
