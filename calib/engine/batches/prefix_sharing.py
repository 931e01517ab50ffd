"""Prefix sharing: compute each distinct state once, and fork the batch where rows diverge.

Two rows of a prompt are in the same state at the input of a layer if all their edits below that
layer are equal. A state passes through the layer once, however many rows are in it.

- An edit of the residual stream changes the output of a block, so rows fork after that block.
- An edit inside a block (heads, MLP) needs a pass of its own through it, so rows fork before it.
  If that is the first block, the prompts are expanded to states at its input.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import DynamicLayer

from calib.engine.edits import Edit, Edits, Masks, SiteEdits, reach
from calib.models.layers import ActivationEdit, LayerSite, decoder_layers, edit_activations
from calib.models.load import VLM
from calib.util.errors import CalibError

BATCH_AXES = {"attention_mask": 0, "position_embeddings": -3, "position_ids": -2}
"""The row axis of each tensor argument of a decoder block. Negative, because multimodal rotary
positions have one more axis in front."""


@dataclass(frozen=True)
class PrefixStates:
    """The state of each row at each layer during one pass through the decoder."""

    prompt_of: list[int]
    """Prompt of each row. # [rows]"""
    of_row: list[list[int]]
    """State of each row at the input of each layer, and after the last. # [layers + 1][rows]"""
    row_of: list[list[int]]
    """The first row in each state. # [layers + 1][states]"""
    edits: dict[LayerSite, list[Edits]]
    """The edits of each state at every edited site. States are those at the input of the layer, or
    of the next layer for the residual stream. # [states]"""

    def sources(self, layer: int, device: torch.device) -> torch.Tensor | None:
        """For each state after ``layer``, the state before it; None if nothing forks there.

        # [states after] int64
        """
        if len(self.row_of[layer + 1]) == len(self.row_of[layer]):
            return None
        before = [self.of_row[layer][row] for row in self.row_of[layer + 1]]
        return torch.tensor(before, device=device)

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
    differ_in: tuple[bool, bool],
    computed: tuple[bool, bool],
) -> PrefixStates:
    """Assign each row its state at each layer.

    ``prompts`` is the prompt of each row, numbered 0, 1, ... in order of appearance. The two flags
    of ``differ_in`` and ``computed`` are about the prompt before its last token and about its last
    token. ``differ_in``: edits of this part put rows into different states. ``computed``: this pass
    computes the part, so its edits are applied.
    """
    forks: dict[int, dict[int, Edits]] = {}  # by layer where rows fork, then by row
    for row, row_edits in enumerate(edits):
        for edit in row_edits:
            if _reaches(edit, differ_in):
                by_row = forks.setdefault(edit.forks_at, {})
                by_row[row] = (*by_row.get(row, ()), edit)
    current, first = _numbered(list(prompts))
    of_row, row_of = [], []
    applied: dict[LayerSite, list[Edits]] = {}
    for layer in range(layers + 1):
        if here := forks.get(layer):
            keys: list[object] = list(current)
            for row, row_edits in here.items():
                # Sorted, because the order of edits matters only within a site.
                in_order = sorted(row_edits, key=lambda edit: edit.at)
                keys[row] = (current[row], *(edit.identity for edit in in_order))
            current, first = _numbered(keys)
            for at in {edit.at for row_edits in here.values() for edit in row_edits}:
                applied[at] = [
                    tuple(e for e in here.get(row, ()) if e.at == at and _reaches(e, computed))
                    for row in first
                ]
        of_row.append(current)
        row_of.append(first)
    return PrefixStates(list(prompts), of_row, row_of, applied)


def _reaches(edit: Edit, parts: tuple[bool, bool]) -> bool:
    prefix, last, _ = reach(edit.positions)
    return (prefix and parts[0]) or (last and parts[1])


def _numbered(keys: Sequence[object]) -> tuple[list[int], list[int]]:
    """Number distinct keys in order of appearance; also return the first row of each number."""
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
    """The edits of all states at a site, or None if there are none.

    ``masks`` has one row per prompt.
    """
    edits = states.edits.get(at, [])
    if not any(edits):
        return None
    if masks is not None:
        layer, site = at
        prompts = states.prompts(layer + (site == "residual"), device)
        masks = {name: mask[prompts] for name, mask in masks.items()}
    return SiteEdits(edits, device, masks)


@contextmanager
def forking(vlm: VLM, states: PrefixStates, masks: Masks | None) -> Iterator[None]:
    """While the context is open, a pass over the prompts computes each state once.

    After a block where rows fork, its output is expanded to the new states and then edited. Before
    each block, arguments with one row per prompt are expanded to one row per state.

    Raises CalibError during the pass if a block gets a tensor whose row axis is unknown.
    """
    device = vlm.device
    prompts = len(set(states.prompt_of))
    layers = decoder_layers(vlm.model)
    expanded: dict[tuple[int, int], torch.Tensor] = {}

    def change_at(at: LayerSite) -> ActivationEdit | None:
        layer, site = at
        edits = site_edits(states, at, device, masks)
        sources = states.sources(layer, device) if site == "residual" else None
        if edits is None and sources is None:
            return None

        def change(hidden: torch.Tensor) -> torch.Tensor:
            if sources is not None:
                hidden = hidden[sources.to(hidden.device)]
            return hidden if edits is None else edits.apply(hidden)

        return change

    def expand_before(layer: int) -> Any:
        prompt_of_state = states.prompts(layer, device)

        def by_state(name: str, value: Any) -> Any:
            if isinstance(value, tuple | list):
                return type(value)(by_state(name, part) for part in value)
            if not torch.is_tensor(value) or value.dim() == 0:
                return value
            if name not in BATCH_AXES:
                raise _unknown_row_axis(vlm, name)
            axis = BATCH_AXES[name] % value.dim()
            if value.shape[axis] != prompts or value.shape[axis] == 1:
                return value
            key = (id(value), id(states.row_of[layer]))
            if key not in expanded:  # shared by all layers between two forks
                expanded[key] = value.index_select(axis, prompt_of_state.to(value.device))
            return expanded[key]

        def argument(name: str, value: Any) -> Any:
            if name != "hidden_states":
                return by_state(name, value)
            # After the first layer, hidden states already have one row per state.
            if layer > 0:
                return value
            return value.index_select(0, prompt_of_state.to(value.device))

        def hook(module: Any, args: Any, kwargs: Any) -> Any:
            if any(torch.is_tensor(value) for value in args[1:]):
                raise _unknown_row_axis(vlm, "a positional tensor")
            args = (*(argument("hidden_states", value) for value in args[:1]), *args[1:])
            return args, {name: argument(name, value) for name, value in kwargs.items()}

        return hook

    sites = {*states.edits, *((layer, "residual") for layer in range(len(layers)))}
    changes = {at: change for at in sorted(sites) if (change := change_at(at)) is not None}
    with ExitStack() as stack:
        stack.enter_context(edit_activations(vlm.model, changes))
        for index, layer in enumerate(layers):
            if states.count(index) != prompts:
                hook = layer.register_forward_pre_hook(expand_before(index), with_kwargs=True)
                stack.callback(hook.remove)
        yield


def _unknown_row_axis(vlm: VLM, name: str) -> CalibError:
    return CalibError(
        "unsupported",
        f"the decoder blocks of {type(vlm.model).__name__} take {name} as an argument, and calib "
        "does not know which of its axes is the row. Use generation.sharing=false (slower), and "
        "please report this with the versions of calib and transformers.",
    )


@dataclass(frozen=True)
class StateSource:
    """Keys and values that some states continue from."""

    keys_values: tuple[torch.Tensor, ...]  # two of [source states, heads, length, head width]
    states: torch.Tensor  # [some] int64, ascending: states that continue from this source
    source_states: torch.Tensor  # [some] int64: the source state of each


def gather_into(target: torch.Tensor, source: torch.Tensor, index: torch.Tensor) -> None:
    """Copy rows of ``source`` to ``target``, which may be a part of a larger tensor.

    ``index`` is the source row of each target row. # [target rows] int64
    """
    if target.device.type == "mps":  # which may not write to a part
        target.copy_(source[index])
    else:
        torch.index_select(source, 0, index, out=target)


class ForkedLayer(DynamicLayer):
    """KV cache of one layer where each state continues from a state of an earlier pass.

    Sources may differ in length; they are aligned at the last column.
    """

    def __init__(self, sources: Sequence[StateSource]) -> None:
        super().__init__()
        self.sources = sources
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Each state's earlier columns followed by its new ones."""
        length = self.get_seq_length()
        joined = []
        for k, new in enumerate((key_states, value_states)):
            states, heads, added, width = new.shape
            if len(self.sources) == 1 and len(self.sources[0].states) == states:
                (source,) = self.sources
                earlier = source.keys_values[k][source.source_states.to(new.device)]
                joined.append(torch.cat([earlier, new], dim=2))
                continue
            # Zeros: columns left of a shorter source are masked, but 0 x infinity is not 0.
            columns = new.new_zeros(states, heads, length + added, width)
            for source in self.sources:
                earlier, device = source.keys_values[k], new.device
                own = earlier[source.source_states.to(device)]
                start = length - earlier.shape[2]
                columns[source.states.to(device), :, start:length] = own
            columns[:, :, length:] = new
            joined.append(columns)
        self.keys, self.values = joined
        return self.keys, self.values

    def get_seq_length(self) -> int:
        return max(source.keys_values[0].shape[-2] for source in self.sources)


class PlacedLayer(ForkedLayer):
    """As ForkedLayer, with the keys and values of each row written where they stay.

    Here ``sources`` are by row, not by state.
    """

    def __init__(
        self,
        sources: Sequence[StateSource],
        places: tuple[torch.Tensor, ...],
        state_of: Sequence[int],
        row_of: Sequence[int],
    ) -> None:
        """``places`` are two of [rows, heads, length, head width], for earlier and new columns.

        ``state_of`` is the state of each row, ``row_of`` the first row of each state.
        """
        super().__init__(sources)
        self.places = places
        device = places[0].device
        # One state per row, in order: nothing to gather.
        self.own = list(state_of) == list(range(len(row_of)))
        self.state_of = torch.tensor(state_of, device=device)
        self.row_of = torch.tensor(row_of, device=device)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Each state's earlier columns followed by its new ones."""
        length = self.get_seq_length()
        for k, new in enumerate((key_states, value_states)):
            place = self.places[k]
            if len(self.sources) == 1 and len(self.sources[0].states) == len(place):
                (source,) = self.sources
                chosen = source.source_states.to(place.device)
                gather_into(place[:, :, :length], source.keys_values[k], chosen)
            else:
                # Zeros: columns left of a shorter source are masked, but 0 x infinity is not 0.
                place[:, :, :length] = 0
                for source in self.sources:
                    earlier = source.keys_values[k]
                    own = earlier[source.source_states.to(place.device)]
                    start = length - earlier.shape[2]
                    place[source.states.to(place.device), :, start:length] = own
            place[:, :, length:] = new if self.own else new[self.state_of]
        keys, values = (place if self.own else place[self.row_of] for place in self.places)
        return keys, values
