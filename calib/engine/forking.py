"""Hooks that let a pass over prompts fork into states: one row before, several behind a layer.

Where rows are told apart inside the first layer, prompts are laid out by state before it.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from calib.engine.edit import Masks
from calib.engine.states import States, site_edits
from calib.errors import CalibError
from calib.vlm.layers import Change, LayerSite, changing, decoder_layers
from calib.vlm.load import VLM

BATCH_AXES = {"attention_mask": 0, "position_embeddings": -3, "position_ids": -2}
"""Which axis of what a decoder block is given belongs to the rows; multimodal rotary positions have
another in front."""


@contextmanager
def forking(vlm: VLM, states: States, masks: Masks | None) -> Iterator[None]:
    """While open, a pass over the prompts computes each state once.

    After a layer behind which rows are told apart, its output is laid out by the new states, then
    edited; before every layer, what it is given by prompt is laid out by its states.
    """
    device = vlm.device
    prompts = len(set(states.prompt_of))
    layers = decoder_layers(vlm.model)
    laid_out: dict[tuple[int, int], torch.Tensor] = {}

    def change_at(at: LayerSite) -> Change | None:
        layer, site = at
        edits = site_edits(states, at, device, masks)
        spread = states.spread(layer, device) if site == "residual" else None
        if edits is None and spread is None:
            return None

        def change(hidden: torch.Tensor) -> torch.Tensor:
            if spread is not None:
                hidden = hidden[spread.to(hidden.device)]
            return hidden if edits is None else edits.apply(hidden)

        return change

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

        def incoming(name: str, value: Any) -> Any:
            if name != "hidden_states":
                return by_state(name, value)
            # Behind the first layer, these come from the one before, by state.
            return value.index_select(0, source.to(value.device)) if layer == 0 else value

        def hook(module: Any, args: Any, kwargs: Any) -> Any:
            if any(torch.is_tensor(value) for value in args[1:]):
                raise _cannot_follow(vlm, "a tensor without a name")
            args = (*(incoming("hidden_states", value) for value in args[:1]), *args[1:])
            return args, {name: incoming(name, value) for name, value in kwargs.items()}

        return hook

    sites = {*states.edits, *((index, "residual") for index in range(len(layers)))}
    found = {at: change_at(at) for at in sorted(sites)}
    changes = {at: change for at, change in found.items() if change is not None}
    with ExitStack() as stack:
        stack.enter_context(changing(vlm.model, changes))
        for index, layer in enumerate(layers):
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
