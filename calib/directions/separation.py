"""Separation of two classes along a direction, and agreement between pairs."""

import math

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from calib.directions.estimators import unit_differences
from calib.directions.samples import Samples


def auroc(vectors: torch.Tensor, samples: Samples) -> list[float]:
    """AUROC of the projections on each layer's vector: 0.5 is chance, 1.0 is perfect separation.

    Use samples that the vectors were not fitted on. # [layers, width] -> [layers]
    """
    both = torch.cat([samples.positive, samples.negative])
    labels = np.r_[np.ones(len(samples.positive)), np.zeros(len(samples.negative))]
    projections = torch.einsum("nlw,lw->nl", both, vectors).numpy()  # [examples, layers]
    return [float(roc_auc_score(labels, projections[:, k])) for k in range(vectors.shape[0])]


def auroc_interval(value: float, positives: int, negatives: int) -> tuple[float, float]:
    """95% interval of an AUROC (Hanley & McNeil 1982, equation 1), clipped to [0, 1].

    The variance is computed at a value shrunk by half an observation towards chance, so that the
    interval of a perfect separation has a width above 0.
    """
    n = min(positives, negatives)
    shrunk = (value * n + 0.5) / (n + 1)
    q1, q2 = shrunk / (2 - shrunk), 2 * shrunk**2 / (1 + shrunk)
    variance = shrunk * (1 - shrunk)
    variance += (positives - 1) * (q1 - shrunk**2) + (negatives - 1) * (q2 - shrunk**2)
    spread = 1.96 * math.sqrt(variance / (positives * negatives))
    return max(0.0, value - spread), min(1.0, value + spread)


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
