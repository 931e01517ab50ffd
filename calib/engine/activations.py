"""Read activations: at a site of decoder blocks and chosen positions, in one pass that stops early.

Our own hooks, never ``output_hidden_states``: in transformers 5 what that records under an edit
depends on the order in which hooks were registered. Each hook keeps one vector per row, so memory
does not grow with sequence length times layers; what lies above the last wanted layer is not
computed.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch

from calib.data.example import Example
from calib.engine.batching import PASS_TOKENS
from calib.models.layers import Site, hook_at, site_width
from calib.models.load import VLM
from calib.models.prompt_batch import Positions, collate, prompt_positions
from calib.models.prompts import Prompt, read_prompts
from calib.util.errors import CalibError

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
    site: Site = "residual",
) -> torch.Tensor:
    """Activations at one site of some blocks, averaged over the chosen positions of each prompt.

    Returns float32 on the CPU. # [examples, layers, width of the site]
    ``layers`` are 0-based and None is all of them. ``progress`` has an ``update(n)`` method (a tqdm
    bar) and is told of finished prompts.

    Raises CalibError when an activation is not finite, or a prompt has none of the positions.
    """
    wanted = list(range(vlm.num_layers)) if layers is None else list(layers)
    found = torch.empty(len(examples), len(wanted), site_width(vlm.model, site))
    for start in range(0, len(examples), PROMPTS):
        prompts = read_prompts(vlm, examples[start : start + PROMPTS])
        for chosen in like_length(prompts, batch_rows, PASS_TOKENS):
            some = [examples[start + k] for k in chosen]
            read = _read(vlm, some, [prompts[k] for k in chosen], positions, wanted, site)
            _require_finite(read, some, wanted)
            found[[start + k for k in chosen]] = read
            if progress is not None:
                progress.update(len(chosen))
    return found


def like_length(prompts: Sequence[Prompt], rows: int, most: int) -> Iterator[list[int]]:
    """Places of prompts that are read together: of like length, at most ``rows`` of them and
    ``most`` tokens, but at least one."""
    batch: list[int] = []
    tokens = 0
    for k in sorted(range(len(prompts)), key=lambda k: len(prompts[k].tokens)):
        length = len(prompts[k].tokens)
        padded = (len(batch) + 1) * length
        full = padded > most or len(batch) == rows
        full |= padded > (1 + PADDING) * (tokens + length)
        mixed = batch and prompts[batch[0]].batch_key != prompts[k].batch_key
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
    site: Site,
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
    with _readers(vlm, range(max(layers) + 1), site, weights) as read, suppress(_Enough):
        vlm.model.base_model(**batch.inputs, position_ids=batch.position_ids, use_cache=False)
    for layer in range(1, max(layers) + 1):
        # A block that is left out (Mllama's cross-attention, without pictures) changes nothing.
        below = read[layer - 1]
        read.setdefault(layer, below if site == "residual" else torch.zeros_like(below))
    return torch.stack([read[layer] for layer in layers], dim=1)


@contextmanager
def _readers(
    vlm: VLM, layers: Sequence[int], site: Site, weights: torch.Tensor | None
) -> Iterator[dict[int, torch.Tensor]]:
    """While open, a pass leaves each wanted layer's mean by ``weights`` (None: the last token)."""
    read: dict[int, torch.Tensor] = {}

    def reader(index: int) -> Callable[[torch.Tensor], None]:
        def seen(hidden: torch.Tensor) -> None:  # [rows, length, width]
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

        return seen

    with ExitStack() as stack:
        for index in layers:
            stack.callback(hook_at(vlm.model, (index, site), reader(index)).remove)
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
