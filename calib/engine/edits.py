"""An edit of activations: an operator, at one site of one decoder block, at some positions."""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from calib.engine.operators import Operator
from calib.models.layers import LayerSite, Site
from calib.models.prompt_batch import Positions

REACH: dict[Positions, tuple[bool, bool, bool]] = {
    "all": (True, True, True),
    "prompt": (True, True, False),
    "image": (True, False, False),
    "text": (True, True, False),
    "last_prompt": (False, True, False),
    "response": (False, True, True),
}
"""Which parts of a row positions can touch: the prompt before its last token, that token, and what
is generated. The last prompt token produces the first response token and belongs to "response"."""


@dataclass(frozen=True)
class Edit:
    """Change the activations at one site of one decoder block, at some positions."""

    layer: int
    """0-based decoder block."""
    operator: Operator
    positions: Positions = "all"
    site: Site = "residual"
    """The block's output, or what its attention heads or its MLP give."""

    @property
    def at(self) -> LayerSite:
        """Where it is made."""
        return self.layer, self.site

    @property
    def parts_at(self) -> int:
        """The first layer at whose input rows with and without it are told apart."""
        return self.layer + 1 if self.site == "residual" else self.layer

    @functools.cached_property
    def identity(self) -> str:
        """Layer, site, operator, positions and a hash of the operator's tensors (SHA-256)."""
        digest = hashlib.sha256()
        for tensor in self.operator.tensors():
            digest.update(tensor.float().cpu().numpy().tobytes())
        where = f"{self.layer}:{self.site}:{self.positions}"
        return f"{where}:{self.operator.name}:{digest.hexdigest()}"

    @functools.cached_property
    def kind(self) -> tuple[str, tuple[tuple[int, ...], ...]]:
        """Operator and shapes of its tensors: edits of one kind are made at once."""
        return self.operator.name, tuple(tuple(t.shape) for t in self.operator.tensors())


Edits = tuple[Edit, ...]
"""The edits of one row; those at one site are applied in their order."""


def of_response(edits: Edits) -> Edits:
    """Those of a row's edits that also apply to what it generates."""
    return tuple(edit for edit in edits if REACH[edit.positions][2])


Masks = Mapping[Positions, torch.Tensor]
"""Which tokens of a pass each choice of positions means. # [rows, tokens] bool"""


class SiteEdits:
    """The edits at one site of a layer, over the rows of a pass: stacked once, applied often."""

    def __init__(
        self, rows: Sequence[Edits], device: torch.device, masks: Masks | None = None
    ) -> None:
        """``rows`` holds the edits of each row here; without ``masks`` every token is edited."""
        self.rounds: list[_Round] = []
        for depth in range(max(map(len, rows), default=0)):
            # One kind at a time: the rows whose edit at this depth is of it.
            at_depth = [edits[depth] if depth < len(edits) else None for edits in rows]
            for kind in sorted({edit.kind for edit in at_depth if edit}):
                chosen = [edit if edit and edit.kind == kind else None for edit in at_depth]
                self.rounds.append(_Round(chosen, device, masks))

    def apply(self, hidden: torch.Tensor) -> torch.Tensor:
        """The edited activations; what is not edited stays as it is to the bit.

        # [rows, tokens, width]
        """
        for one in self.rounds:
            hidden = one.apply(hidden)
        return hidden

    def keep(self, order: torch.Tensor) -> None:
        """Go on with these rows, in this order, where every token is edited. # [kept] int64"""
        for one in self.rounds:
            one.keep(order)


def edits_by_site(
    rows: Sequence[Edits], device: torch.device, masks: Masks | None = None
) -> dict[LayerSite, SiteEdits]:
    """The edits of all rows, gathered wherever any row is edited."""
    return {
        at: SiteEdits([tuple(edit for edit in row if edit.at == at) for row in rows], device, masks)
        for at in sorted({edit.at for row in rows for edit in row})
    }


class _Round:
    """Edits of one kind, at most one per row."""

    def __init__(
        self, rows: Sequence[Edit | None], device: torch.device, masks: Masks | None
    ) -> None:
        # Settings share their edits between prompts: each distinct one is moved and stacked once.
        distinct = {id(edit): edit for edit in rows if edit is not None}
        place = {name: k for k, name in enumerate(distinct)}
        self.formula = next(iter(distinct.values())).operator.formula
        columns = zip(*(edit.operator.tensors() for edit in distinct.values()), strict=True)
        # [distinct, 1, ...]
        self.table = [torch.stack([t.to(device) for t in column])[:, None] for column in columns]
        codes = [-1 if edit is None else place[id(edit)] for edit in rows]
        self.codes = torch.tensor(codes, device=device)  # [rows]: place in the table, or -1
        self.mask: torch.Tensor | None = None
        self._gather()
        if masks is not None:
            stacked = [masks[e.positions][row] for row, e in enumerate(rows) if e is not None]
            self.mask = torch.stack(stacked)[..., None]  # [edited rows, tokens, 1]

    def _gather(self) -> None:
        """Lay the tensors of the edited rows side by side."""
        edited = self.codes >= 0
        self.rows = None if bool(edited.all()) else edited.nonzero()[:, 0]
        codes = self.codes if self.rows is None else self.codes[self.rows]
        self.tensors = [tensor[codes] for tensor in self.table]  # [edited rows, 1, ...]

    def keep(self, order: torch.Tensor) -> None:
        self.codes = self.codes[order.to(self.codes.device)]
        self._gather()

    def apply(self, hidden: torch.Tensor) -> torch.Tensor:
        if self.table[0].dtype != hidden.dtype or self.table[0].device != hidden.device:
            self._move(hidden)
        if self.rows is not None and len(self.rows) == 0:
            return hidden
        old = hidden if self.rows is None else hidden[self.rows]
        new = self.formula(old, *self.tensors)
        if self.mask is not None:
            new = torch.where(self.mask, new, old)
        return new if self.rows is None else hidden.index_copy(0, self.rows, new)

    def _move(self, hidden: torch.Tensor) -> None:
        # Once per batch: a sharded model has its layers on several devices.
        self.table = [tensor.to(hidden) for tensor in self.table]
        self.codes = self.codes.to(hidden.device)
        self.mask = None if self.mask is None else self.mask.to(hidden.device)
        self._gather()
