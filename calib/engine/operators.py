"""What an edit does to an activation. One operator a class: its tensors and its formula.

``formula`` works on many rows at once. Every tensor of ``tensors`` arrives with one leading row
axis and a token axis of 1 (``[rows, 1, ...]``), the activations as ``[rows, tokens, width]``; it
returns new activations and never changes what it was given.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch


class Operator(Protocol):
    """Something that changes activations, row by row, with tensors of its own."""

    name: ClassVar[str]

    def tensors(self) -> tuple[torch.Tensor, ...]:
        """What the formula needs, without row and token axes; same shapes for all of a name."""
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
        moved = hidden + tensors[0]
        # The smallest normal number keeps an all-zero activation from becoming 0 / 0.
        length = moved.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(hidden.dtype).tiny)
        ratio = hidden.norm(dim=-1, keepdim=True) / length
        return moved * ratio.clamp(max=torch.finfo(hidden.dtype).max)


@dataclass(frozen=True)
class Ablate:
    """Directional ablation: h <- h - s (h . d) d, d of length 1 (arXiv 2406.11717, section 2.4)."""

    name: ClassVar[str] = "ablate"

    direction: torch.Tensor
    """Unit vector. # [width] float32"""
    strength: float = 1.0
    """1 removes the component along the direction, 0 changes nothing, 2 mirrors it."""

    def tensors(self) -> tuple[torch.Tensor, ...]:
        return (self.direction, torch.tensor([self.strength]))

    @staticmethod
    def formula(hidden: torch.Tensor, *tensors: torch.Tensor) -> torch.Tensor:
        direction, strength = tensors
        component = (hidden * direction).sum(-1, keepdim=True)
        return hidden - strength * component * direction


@dataclass(frozen=True)
class Clamp:
    """Projection clamp: h <- h + (clip(h . d, low, high) - h . d) d, d of length 1."""

    name: ClassVar[str] = "clamp"

    direction: torch.Tensor
    """Unit vector. # [width] float32"""
    low: float = float("-inf")
    high: float = float("inf")

    def tensors(self) -> tuple[torch.Tensor, ...]:
        return (self.direction, torch.tensor([self.low]), torch.tensor([self.high]))

    @staticmethod
    def formula(hidden: torch.Tensor, *tensors: torch.Tensor) -> torch.Tensor:
        direction, low, high = tensors
        component = (hidden * direction).sum(-1, keepdim=True)
        clipped = torch.minimum(torch.maximum(component, low), high)
        return hidden + (clipped - component) * direction
