"""Separation of two classes along a direction, and agreement between pairs."""

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import stdtrit
from sklearn.metrics import roc_auc_score

from calib.directions.estimators import unit_differences
from calib.directions.samples import ROUNDING, Samples

if TYPE_CHECKING:
    from calib.directions.direction import Direction

CHANCE = 0.5
"""AUROC of projections that tell nothing about the class."""


def auroc(vectors: torch.Tensor, samples: Samples) -> list[float]:
    """AUROC of the projections on each layer's vector: 0.5 is chance, 1.0 is perfect separation.

    Use samples that the vectors were not fitted on. # [layers, width] -> [layers]
    """
    both = torch.cat([samples.positive, samples.negative])
    labels = np.r_[np.ones(len(samples.positive)), np.zeros(len(samples.negative))]
    projections = torch.einsum("nlw,lw->nl", both, vectors).numpy()  # [examples, layers]
    return [float(roc_auc_score(labels, projections[:, k])) for k in range(vectors.shape[0])]


def auroc_bounds(vectors: torch.Tensor, samples: Samples) -> list[tuple[float, float]]:
    """95% interval of each layer's AUROC, see clustered_auroc; empty if clusters are unknown."""
    if not samples.clusters:
        return []
    positive, negative = (
        torch.einsum("nlw,lw->ln", side, vectors).numpy()  # [layers, examples]
        for side in (samples.positive, samples.negative)
    )
    names = samples.positive_clusters, samples.negative_clusters
    return [clustered_auroc(*scores, *names)[1:] for scores in zip(positive, negative, strict=True)]


def auroc_interval(value: float, positives: int, negatives: int) -> tuple[float, float]:
    """95% interval of an AUROC (Hanley & McNeil 1982, equation 1), clipped to [0, 1].

    ``positives`` and ``negatives`` count independent observations: of examples that share clusters,
    the clusters, each of which then counts as one observation. The variance is computed at a value
    shrunk by half an observation towards chance, so that the interval of a perfect separation has a
    width above 0.
    """
    n = min(positives, negatives)
    shrunk = (value * n + 0.5) / (n + 1)
    q1, q2 = shrunk / (2 - shrunk), 2 * shrunk**2 / (1 + shrunk)
    variance = shrunk * (1 - shrunk)
    variance += (positives - 1) * (q1 - shrunk**2) + (negatives - 1) * (q2 - shrunk**2)
    spread = 1.96 * math.sqrt(variance / (positives * negatives))
    return max(0.0, value - spread), min(1.0, value + spread)


def clustered_auroc(
    positive: NDArray[np.floating],
    negative: NDArray[np.floating],
    positive_clusters: Sequence[str],
    negative_clusters: Sequence[str],
) -> tuple[float, float, float]:
    """AUROC of the scores of two classes, and its 95% interval for clusters of dependent scores.

    The variance is that of Obuchowski (1997, equation 3); if each score is its own cluster it is
    DeLong's. The quantile is Student's with one degree of freedom less than the side with fewer
    clusters has, and the bounds are clipped to [0, 1]. If the variance is 0 (perfect separation),
    the interval is auroc_interval's for as many examples as clusters. The bounds are 0 and 1 if a
    side has fewer than two clusters. # [examples] each
    """
    wins = _share_below(negative, positive)  # [positives]
    losses = 1 - _share_below(positive, negative)  # [negatives]
    auroc = float(wins.mean())
    names = {name: k for k, name in enumerate(sorted({*positive_clusters, *negative_clusters}))}
    of_positive = np.array([names[name] for name in positive_clusters])
    of_negative = np.array([names[name] for name in negative_clusters])
    count = len(names)
    with_positive, with_negative = len({*positive_clusters}), len({*negative_clusters})
    if min(with_positive, with_negative) < 2:
        return auroc, 0.0, 1.0
    excess_positive = np.bincount(of_positive, wins - auroc, count)  # [clusters]
    excess_negative = np.bincount(of_negative, losses - auroc, count)
    variance = (
        with_positive / (with_positive - 1) * (excess_positive**2).sum() / len(positive) ** 2
        + with_negative / (with_negative - 1) * (excess_negative**2).sum() / len(negative) ** 2
        + 2 * count / (count - 1) * (excess_positive * excess_negative).sum()
        / (len(positive) * len(negative))
    )  # fmt: skip
    if variance < ROUNDING:
        return auroc, *auroc_interval(auroc, with_positive, with_negative)
    few = min(with_positive, with_negative)
    spread = float(stdtrit(few - 1, 0.975)) * math.sqrt(variance)
    return auroc, max(0.0, auroc - spread), min(1.0, auroc + spread)


def _share_below(scores: NDArray[np.floating], values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Share of ``scores`` below each of ``values``; equal ones count half. # [values]"""
    ordered = np.sort(scores)
    below = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    return below / (2 * len(scores))


def best_layer(direction: "Direction", layers: Collection[int] | None = None) -> int:
    """The layer with the largest held-out AUROC, which must be measured; of equals, the first.

    ``layers`` are those to choose from, by default all of the direction.
    """
    measured = dict(zip(direction.layers, direction.auroc, strict=True))
    candidates = [layer for layer in measured if layers is None or layer in layers]
    return max(candidates, key=lambda layer: (measured[layer], -layer))


def chance_note(direction: "Direction", layer: int, *, chosen: bool = True) -> str:
    """A sentence where the held-out AUROC at ``layer`` is not above chance: its 95% interval
    reaches CHANCE, as it always does for fewer than two clusters a side. "" where it is above, or
    was not measured.

    ``chosen`` is whether the layer was chosen by its AUROC, which then cannot choose one.
    """
    if not direction.auroc:
        return ""
    row = direction.row(layer)
    value, (low, high) = direction.auroc[row], direction.auroc_intervals[row]
    if low > CHANCE:
        return ""
    counted = (
        f"n={direction.auroc_pairs} held-out example{'s' * (direction.auroc_pairs != 1)} a side"
    )
    if clusters := direction.auroc_clusters:
        counted += f" in {clusters} independent cluster{'s' * (clusters != 1)}"
    relation = "is at or below" if value <= CHANCE else "cannot be told from"
    consequence = (
        "so the choice of the layer is arbitrary: give the layer, or more pairs"
        if chosen
        else "so it may not separate the two sides: use more pairs, or another contrast"
    )
    return (
        f"the {direction.contrast} direction has a held-out AUROC of {value:.2f} at layer {layer} "
        f"(95% CI {low:.2f} to {high:.2f}, {counted}), which {relation} chance ({CHANCE}), "
        f"{consequence}"
    )


def pair_cosine(samples: Samples) -> list[float]:
    """Mean cosine between the differences of two pairs, over all pairs of pairs. # [layers]

    1: all pairs differ in the same direction; 0: they have no direction in common. AutoSteer (arXiv
    2507.13255) chooses its layer by it. With u_i = d_i / ||d_i||, the mean of u_i . u_j over i != j
    is (||sum_i u_i||^2 - n) / (n (n - 1)), which takes n steps instead of n^2. Twins with equal
    activations are ignored. nan if the samples are not paired or fewer than two pairs remain.
    """
    if not samples.paired:
        return [math.nan] * samples.positive.shape[1]
    units = unit_differences(samples, "pair_cosine")  # [pairs, layers, width]
    count = units.any(-1).sum(0).double()  # [layers]
    squared_sum = units.sum(0).square().sum(-1)
    # Clamped: for pairs that differ in exactly one direction, rounding may give more than 1.
    cosines = (squared_sum - count) / (count * (count - 1))
    return cosines.clamp(-1, 1).where(count > 1, math.nan).tolist()
