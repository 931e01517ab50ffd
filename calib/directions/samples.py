"""What an estimator is given, the activations of a contrast, and what it gives: a fit per layer."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from calib.util.errors import CalibError

ROUNDING = 1e-12
"""Distances below this share of the activations' norm are rounding errors of float64 sums."""


@dataclass(frozen=True)
class Samples:
    """Activations of both sides of a contrast."""

    positive: torch.Tensor  # [positives, layers, width] float32
    negative: torch.Tensor  # [negatives, layers, width] float32
    positive_groups: Sequence[str]
    """The pair, or the query, that each belongs to."""
    negative_groups: Sequence[str]
    paired: bool
    """Whether positive[k] is the twin of negative[k]."""

    def differences(self, estimator: str) -> torch.Tensor:
        """Positive minus negative twin, of each pair. # [pairs, layers, width] float64

        Raises CalibError, naming the estimator, when the contrast has no twins.
        """
        if not self.paired:
            raise CalibError(
                f"estimator '{estimator}' compares twins, and the examples of this contrast do not "
                "come in pairs. Use a contrast of twins (contrast=safety), or an estimator that "
                "needs none (estimator=mean_difference)."
            )
        return self.positive.double() - self.negative.double()


@dataclass(frozen=True)
class Fit:
    """What an estimator finds, for every layer that was read."""

    vectors: torch.Tensor
    """Unit vectors that point to the positive class. # [layers, width] float32"""
    gap: torch.Tensor
    """Distance of the class means along the vector: the unit of strength. # [layers] float32"""
    midpoint: torch.Tensor
    """Projection halfway between those of the class means. # [layers] float32"""
    basis: torch.Tensor
    """Orthonormal rows that span what was found, the first the vector. # [layers, k, width]"""
    readers: torch.Tensor | None = None
    """Reading vectors r of an edit of rank one, h <- h + strength (h . r) gap vector.

    None where the edit adds the vector whatever the activation. # [layers, width] float32
    """


def class_means(samples: Samples) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean activation of the positive and of the negative class. # twice [layers, width] float64"""
    return samples.positive.double().mean(0), samples.negative.double().mean(0)


def fit_along(
    found: torch.Tensor,
    means: tuple[torch.Tensor, torch.Tensor],
    readers: torch.Tensor | None = None,
) -> Fit:
    """The fit for the first of the directions found, each turned to the positive class.

    found[:, 0] may have any length; those after it must be of length 1 and orthogonal to it.
    # [layers, k, width] float64, twice [layers, width] float64, [layers, width] float64

    Raises CalibError when the class means coincide at a layer, altogether or along the vector:
    there is no direction to speak of, and no unit of strength.
    """
    positive, negative = means
    apart = positive - negative  # [layers, width]
    basis = torch.cat([found[:, :1] / found[:, :1].norm(dim=-1, keepdim=True), found[:, 1:]], 1)
    along = torch.einsum("lkw,lw->lk", basis, apart)
    basis = torch.where(along < 0, -1.0, 1.0)[:, :, None] * basis
    gap = along[:, 0].abs()
    size = (positive.norm(dim=-1) + negative.norm(dim=-1)) / 2
    # Not "gap <= ...": the gap along a vector of length 0 is nan.
    nowhere = ~(gap > ROUNDING * size)
    if nowhere.any():
        raise CalibError(
            f"the two classes have the same mean activation at layer {int(nowhere.int().argmax())} "
            "(counted from 0 among those read): there is no direction between them. Are the "
            "examples of the two sides really different?"
        )
    vectors = basis[:, 0]
    return Fit(
        vectors=vectors.float(),
        gap=gap.float(),
        midpoint=(vectors * (positive + negative) / 2).sum(-1).float(),
        basis=basis.float(),
        readers=None if readers is None else readers.float(),
    )
