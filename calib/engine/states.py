"""Which rows share which computation: two rows are one until an edit tells them apart.

At the input of a layer, rows of one prompt are in the same state as long as the edits after all
layers below were the same for both. A state is computed once, whatever number of rows is in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from calib.engine.edit import REACH, Edit, Edits, LayerEdits, Masks


@dataclass(frozen=True)
class States:
    """The states of some rows during one pass through the decoder, layer by layer."""

    of_row: list[list[int]]
    """State of each row at the input of each layer, and at the end. # [layers + 1][rows]"""
    row_of: list[list[int]]
    """A row in each state. # [layers + 1][states]"""
    edits: list[list[Edits]]
    """After each layer, the edits of each state there; empty where there are none.
    # [layers][states at the next layer]"""

    def spread(self, layer: int, device: torch.device) -> torch.Tensor | None:
        """The state at the input of ``layer`` that each state after it comes from; None where
        nothing forks. # [states after] int64"""
        if len(self.row_of[layer + 1]) == len(self.row_of[layer]):
            return None
        source = [self.of_row[layer][row] for row in self.row_of[layer + 1]]
        return torch.tensor(source, device=device)

    def prompts(self, layer: int, device: torch.device) -> torch.Tensor:
        """The prompt of each state at the input of a layer. # [states] int64"""
        return torch.tensor([self.of_row[0][row] for row in self.row_of[layer]], device=device)

    def count(self, layer: int) -> int:
        """Number of states at the input of a layer."""
        return len(self.row_of[layer])


def fork(
    prompts: Sequence[int],
    edits: Sequence[Edits],
    layers: int,
    parts: tuple[bool, bool],
    shown: tuple[bool, bool],
) -> States:
    """Follow rows through the layers.

    ``prompts`` names the prompt of each row, 0, 1, ... in order of appearance. ``parts`` says of
    which parts of the prompt (what precedes its last token, its last token) edits tell rows apart
    here, ``shown`` which of them this pass computes, so that edits there are applied.
    """
    by_layer: dict[int, dict[int, Edits]] = {}
    for row, found in enumerate(edits):
        for edit in found:
            if _reaches(edit, parts):
                here = by_layer.setdefault(edit.layer, {})
                here[row] = (*here.get(row, ()), edit)
    current, first = _numbered(list(prompts))
    of_row, row_of, applied = [current], [first], []
    for layer in range(layers):
        here = by_layer.get(layer, {})
        if here:
            keys: list[object] = list(current)
            for row, found in here.items():
                keys[row] = (current[row], *(edit.identity for edit in found))
            current, first = _numbered(keys)
        applied.append(
            [tuple(e for e in here.get(row, ()) if _reaches(e, shown)) for row in first]
            if here
            else []
        )
        of_row.append(current)
        row_of.append(first)
    return States(of_row, row_of, applied)


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


def layer_edits(
    states: States, layer: int, device: torch.device, masks: Masks | None
) -> LayerEdits | None:
    """The edits after a layer, or None where there are none; ``masks`` are by prompt."""
    edits = states.edits[layer]
    if not any(edits):
        return None
    if masks is not None:
        prompts = states.prompts(layer + 1, device)
        masks = {name: mask[prompts] for name, mask in masks.items()}
    return LayerEdits(edits, device, masks)
