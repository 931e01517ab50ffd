"""Estimators of one direction per layer from the activations of a contrast.

All give a unit vector per layer that points to the positive class, and the distance of the class
means along it, the gap, which is the unit of strength: 1.0 moves one class mean as far along the
vector as the other one lies.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression

from calib.directions.samples import Fit, Samples, class_means, fit_along
from calib.directions.subspaces import nullspace_ridge, pca, svd_subspace
from calib.util.errors import CalibError


def mean_difference(samples: Samples) -> Fit:
    """Difference of the class means (CAA, arXiv 2312.06681; mass mean shift in ITI, 2306.03341).

    v = mean(h | positive) - mean(h | negative), so that the gap is its length.
    """
    positive, negative = class_means(samples)
    return fit_along((positive - negative)[:, None], (positive, negative))


def paired_mean_difference(samples: Samples) -> Fit:
    """Mean of the twins' differences, each at unit length, so that none counts by its length.

    v = mean_i d_i / ||d_i||. Without the scaling it is the mean difference. Twins with equal
    activations have no direction and do not count.

    Raises CalibError when the samples are not paired.
    """
    units = unit_differences(samples, "paired_mean_difference")
    return fit_along(units.mean(0)[:, None], class_means(samples))


def multi_response_means(samples: Samples) -> Fit:
    """Difference of means over queries, so that one with many responses counts once.

    The mean of each query's responses is taken first, on each side, then the mean over queries
    (the multi-response samples of Internal Activation Revision, arXiv 2501.16378). Gap and
    midpoint are those of these class means.
    """
    means = (
        _mean_of_groups(samples.positive, samples.positive_groups),
        _mean_of_groups(samples.negative, samples.negative_groups),
    )
    return fit_along((means[0] - means[1])[:, None], means)


def unit_differences(samples: Samples, estimator: str) -> torch.Tensor:
    """The twins' differences at unit length, 0 where twins are equal. # [pairs, layers, width]

    Raises CalibError when the samples are not paired.
    """
    differences = samples.differences(estimator)
    lengths = differences.norm(dim=-1, keepdim=True)
    return differences / lengths.where(lengths > 0, 1.0)


def _mean_of_groups(activations: torch.Tensor, groups: Sequence[str]) -> torch.Tensor:
    """Mean over groups of their means. # [examples, layers, width] -> [layers, width] float64"""
    rows: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        rows.setdefault(group, []).append(row)
    return torch.stack([activations[some].double().mean(0) for some in rows.values()]).mean(0)


def logistic_probe(samples: Samples) -> Fit:
    """Weight of a logistic regression (the probe weight direction of ITI, arXiv 2306.03341).

    The activations of a layer are divided by one number, their standard deviation over all
    examples and channels: regularisation, of strength C = 1, is then the same for a model whose
    activations are a hundred times as large, and channels keep their proportions. Their mean is
    taken off, which the intercept makes up for, because the solver converges faster without it.
    """
    both, labels = _labelled(samples)
    weights = []
    for layer in range(both.shape[1]):
        at = both[:, layer] - both[:, layer].mean(0)
        spread = at.std() or 1.0  # 0 where all are equal: fit_along says so
        weights.append(LogisticRegression(max_iter=1000).fit(at / spread, labels).coef_)
    return fit_along(torch.from_numpy(np.stack(weights)), class_means(samples))


def lda(samples: Samples) -> Fit:
    """Linear discriminant analysis, w = Sigma^-1 (mean(h | positive) - mean(h | negative)).

    Sigma is the covariance within the classes, each weighed by its examples and shrunk to a
    diagonal as much as Ledoit & Wolf (2004) find best: there are fewer examples than channels. The
    solver works on a width x width matrix per layer, which takes seconds from a width of 2,000 on.

    Raises CalibError when each class has one example only: nothing varies within them.
    """
    both, labels = _labelled(samples)
    if len(both) <= 2:
        raise CalibError(
            "estimator 'lda' needs to see how activations vary within a class, and there is one "
            "example of each. Use more data, or estimator=mean_difference."
        )
    weights = [
        LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(at, labels).coef_
        for at in both.swapaxes(0, 1)
    ]
    return fit_along(torch.from_numpy(np.stack(weights)), class_means(samples))


def _labelled(samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    """Activations, and 1 for those of the positive class. # [n, layers, width] float64, [n]"""
    both = torch.cat([samples.positive, samples.negative]).double().numpy()
    return both, np.r_[np.ones(len(samples.positive)), np.zeros(len(samples.negative))]


Estimator = Callable[[Samples], Fit]

ESTIMATORS: dict[str, Estimator] = {
    "mean_difference": mean_difference,
    "paired_mean_difference": paired_mean_difference,
    "pca": pca,
    "logistic_probe": logistic_probe,
    "lda": lda,
    "multi_response_means": multi_response_means,
    "svd_subspace": svd_subspace,
    "nullspace_ridge": nullspace_ridge,
}
