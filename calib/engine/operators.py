"""Operators: the formulas that edit activations, one class per operator.

``formula`` is applied to many rows at once. Activations have the shape ``[rows, tokens, width]``.
Each tensor of ``tensors`` is passed as ``[rows, 1, ...]``. A formula returns new activations and
modifies none of its arguments in place. ``in_float32`` applies it to activations of any dtype.

Notation: h is the activation of one token, d a unit direction, v a vector, s a strength.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch

INFINITY = float("inf")


class Operator(Protocol):
    """A formula that edits activations, with the tensors that it needs for one row."""

    name: ClassVar[str]

    def tensors(self) -> tuple[torch.Tensor, ...]:
        """The tensor arguments of the formula, without row and token axes."""
        ...

    @staticmethod
    def formula(hidden: torch.Tensor, *tensors: torch.Tensor) -> torch.Tensor:
        """The edited activations. # [rows, tokens, width] -> [rows, tokens, width]"""
        ...


def in_float32(
    formula: Callable[..., torch.Tensor], hidden: torch.Tensor, tensors: Sequence[torch.Tensor]
) -> torch.Tensor:
    """Apply a formula in float32 or wider, and return the result in the dtype of ``hidden``.

    In float16, the norm of activations and their component along a direction can exceed the largest
    number (65,504) although each activation and the result are below it. Activations of float32
    models are edited without a conversion. # [rows, tokens, width] -> [rows, tokens, width]
    """
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    wide = (tensor.to(dtype) for tensor in tensors)
    return formula(hidden.to(dtype), *wide).to(hidden.dtype)


@dataclass(frozen=True)
class Add:
    """Contrastive activation addition: h <- h + v (CAA, arXiv 2312.06681, section 3)."""

    name: ClassVar[str] = "add"

    vector: torch.Tensor
    """The vector, already scaled by the strength. # [width] float32"""

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
    """The vector, already scaled by the strength. # [width] float32"""

    def tensors(self) -> tuple[torch.Tensor, ...]:
        return (self.vector,)

    @staticmethod
    def formula(hidden: torch.Tensor, *tensors: torch.Tensor) -> torch.Tensor:
        return _with_norm_of(hidden, hidden + tensors[0])


@dataclass(frozen=True)
class AddByNorm:
    """Addition in proportion to the activation's norm: h <- h + s |h| d."""

    name: ClassVar[str] = "add_by_norm"

    direction: torch.Tensor
    """Unit vector. # [width] float32"""
    strength: float

    def tensors(self) -> tuple[torch.Tensor, ...]:
        return (self.direction, torch.tensor([self.strength]))

    @staticmethod
    def formula(hidden: torch.Tensor, *tensors: torch.Tensor) -> torch.Tensor:
        direction, strength = tensors
        return hidden + strength * hidden.norm(dim=-1, keepdim=True) * direction


@dataclass(frozen=True)
class AddByNormKeepingNorm:
    """Norm-preserving addition to the normalised activation (VTI, arXiv 2410.15778).

    h <- |h| (h/|h| + s d) / |h/|h| + s d|. All-zero activations stay zero.
    """

    name: ClassVar[str] = "add_by_norm_keeping_norm"

    direction: torch.Tensor
    """Unit vector. # [width] float32"""
    strength: float

    def tensors(self) -> tuple[torch.Tensor, ...]:
        return (self.direction, torch.tensor([self.strength]))

    @staticmethod
    def formula(hidden: torch.Tensor, *tensors: torch.Tensor) -> torch.Tensor:
        # Expanded by |h| / |h|, so that no activation is divided by its norm, which may be zero.
        return _with_norm_of(hidden, AddByNorm.formula(hidden, *tensors))


@dataclass(frozen=True)
class Ablate:
    """Directional ablation: h <- h - s (h D^T) D (arXiv 2406.11717, section 2.4)."""

    name: ClassVar[str] = "ablate"

    direction: torch.Tensor
    """Unit vector D, or orthonormal rows that span a subspace. # [width] or [k, width] float32"""
    strength: float = 1.0
    """Share of the component to remove: 0 changes nothing, 1 removes it, 2 reflects it."""

    def tensors(self) -> tuple[torch.Tensor, ...]:
        return (torch.atleast_2d(self.direction), torch.tensor([self.strength]))

    @staticmethod
    def formula(hidden: torch.Tensor, *tensors: torch.Tensor) -> torch.Tensor:
        directions, strength = tensors[0][:, 0], tensors[1]  # [rows, k, width]
        return hidden - strength * (hidden @ directions.mT @ directions)


@dataclass(frozen=True)
class AblateByCosine:
    """Adaptive ablation (ASTRA, arXiv 2411.16721).

    h <- h - s c |h| d with c = clip(cos(h - r, d), 0, 1) and a reference activation r. For h = r,
    c is 0.
    """

    name: ClassVar[str] = "ablate_by_cosine"

    direction: torch.Tensor
    """Unit vector. # [width] float32"""
    strength: float
    reference: torch.Tensor
    """Reference activation r that is subtracted before the cosine. # [width] float32"""

    def tensors(self) -> tuple[torch.Tensor, ...]:
        return (self.direction, torch.tensor([self.strength]), self.reference)

    @staticmethod
    def formula(hidden: torch.Tensor, *tensors: torch.Tensor) -> torch.Tensor:
        direction, strength, reference = tensors
        difference = hidden - reference
        length = difference.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(hidden.dtype).tiny)
        cosine = (difference / length * direction).sum(-1, keepdim=True).clamp(0.0, 1.0)
        return hidden - strength * cosine * hidden.norm(dim=-1, keepdim=True) * direction


@dataclass(frozen=True)
class Clamp:
    """Projection clamp: h <- h + (clip(h . d, low, high) - h . d) d."""

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
    """Low-rank edit: h <- h + sum_k clip(h . read_k + offset_k, low_k, high_k) write_k.

    Rank 1 adds a vector with a strength that is linear in the projection (AdaSteer, arXiv
    2504.09466). Rank k multiplies by a matrix of rank k (AlphaSteer, arXiv 2506.07022).
    """

    name: ClassVar[str] = "low_rank"

    read: torch.Tensor
    """# [k, width] float32"""
    write: torch.Tensor
    """# [k, width] float32"""
    offset: float | torch.Tensor = 0.0
    """One number for all k, or one per row; likewise ``low`` and ``high``. # [k] float32"""
    low: float | torch.Tensor = -INFINITY
    high: float | torch.Tensor = INFINITY

    def tensors(self) -> tuple[torch.Tensor, ...]:
        bounds = (
            torch.as_tensor(value, dtype=torch.float32).expand(len(self.read))
            for value in (self.offset, self.low, self.high)
        )
        return (self.read, self.write, *bounds)

    @staticmethod
    def formula(hidden: torch.Tensor, *tensors: torch.Tensor) -> torch.Tensor:
        read, write, offset, low, high = tensors
        strength = hidden @ read[:, 0].mT + offset  # [rows, tokens, k]
        strength = torch.minimum(torch.maximum(strength, low), high)
        return hidden + strength @ write[:, 0]


def _with_norm_of(hidden: torch.Tensor, moved: torch.Tensor) -> torch.Tensor:
    """``moved``, rescaled to the norm of ``hidden``. # [rows, tokens, width]"""
    # The clamp avoids 0 / 0 for all-zero activations.
    length = moved.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(hidden.dtype).tiny)
    ratio = hidden.norm(dim=-1, keepdim=True) / length
    return moved * ratio.clamp(max=torch.finfo(hidden.dtype).max)
