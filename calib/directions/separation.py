"""Separation of two classes along a direction, and how far pairs agree on it."""

import math

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from calib.directions.estimators import unit_differences
from calib.directions.samples import Samples


def auroc(vectors: torch.Tensor, samples: Samples) -> list[float]:
    """How well the projection on each layer's vector tells the classes apart, per layer.

    0.5 is chance, 1.0 is perfect. Give samples the vectors were not fitted on. # [layers, width]
    """
    both = torch.cat([samples.positive, samples.negative])
    labels = np.r_[np.ones(len(samples.positive)), np.zeros(len(samples.negative))]
    projections = torch.einsum("nlw,lw->nl", both, vectors).numpy()  # [examples, layers]
    return [float(roc_auc_score(labels, projections[:, k])) for k in range(vectors.shape[0])]


def auroc_interval(value: float, positives: int, negatives: int) -> tuple[float, float]:
    """95% interval of an AUROC (Hanley & McNeil 1982, equation 1), clipped to [0, 1].

    The variance is taken at the value drawn half an observation towards chance, so that a perfect
    separation of few examples has an interval too.
    """
    n = min(positives, negatives)
    drawn = (value * n + 0.5) / (n + 1)
    q1, q2 = drawn / (2 - drawn), 2 * drawn**2 / (1 + drawn)
    variance = drawn * (1 - drawn)
    variance += (positives - 1) * (q1 - drawn**2) + (negatives - 1) * (q2 - drawn**2)
    spread = 1.96 * math.sqrt(variance / (positives * negatives))
    return max(0.0, value - spread), min(1.0, value + spread)


def pair_cosine(samples: Samples) -> list[float]:
    """Mean cosine between the differences of two different pairs, at each layer.

    1 means that all pairs differ in one direction, 0 that they have none in common (AutoSteer,
    arXiv 2507.13255, chooses its layer by it). With u_i = d_i / ||d_i|| the mean over i != j of
    u_i . u_j is (||sum_i u_i||^2 - n) / (n (n - 1)), so it takes n steps, not n^2. Twins with equal
    activations have no direction and do not count; nan where fewer than two pairs are left or the
    samples are not paired.
    """
    if not samples.paired:
        return [math.nan] * samples.positive.shape[1]
    units = unit_differences(samples, "pair_cosine")  # [pairs, layers, width]
    count = units.any(-1).sum(0).double()  # [layers]
    together = units.sum(0).square().sum(-1)
    # Pairs that differ in exactly one direction may round to above 1.
    cosines = (together - count) / (count * (count - 1))
    return cosines.clamp(-1, 1).where(count > 1, math.nan).tolist()
