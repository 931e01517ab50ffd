"""From the activations of contrastive pairs to one direction per layer.

Mean difference (the steering vector of CAA, arXiv 2312.06681, read at the last prompt token):

    v_l = mean(h_l | positive) - mean(h_l | negative)
    direction_l = v_l / ||v_l||,   gap_l = ||v_l||

The gap, the distance between the two class means along the direction, is the unit of strength.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from calib.errors import CalibError


@dataclass(frozen=True)
class Fit:
    """What an estimator finds, for every layer that was read."""

    vectors: torch.Tensor  # [layers, width] float32, unit length
    gap: torch.Tensor  # [layers] float32: distance of the class means along the vector


Estimator = Callable[[torch.Tensor, torch.Tensor], Fit]


def mean_difference(positive: torch.Tensor, negative: torch.Tensor) -> Fit:
    """Difference of the class means. # [positives, layers, width], [negatives, layers, width]

    Raises CalibError when the class means coincide: there is no direction to speak of.
    """
    difference = positive.double().mean(0) - negative.double().mean(0)  # [layers, width]
    gap = difference.norm(dim=-1)
    if (gap == 0).any():
        raise CalibError(
            f"the two classes have the same mean activation at layer {int(gap.argmin())}: there is "
            "no direction between them. Are the safe and unsafe examples really different?"
        )
    return Fit((difference / gap[:, None]).float(), gap.float())


ESTIMATORS: dict[str, Estimator] = {"mean_difference": mean_difference}


def auroc(vectors: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor) -> list[float]:
    """How well the projection on each layer's vector tells the classes apart, per layer.

    0.5 is chance, 1.0 is perfect. Give activations the vectors were not fitted on.
    # [layers, width], [positives, layers, width], [negatives, layers, width]
    """
    labels = np.r_[np.ones(len(positive)), np.zeros(len(negative))]
    both = torch.cat([positive, negative])
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
