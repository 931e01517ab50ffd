"""Edits of activations: an operator at one site of one decoder block, at some token positions."""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from calib.config.choices import Positions, Site
from calib.engine.operators import Operator, in_float32
from calib.models.layers import LayerSite
from calib.models.prompt_batch import PromptToken

REACH: dict[Positions, tuple[bool, bool, bool]] = {
    "all": (True, True, True),
    "prompt": (True, True, False),
    "image": (True, False, False),
    "text": (True, True, False),
    "last_prompt": (False, True, False),
    "response": (False, True, True),
    "after_instruction": (True, True, True),
}
"""The parts of a sequence that each choice of positions can edit: the prompt before its last token,
the last prompt token, generated tokens. The last prompt token produces the first response token and
therefore belongs to "response"."""


def reach(positions: Positions | PromptToken) -> tuple[bool, bool, bool]:
    """The parts of a sequence that ``positions`` can edit, as in REACH."""
    if isinstance(positions, PromptToken):
        return positions.from_end > 1, positions.from_end == 1, False
    return REACH[positions]


@dataclass(frozen=True)
class Edit:
    """Change the activations at one site of one decoder block, at some positions."""

    layer: int
    """0-based decoder block."""
    operator: Operator
    positions: Positions | PromptToken = "all"
    site: Site = "residual"
    """Where in the block: "residual" is its output; "heads" and "mlp" are inside it."""

    @property
    def at(self) -> LayerSite:
        """Layer and site of the edit."""
        return self.layer, self.site

    @property
    def forks_at(self) -> int:
        """The first layer whose input differs between rows with and without this edit.

        Edits inside a block (heads, MLP) need a pass of their own through that block.
        """
        return self.layer + 1 if self.site == "residual" else self.layer

    @functools.cached_property
    def identity(self) -> str:
        """Layer, site, positions, operator and a SHA-256 hash of the operator's tensors."""
        digest = hashlib.sha256()
        for tensor in self.operator.tensors():
            digest.update(tensor.float().cpu().numpy().tobytes())
        where = f"{self.layer}:{self.site}:{self.positions}"
        return f"{where}:{self.operator.name}:{digest.hexdigest()}"

    @functools.cached_property
    def kind(self) -> tuple[str, tuple[tuple[int, ...], ...]]:
        """Operator name and tensor shapes; edits of one kind are applied in one call."""
        return self.operator.name, tuple(tuple(t.shape) for t in self.operator.tensors())


Edits = tuple[Edit, ...]
"""The edits of one row. Edits at the same site are applied in order."""


def response_edits(edits: Edits) -> Edits:
    """The edits that also apply to generated tokens."""
    return tuple(edit for edit in edits if reach(edit.positions)[2])


Masks = Mapping[Positions | PromptToken, torch.Tensor]
"""The tokens of a forward pass selected by each choice of positions. # [rows, tokens] bool"""


class SiteEdits:
    """The edits of all rows of a batch at one site of a layer, stacked for repeated use."""

    def __init__(
        self, rows: Sequence[Edits], device: torch.device, masks: Masks | None = None
    ) -> None:
        """Stack the edits that each row has at this site; None for ``masks`` edits every token."""
        self.stacks: list[_EditStack] = []
        for depth in range(max(map(len, rows), default=0)):
            at_depth = [edits[depth] if depth < len(edits) else None for edits in rows]
            for kind in sorted({edit.kind for edit in at_depth if edit}):
                same_kind = [edit if edit and edit.kind == kind else None for edit in at_depth]
                self.stacks.append(_EditStack(same_kind, device, masks))

    def apply(self, hidden: torch.Tensor) -> torch.Tensor:
        """The edited activations; tokens without an edit stay bit-identical.

        # [rows, tokens, width] -> [rows, tokens, width]
        """
        for stack in self.stacks:
            hidden = stack.apply(hidden)
        return hidden

    def select_rows(self, order: torch.Tensor) -> None:
        """Keep only these rows, in this order. Requires ``masks=None``. # [kept rows] int64"""
        for stack in self.stacks:
            stack.select_rows(order)


def edits_by_site(
    rows: Sequence[Edits], device: torch.device, masks: Masks | None = None
) -> dict[LayerSite, SiteEdits]:
    """The edits of all rows, stacked at each site where any row is edited."""
    return {
        at: SiteEdits([tuple(edit for edit in row if edit.at == at) for row in rows], device, masks)
        for at in sorted({edit.at for row in rows for edit in row})
    }


class _EditStack:
    """Edits of one kind, at most one per row."""

    def __init__(
        self, rows: Sequence[Edit | None], device: torch.device, masks: Masks | None
    ) -> None:
        # Prompts share the edits of a setting: each distinct edit is moved and stacked once.
        distinct = {id(edit): edit for edit in rows if edit is not None}
        number = {key: k for k, key in enumerate(distinct)}
        self.formula = next(iter(distinct.values())).operator.formula
        columns = zip(*(edit.operator.tensors() for edit in distinct.values()), strict=True)
        # [distinct edits, 1, ...]
        self.table = [torch.stack([t.to(device) for t in column])[:, None] for column in columns]
        codes = [-1 if edit is None else number[id(edit)] for edit in rows]
        self.codes = torch.tensor(codes, device=device)  # [rows]: index into the table, or -1
        self.mask: torch.Tensor | None = None
        self._gather()
        if masks is not None:
            stacked = [masks[e.positions][row] for row, e in enumerate(rows) if e is not None]
            self.mask = torch.stack(stacked)[..., None]  # [edited rows, tokens, 1]

    def _gather(self) -> None:
        """Collect the tensors of the edited rows."""
        edited = self.codes >= 0
        self.rows = None if bool(edited.all()) else edited.nonzero()[:, 0]
        codes = self.codes if self.rows is None else self.codes[self.rows]
        self.tensors = [tensor[codes] for tensor in self.table]  # [edited rows, 1, ...]

    def select_rows(self, order: torch.Tensor) -> None:
        self.codes = self.codes[order.to(self.codes.device)]
        self._gather()

    def apply(self, hidden: torch.Tensor) -> torch.Tensor:
        if self.table[0].device != hidden.device:
            self._move_to(hidden)
        if self.rows is not None and len(self.rows) == 0:
            return hidden
        old = hidden if self.rows is None else hidden[self.rows]
        new = in_float32(self.formula, old, self.tensors)
        if self.mask is not None:
            new = torch.where(self.mask, new, old)
        return new if self.rows is None else hidden.index_copy(0, self.rows, new)

    def _move_to(self, hidden: torch.Tensor) -> None:
        # Needed once per batch; the layers of a sharded model are on several devices.
        self.table = [tensor.to(hidden.device) for tensor in self.table]
        self.codes = self.codes.to(hidden.device)
        self.mask = None if self.mask is None else self.mask.to(hidden.device)
        self._gather()
