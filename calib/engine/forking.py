"""Hooks that let a pass over prompts fork into states: one row before, several behind a layer."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from calib.engine.edit import Masks
from calib.engine.states import States, layer_edits
from calib.errors import CalibError
from calib.vlm.layers import decoder_layers
from calib.vlm.load import VLM

BATCH_AXES = {"attention_mask": 0, "position_embeddings": -3, "position_ids": -2}
"""Which axis of what a decoder block is given belongs to the rows; multimodal rotary positions have
another in front."""


@contextmanager
def forking(vlm: VLM, states: States, masks: Masks | None) -> Iterator[None]:
    """While open, a pass over the prompts computes each state once.

    After a layer whose edits tell rows apart, its output is laid out by the new states and edited;
    before every layer, what it is given by prompt is laid out by its states.
    """
    device = vlm.device
    prompts = states.count(0)
    layers = decoder_layers(vlm.model)
    laid_out: dict[tuple[int, int], torch.Tensor] = {}

    def fork_after(layer: int, spread: torch.Tensor | None) -> Any:
        edits = layer_edits(states, layer, device, masks)

        def hook(module: Any, args: Any, output: Any) -> Any:
            hidden = output if torch.is_tensor(output) else output[0]
            if spread is not None:
                hidden = hidden[spread.to(hidden.device)]
            if edits is not None:
                hidden = edits.apply(hidden)
            return hidden if torch.is_tensor(output) else (hidden, *output[1:])

        return hook

    def lay_out_before(layer: int) -> Any:
        source = states.prompts(layer, device)

        def by_state(name: str, value: Any) -> Any:
            if isinstance(value, tuple | list):
                return type(value)(by_state(name, part) for part in value)
            if not torch.is_tensor(value) or value.dim() == 0:
                return value
            if name not in BATCH_AXES:
                raise _cannot_follow(vlm, name)
            axis = BATCH_AXES[name] % value.dim()
            if value.shape[axis] != prompts or value.shape[axis] == 1:
                return value
            key = (id(value), id(states.row_of[layer]))
            if key not in laid_out:  # the same for all layers between two forks
                laid_out[key] = value.index_select(axis, source.to(value.device))
            return laid_out[key]

        def hook(module: Any, args: Any, kwargs: Any) -> Any:
            if any(torch.is_tensor(value) for value in args[1:]):
                raise _cannot_follow(vlm, "a tensor without a name")
            return args, {name: by_state(name, value) for name, value in kwargs.items()}

        return hook

    with ExitStack() as stack:
        for index, layer in enumerate(layers):
            spread = states.spread(index, device)
            if spread is not None or any(states.edits[index]):
                hook = layer.register_forward_hook(fork_after(index, spread), prepend=True)
                stack.callback(hook.remove)
            if states.count(index) != prompts:
                before = layer.register_forward_pre_hook(lay_out_before(index), with_kwargs=True)
                stack.callback(before.remove)
        yield


def _cannot_follow(vlm: VLM, name: str) -> CalibError:
    return CalibError(
        f"the decoder blocks of {type(vlm.model).__name__} are given {name} by row, which rows "
        "that share a prompt cannot follow. Use generation.sharing=false, which is slower, and "
        "please report this with the versions of calib and transformers."
    )
