"""The function that edits activations inside vLLM, for the operators that are no plain addition.

It runs in vLLM's worker, which may lack calib: ``registered`` makes cloudpickle send this file and
the operators' formulas as code. vllm-lens ends all edits of a layer, those of other requests too,
when a hook raises an error, and says so in a log only. This one raises none: errors are recorded
in what the hook saves, and so is the number of tokens that it has seen, without a gap.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from calib.engine.operators import in_float32

COVERED = "covered "
"""Beginning of the name under which a hook saves how many tokens it has seen, before the layer."""
ERROR = "error"
CLEANED = "cleaned"
"""Name under which the hook of ``cleaning_function`` saves how many tensors it has cleaned."""

HookEdit = tuple[Callable[..., torch.Tensor], tuple[torch.Tensor, ...], torch.Tensor | None, bool]
"""An edit: the formula, its tensors without row and token axes, the prompt tokens that it applies
to (None is all of them) # [prompt length] bool, and whether it applies to generated tokens."""


def edit_function(
    edits: Mapping[int, Sequence[HookEdit]], prompt_length: int
) -> Callable[[Any, torch.Tensor], torch.Tensor | None]:
    """A hook that applies the edits of each layer in order, to the tokens of one request."""
    moved: dict[Any, list[HookEdit]] = {}

    def hook(context: Any, hidden: torch.Tensor) -> torch.Tensor | None:  # [tokens, width]
        layer, saved = context.layer_idx, context.saved
        try:
            first = first_position(hidden)
            edited = _apply(at_layer(layer, hidden), hidden, first, prompt_length)
            key = f"{COVERED}{layer}"
            if first <= saved.get(key, 0):  # a request that was preempted is read again
                saved[key] = first + len(hidden)
            return edited
        except Exception as error:
            saved[ERROR] = f"{type(error).__name__} at layer {layer}: {error}"
            return None

    def at_layer(layer: int, hidden: torch.Tensor) -> list[HookEdit]:
        key = layer, hidden.device
        if key not in moved:
            moved[key] = [
                (
                    formula,
                    tuple(t.to(hidden.device)[None, None] for t in tensors),
                    None if mask is None else mask.to(hidden.device),
                    generated,
                )
                for formula, tensors, mask, generated in edits[layer]
            ]
        return moved[key]

    return hook


def _apply(
    edits: Sequence[HookEdit], hidden: torch.Tensor, first: int, prompt_length: int
) -> torch.Tensor | None:
    """The edited activations; None if no token is edited. # [tokens, width] -> [tokens, width]"""
    positions = torch.arange(first, first + len(hidden), device=hidden.device)
    in_prompt = positions < prompt_length
    edited, changed = hidden, False
    for formula, tensors, mask, generated in edits:
        chosen = in_prompt if mask is None else mask[positions.clamp(max=prompt_length - 1)]
        chosen = torch.where(in_prompt, chosen, generated)
        if not chosen.any():
            continue
        new = in_float32(formula, edited[None], tensors)[0]
        edited, changed = torch.where(chosen[:, None], new, edited), True
    return edited if changed else None


def first_position(hidden: torch.Tensor) -> int:
    """Position in its sequence of the first token of a request's slice of a batch.

    Calls are not counted: vLLM may read a prompt in chunks, and again after a preemption. The slice
    begins where vLLM's attention metadata has the request. # [tokens, width]
    """
    from vllm.forward_context import get_forward_context

    metadata = get_forward_context().attn_metadata
    metadata = metadata[0] if isinstance(metadata, list) else metadata
    parts = list(metadata.values()) if isinstance(metadata, dict) else [metadata]
    start = hidden.storage_offset() // hidden.stride(0)
    for part in parts:
        if not hasattr(part, "query_start_loc") or not hasattr(part, "seq_lens"):
            continue
        bounds = [int(bound) for bound in part.query_start_loc]
        for index, begin in enumerate(bounds[:-1]):
            if begin == start and bounds[index + 1] - begin == len(hidden):
                return int(part.seq_lens[index]) - len(hidden)
    raise RuntimeError("the attention metadata do not have the request's tokens")


def cleaning_function() -> Callable[[Any, torch.Tensor], torch.Tensor | None]:
    """A hook on the input of blocks that replaces values in vLLM's cache by zero if they are not
    finite.

    On the output it would be too late: the request that carries it has read the cache by then.
    Values of other requests stay as they are, unless they are not finite themselves. It edits no
    activations, and cleans once in each worker.
    """

    def hook(context: Any, hidden: torch.Tensor) -> torch.Tensor | None:  # [tokens, width]
        if CLEANED not in context.saved:
            try:
                context.saved[CLEANED] = clean_cache()
            except Exception as error:
                context.saved[ERROR] = f"{type(error).__name__}: {error}"
        return None

    return hook


def clean_cache() -> int:
    """Set values that are not finite to zero in the keys, values and states that vLLM keeps; the
    number of tensors that were cleaned. Tensors of whole numbers (quantized caches) are left out.
    """
    from vllm.forward_context import get_forward_context

    count = 0
    for layer in get_forward_context().no_compile_layers.values():
        kept = getattr(layer, "kv_cache", None)
        for tensor in [kept] if isinstance(kept, torch.Tensor) else kept or ():
            if tensor.dtype in (torch.float32, torch.bfloat16, torch.float16) and tensor.numel():
                torch.nan_to_num_(tensor, nan=0.0, posinf=0.0, neginf=0.0)
                count += 1
    return count


def registered() -> None:
    """Let cloudpickle send the hook by value. Raises ImportError without cloudpickle."""
    import sys

    import cloudpickle

    from calib.engine import operators

    for module in (operators, sys.modules[__name__]):
        cloudpickle.register_pickle_by_value(module)
