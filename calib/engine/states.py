"""Which rows share which computation: two rows are one until an edit tells them apart.

At the input of a layer, rows of one prompt are in the same state as long as all edits below were
the same for both. An edit of the residual stream comes behind its layer; one inside a layer, at its
heads or its MLP, gives each state a pass of its own through that layer, from its input on. A state
is computed once, whatever number of rows is in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from calib.engine.edit import REACH, Edit, Edits, Masks, SiteEdits
from calib.vlm.layers import LayerSite


@dataclass(frozen=True)
class States:
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
) -> States:
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
    return States(list(prompts), of_row, row_of, applied)


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
    states: States, at: LayerSite, device: torch.device, masks: Masks | None
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
