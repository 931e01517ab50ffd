"""The input of an estimator (activations of a contrast) and its output (a fit per layer)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from calib.util.errors import CalibError

ROUNDING = 1e-12
NO_GAP = 1e-6
"""A gap below this share of the activations' length is rounding of the forward pass."""
"""Distances below this share of the activations' norm are rounding errors of float64 sums."""


@dataclass(frozen=True)
class Samples:
    """Activations of the two sides of a contrast."""

    positive: torch.Tensor  # [positives, layers, width] float32
    negative: torch.Tensor  # [negatives, layers, width] float32
    positive_groups: Sequence[str]
    """Pair or query of each positive example."""
    negative_groups: Sequence[str]
    paired: bool
    """Whether positive[k] is the twin of negative[k]."""
    positive_clusters: Sequence[str] = ()
    negative_clusters: Sequence[str] = ()
    """Cluster of each example; empty if unknown."""

    @property
    def clusters(self) -> int:
        """Independent clusters of examples, on the side with fewer; 0 if unknown."""
        return min(len({*self.positive_clusters}), len({*self.negative_clusters}))

    def differences(self, estimator: str) -> torch.Tensor:
        """Positive minus negative activations of each pair. # [pairs, layers, width] float64

        Where each query has several examples on both sides (contrast=responses: several responses),
        the differences are those of the query's means.

        Raises CalibError, which names the estimator, if the samples are not paired.
        """
        if self.paired:
            return self.positive.double() - self.negative.double()
        if set(self.positive_groups) == set(self.negative_groups):
            means = [
                group_means(self.positive, self.positive_groups),
                group_means(self.negative, self.negative_groups),
            ]
            return torch.stack([means[0][group] - means[1][group] for group in means[0]])
        raise CalibError(
            "conflicting-settings",
            f"estimator '{estimator}' compares twins, but the examples of this contrast are "
            "not paired. Use contrast=safety, whose examples are pairs, or "
            "estimator=mean_difference, which needs no pairs.",
        )


def group_means(activations: torch.Tensor, groups: Sequence[str]) -> dict[str, torch.Tensor]:
    """Mean activation of each group, by order of appearance.

    # [examples, layers, width] -> [layers, width] float64 each
    """
    rows: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        rows.setdefault(group, []).append(row)
    return {group: activations[indices].double().mean(0) for group, indices in rows.items()}


@dataclass(frozen=True)
class Fit:
    """The result of an estimator, for every layer that was read."""

    vectors: torch.Tensor
    """Unit vectors that point to the positive class. # [layers, width] float32"""
    gap: torch.Tensor
    """Distance of the class means along the vector: the unit of strength. # [layers] float32"""
    midpoint: torch.Tensor
    """Mean of the two class means' projections on the vector. # [layers] float32"""
    basis: torch.Tensor
    """Orthonormal rows that span the fitted subspace; the first is the vector.

    # [layers, k, width] float32
    """
    readers: torch.Tensor | None = None
    """Reading vectors r of the rank-1 edit h <- h + strength (h . r) gap vector.

    None for estimators whose edit does not depend on the activation. # [layers, width] float32
    """


def class_means(samples: Samples) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean activations of the positive and the negative class. # two of [layers, width] float64"""
    return samples.positive.double().mean(0), samples.negative.double().mean(0)


def separated(samples: Samples) -> list[int]:
    """Indices of the layers at which the class means differ by more than rounding.

    In the first blocks of hybrid decoders, and with short sliding windows, the last prompt token
    sees nothing but the template's end, which is the same for all queries.
    """
    positive, negative = class_means(samples)
    size = (positive.norm(dim=-1) + negative.norm(dim=-1)) / 2
    differ = (positive - negative).norm(dim=-1) > NO_GAP * size
    return differ.nonzero()[:, 0].tolist()


def at_layers(samples: Samples, indices: Sequence[int]) -> Samples:
    """The samples at some of their layers."""
    kept = list(indices)
    return replace(samples, positive=samples.positive[:, kept], negative=samples.negative[:, kept])


def fit_along(
    directions: torch.Tensor,
    means: tuple[torch.Tensor, torch.Tensor],
    readers: torch.Tensor | None = None,
) -> Fit:
    """The fit along the first of k directions, each oriented towards the positive class.

    ``directions[:, 0]`` may have any length; later rows must have length 1 and be orthogonal to it.
    # [layers, k, width] float64, two of [layers, width] float64, [layers, width] float64

    Raises CalibError if the class means coincide at a layer, or have the same projection on the
    direction: the gap, which is the unit of strength, would be 0.
    """
    positive, negative = means
    difference = positive - negative  # [layers, width]
    first = directions[:, :1] / directions[:, :1].norm(dim=-1, keepdim=True)
    basis = torch.cat([first, directions[:, 1:]], 1)
    projected = torch.einsum("lkw,lw->lk", basis, difference)
    basis = torch.where(projected < 0, -1.0, 1.0)[:, :, None] * basis
    gap = projected[:, 0].abs()
    size = (positive.norm(dim=-1) + negative.norm(dim=-1)) / 2
    apart = difference.norm(dim=-1) > ROUNDING * size
    unsolved = apart & ~(torch.isfinite(gap) & torch.isfinite(first[:, 0]).all(-1))
    if unsolved.any():
        raise CalibError(
            "no-solution",
            f"the estimator finds no direction at layer {int(unsolved.int().argmax())} (counted "
            "from 0 among the layers that were read), although the means of the two classes "
            "differ: its solution has length 0 or is not finite. The examples are too few, too "
            "alike within a class, or opposite in pairs. Use more data, or "
            "estimator=mean_difference.",
        )
    # Not "gap <= ...", because the gap along a vector of length 0 is nan.
    no_gap = ~(gap > ROUNDING * size)
    if no_gap.any():
        raise CalibError(
            "no-solution",
            f"the two classes have the same mean activation at layer {int(no_gap.int().argmax())} "
            "(counted from 0 among the layers that were read), so there is no direction between "
            "them. Check that the examples of the two sides differ. In the first blocks of hybrid "
            "decoders, the last prompt token does not see the query: leave out these layers "
            "(method.layers), or give method.read_positions=text.",
        )
    vectors = basis[:, 0]
    return Fit(
        vectors=vectors.float(),
        gap=gap.float(),
        midpoint=(vectors * (positive + negative) / 2).sum(-1).float(),
        basis=basis.float(),
        readers=None if readers is None else readers.float(),
    )


def require_length(vectors: torch.Tensor, layers: Sequence[int], meaning: str, remedy: str) -> None:
    """Raise CalibError (no-solution) if the vector of a layer has length 0.

    ``meaning`` says what the vector is the difference of. # [layers, width]
    """
    lengths = vectors.norm(dim=-1)
    if (lengths == 0).any():
        raise CalibError(
            "no-solution",
            f"{meaning} has length 0 at layer {layers[int((lengths == 0).int().argmax())]}, so "
            f"there is no direction to edit along. {remedy}",
        )
