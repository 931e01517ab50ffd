"""Which rows share a prefix of the computation, and the hooks that fork a batch where they diverge.

Where rows are told apart inside the first layer, prompts are laid out by state before it.

At the input of a layer, rows of one prompt are in the same state as long as all edits below were
the same for both. An edit of the residual stream comes behind its layer; one inside a layer, at its
heads or its MLP, gives each state a pass of its own through that layer, from its input on. A state
is computed once, whatever number of rows is in it.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from calib.engine.edits import REACH, Edit, Edits, Masks, SiteEdits
from calib.models.layers import ActivationEdit, LayerSite, decoder_layers, edit_activations
from calib.models.load import VLM
from calib.util.errors import CalibError

BATCH_AXES = {"attention_mask": 0, "position_embeddings": -3, "position_ids": -2}
"""Which axis of what a decoder block is given belongs to the rows; multimodal rotary positions have
another in front."""


@contextmanager
def forking(vlm: VLM, states: "PrefixStates", masks: Masks | None) -> Iterator[None]:
    """While open, a pass over the prompts computes each state once.

    After a layer behind which rows are told apart, its output is laid out by the new states, then
    edited; before every layer, what it is given by prompt is laid out by its states.
    """
    device = vlm.device
    prompts = len(set(states.prompt_of))
    layers = decoder_layers(vlm.model)
    laid_out: dict[tuple[int, int], torch.Tensor] = {}

    def change_at(at: LayerSite) -> ActivationEdit | None:
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
        stack.enter_context(edit_activations(vlm.model, changes))
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


@dataclass(frozen=True)
class PrefixStates:
    """The states of some rows during one pass through the decoder, layer by layer."""

    prompt_of: list[int]
    """Prompt of each row. # [rows]"""
    of_row: list[list[int]]
    """State of each row at the input of each layer, and at the end. # [layers + 1][rows]"""
    row_of: list[list[int]]
    """A row in each state. # [layers + 1][states]"""
    edits: dict[LayerSite, list[Edits]]
    """Wherever there are any, the edits of each state there: of those at the layer's input, or at
    the next one's for the residual stream. # [states]"""

    def spread(self, layer: int, device: torch.device) -> torch.Tensor | None:
        """The state at the input of ``layer`` that each state after it comes from; None where
        nothing forks. # [states after] int64"""
        if len(self.row_of[layer + 1]) == len(self.row_of[layer]):
            return None
        source = [self.of_row[layer][row] for row in self.row_of[layer + 1]]
        return torch.tensor(source, device=device)

    def prompts(self, layer: int, device: torch.device) -> torch.Tensor:
        """The prompt of each state at the input of a layer. # [states] int64"""
        return torch.tensor([self.prompt_of[row] for row in self.row_of[layer]], device=device)

    def count(self, layer: int) -> int:
        """Number of states at the input of a layer."""
        return len(self.row_of[layer])


def fork(
    prompts: Sequence[int],
    edits: Sequence[Edits],
    layers: int,
    parts: tuple[bool, bool],
    shown: tuple[bool, bool],
) -> PrefixStates:
    """Follow rows through the layers.

    ``prompts`` names the prompt of each row, 0, 1, ... in order of appearance. ``parts`` says of
    which parts of the prompt (what precedes its last token, its last token) edits tell rows apart
    here, ``shown`` which of them this pass computes, so that edits there are applied.
    """
    parting: dict[int, dict[int, Edits]] = {}  # by layer at whose input they part, by row
    for row, found in enumerate(edits):
        for edit in found:
            if _reaches(edit, parts):
                of_row_here = parting.setdefault(edit.parts_at, {})
                of_row_here[row] = (*of_row_here.get(row, ()), edit)
    current, first = _numbered(list(prompts))
    of_row, row_of = [], []
    applied: dict[LayerSite, list[Edits]] = {}
    for layer in range(layers + 1):
        if here := parting.get(layer):
            keys: list[object] = list(current)
            for row, found in here.items():
                # The order of edits matters at one site only.
                in_order = sorted(found, key=lambda edit: edit.at)
                keys[row] = (current[row], *(edit.identity for edit in in_order))
            current, first = _numbered(keys)
            for at in {edit.at for found in here.values() for edit in found}:
                applied[at] = [
                    tuple(e for e in here.get(row, ()) if e.at == at and _reaches(e, shown))
                    for row in first
                ]
        of_row.append(current)
        row_of.append(first)
    return PrefixStates(list(prompts), of_row, row_of, applied)


def _reaches(edit: Edit, parts: tuple[bool, bool]) -> bool:
    prefix, last, _ = REACH[edit.positions]
    return (prefix and parts[0]) or (last and parts[1])


def _numbered(keys: Sequence[object]) -> tuple[list[int], list[int]]:
    """Number equal keys alike, in order of appearance; also the first row of each number."""
    numbers: dict[object, int] = {}
    first = []
    for row, key in enumerate(keys):
        if key not in numbers:
            numbers[key] = len(numbers)
            first.append(row)
    return [numbers[key] for key in keys], first


def site_edits(
    states: PrefixStates, at: LayerSite, device: torch.device, masks: Masks | None
) -> SiteEdits | None:
    """The edits at a site, or None where this pass has none; ``masks`` are by prompt."""
    edits = states.edits.get(at, [])
    if not any(edits):
        return None
    if masks is not None:
        layer, site = at
        prompts = states.prompts(layer + (site == "residual"), device)
        masks = {name: mask[prompts] for name, mask in masks.items()}
    return SiteEdits(edits, device, masks)
