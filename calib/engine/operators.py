"""What an edit does to an activation. One operator a class: its tensors and its formula.

``formula`` works on many rows at once. Every tensor of ``tensors`` arrives with one leading row
axis and a token axis of 1 (``[rows, 1, ...]``) in the type of the activations, those as ``[rows,
tokens, width]``; it returns new activations and never changes what it was given.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch

INFINITY = float("inf")


class Operator(Protocol):
    """Something that changes activations, row by row, with tensors of its own."""

    name: ClassVar[str]

    def tensors(self) -> tuple[torch.Tensor, ...]:
        """What the formula needs, without row and token axes."""
        ...

    @staticmethod
    def formula(hidden: torch.Tensor, *tensors: torch.Tensor) -> torch.Tensor:
        """The changed activations. # [rows, tokens, width]"""
        ...


@dataclass(frozen=True)
class Add:
    """Contrastive activation addition: h <- h + v (CAA, arXiv 2312.06681, section 3)."""

    name: ClassVar[str] = "add"

    vector: torch.Tensor
    """Strength included. # [width] float32"""

    def tensors(self) -> tuple[torch.Tensor, ...]:
        return (self.vector,)

    @staticmethod
    def formula(hidden: torch.Tensor, *tensors: torch.Tensor) -> torch.Tensor:
        return hidden + tensors[0]


@dataclass(frozen=True)
class AddKeepingNorm:
    """Norm-preserving addition: h <- (h + v) |h| / |h + v|."""

    name: ClassVar[str] = "add_keeping_norm"

    vector: torch.Tensor
    """Strength included. # [width] float32"""

    def tensors(self) -> tuple[torch.Tensor, ...]:
        return (self.vector,)

    @staticmethod
    def formula(hidden: torch.Tensor, *tensors: torch.Tensor) -> torch.Tensor:
        return _as_long_as(hidden, hidden + tensors[0])


@dataclass(frozen=True)
class AddByNorm:
    """Addition in proportion to the activation: h <- h + s |h| d."""

    name: ClassVar[str] = "add_by_norm"

    direction: torch.Tensor
    """# [width] float32"""
    strength: float

    def tensors(self) -> tuple[torch.Tensor, ...]:
        return (self.direction, torch.tensor([self.strength]))

    @staticmethod
    def formula(hidden: torch.Tensor, *tensors: torch.Tensor) -> torch.Tensor:
        direction, strength = tensors
        return hidden + strength * hidden.norm(dim=-1, keepdim=True) * direction


@dataclass(frozen=True)
class AddByNormKeepingNorm:
    """Addition to the activation's direction: h <- |h| (h/|h| + s d) / |h/|h| + s d| (VTI, arXiv
    2410.15778). What is all zero stays so."""

    name: ClassVar[str] = "add_by_norm_keeping_norm"

    direction: torch.Tensor
    """# [width] float32"""
    strength: float

    def tensors(self) -> tuple[torch.Tensor, ...]:
        return (self.direction, torch.tensor([self.strength]))

    @staticmethod
    def formula(hidden: torch.Tensor, *tensors: torch.Tensor) -> torch.Tensor:
        # The formula times |h| / |h|, which leaves nothing to divide by zero.
        return _as_long_as(hidden, AddByNorm.formula(hidden, *tensors))


@dataclass(frozen=True)
class Ablate:
    """Directional ablation: h <- h - s (h D^T) D (arXiv 2406.11717, section 2.4)."""

    name: ClassVar[str] = "ablate"

    direction: torch.Tensor
    """Unit vector, or orthonormal rows that span a subspace. # [width] or [k, width] float32"""
    strength: float = 1.0
    """1 removes the component in the subspace, 0 changes nothing, 2 mirrors it."""

    def tensors(self) -> tuple[torch.Tensor, ...]:
        return (torch.atleast_2d(self.direction), torch.tensor([self.strength]))

    @staticmethod
    def formula(hidden: torch.Tensor, *tensors: torch.Tensor) -> torch.Tensor:
        directions, strength = tensors[0][:, 0], tensors[1]  # [rows, k, width]
        return hidden - strength * (hidden @ directions.mT @ directions)


@dataclass(frozen=True)
class AblateByCosine:
    """Adaptive ablation: h <- h - s c |h| d with c = clip(cos(h - r, d), 0, 1), d of length 1
    (ASTRA, arXiv 2411.16721). An activation that is the reference has c = 0."""

    name: ClassVar[str] = "ablate_by_cosine"

    direction: torch.Tensor
    """Unit vector. # [width] float32"""
    strength: float
    reference: torch.Tensor
    """Activation from which the cosine is seen. # [width] float32"""

    def tensors(self) -> tuple[torch.Tensor, ...]:
        return (self.direction, torch.tensor([self.strength]), self.reference)

    @staticmethod
    def formula(hidden: torch.Tensor, *tensors: torch.Tensor) -> torch.Tensor:
        direction, strength, reference = tensors
        apart = hidden - reference
        length = apart.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(hidden.dtype).tiny)
        # Divided first: what is of length 1 overflows in no type.
        cosine = (apart / length * direction).sum(-1, keepdim=True).clamp(0.0, 1.0)
        return hidden - strength * cosine * hidden.norm(dim=-1, keepdim=True) * direction


@dataclass(frozen=True)
class Clamp:
    """Projection clamp: h <- h + (clip(h . d, low, high) - h . d) d, d of length 1."""

    name: ClassVar[str] = "clamp"

    direction: torch.Tensor
    """Unit vector. # [width] float32"""
    low: float = -INFINITY
    high: float = INFINITY

    def tensors(self) -> tuple[torch.Tensor, ...]:
        return (self.direction, torch.tensor([self.low]), torch.tensor([self.high]))

    @staticmethod
    def formula(hidden: torch.Tensor, *tensors: torch.Tensor) -> torch.Tensor:
        direction, low, high = tensors
        component = (hidden * direction).sum(-1, keepdim=True)
        clipped = torch.minimum(torch.maximum(component, low), high)
        return hidden + (clipped - component) * direction


@dataclass(frozen=True)
class LowRank:
    """Addition by projections: h <- h + sum_k clip(h . read_k + offset_k, low_k, high_k) write_k.

    With one vector each, a strength that is linear in the projection (AdaSteer, arXiv 2504.09466);
    with k, an edit by a matrix of rank k (AlphaSteer).
    """

    name: ClassVar[str] = "low_rank"

    read: torch.Tensor
    """# [k, width] float32"""
    write: torch.Tensor
    """# [k, width] float32"""
    offset: float | torch.Tensor = 0.0
    """One for all, or one each. # [k] float32"""
    low: float | torch.Tensor = -INFINITY
    high: float | torch.Tensor = INFINITY

    def tensors(self) -> tuple[torch.Tensor, ...]:
        each = (
            torch.as_tensor(value, dtype=torch.float32).expand(len(self.read))
            for value in (self.offset, self.low, self.high)
        )
        return (self.read, self.write, *each)

    @staticmethod
    def formula(hidden: torch.Tensor, *tensors: torch.Tensor) -> torch.Tensor:
        read, write, offset, low, high = tensors
        strength = hidden @ read[:, 0].mT + offset  # [rows, tokens, k]
        strength = torch.minimum(torch.maximum(strength, low), high)
        return hidden + strength @ write[:, 0]


def _as_long_as(hidden: torch.Tensor, moved: torch.Tensor) -> torch.Tensor:
    """``moved`` at the norm of ``hidden``. # [rows, tokens, width]"""
    # The smallest normal number keeps an all-zero activation from becoming 0 / 0.
    length = moved.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(hidden.dtype).tiny)
    ratio = hidden.norm(dim=-1, keepdim=True) / length
    return moved * ratio.clamp(max=torch.finfo(hidden.dtype).max)
