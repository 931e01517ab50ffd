"""Estimators: one direction per layer from the activations of a contrast.

Each returns a unit vector per layer that points to the positive class, and the gap: the distance
between the class means along the vector, which is the unit of strength.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression

from calib.directions.samples import Fit, Samples, class_means, fit_along, group_means
from calib.directions.subspaces import nullspace_ridge, pca, svd_subspace
from calib.util.errors import CalibError, did_you_mean


def mean_difference(samples: Samples) -> Fit:
    """Difference of the class means (CAA, arXiv 2312.06681; mass mean shift in ITI, 2306.03341).

    v = mean(h | positive) - mean(h | negative). The gap is the length of v.
    """
    positive, negative = class_means(samples)
    return fit_along((positive - negative)[:, None], (positive, negative))


def paired_mean_difference(samples: Samples) -> Fit:
    """Mean of the twins' differences at unit length, so that each pair has the same weight.

    v = mean_i d_i / ||d_i||. Without the normalisation it is the mean difference. Twins with equal
    activations are ignored.

    Raises CalibError if the samples are not paired.
    """
    units = unit_differences(samples, "paired_mean_difference")
    return fit_along(units.mean(0)[:, None], class_means(samples))


def multi_response_means(samples: Samples) -> Fit:
    """Difference of means over queries, so that each query has the same weight.

    On each side, activations are averaged over the responses to a query, then over queries (the
    multi-response samples of Internal Activation Revision, arXiv 2501.16378). Gap and midpoint are
    those of these class means.
    """
    means = (
        _mean_of_groups(samples.positive, samples.positive_groups),
        _mean_of_groups(samples.negative, samples.negative_groups),
    )
    return fit_along((means[0] - means[1])[:, None], means)


def unit_differences(samples: Samples, estimator: str) -> torch.Tensor:
    """The twins' differences at unit length; 0 for equal twins. # [pairs, layers, width] float64

    Raises CalibError if the samples are not paired.
    """
    differences = samples.differences(estimator)
    lengths = differences.norm(dim=-1, keepdim=True)
    return differences / lengths.where(lengths > 0, 1.0)


def _mean_of_groups(activations: torch.Tensor, groups: Sequence[str]) -> torch.Tensor:
    """Mean of the groups' means. # [examples, layers, width] -> [layers, width] float64"""
    return torch.stack(list(group_means(activations, groups).values())).mean(0)


def logistic_probe(samples: Samples) -> Fit:
    """Weights of a logistic regression (the probe weight direction of ITI, arXiv 2306.03341).

    The activations of a layer are divided by their standard deviation over all examples and
    channels. The regularisation (C = 1) then does not depend on the model's scale, and channels
    keep their proportions. Subtracting the mean only changes the intercept; the solver converges
    faster.
    """
    both, labels = _labelled(samples)
    weights = []
    for layer in range(both.shape[1]):
        centred = both[:, layer] - both[:, layer].mean(0)
        spread = centred.std() or 1.0  # 0 for equal activations, which fit_along reports
        weights.append(LogisticRegression(max_iter=1000).fit(centred / spread, labels).coef_)
    return fit_along(torch.from_numpy(np.stack(weights)), class_means(samples))


def lda(samples: Samples) -> Fit:
    """Linear discriminant analysis: w = Sigma^-1 (mean(h | positive) - mean(h | negative)).

    Sigma is the covariance within the classes, weighted by class size. Because there are fewer
    examples than channels, each class covariance is shrunk towards a diagonal matrix by the amount
    of Ledoit & Wolf (2004). The solver needs a width x width matrix per layer, which takes seconds
    for a width of 2,000 or more.

    Raises CalibError if each class has only one example, and therefore no covariance.
    """
    both, labels = _labelled(samples)
    if len(both) <= 2:
        raise CalibError(
            "too-few",
            "estimator 'lda' needs at least two examples in a class, to estimate the covariance, "
            f"and there are {len(both)} examples in total. Use more data, or "
            "estimator=mean_difference.",
        )
    weights = [
        LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(layer, labels).coef_
        for layer in both.swapaxes(0, 1)
    ]
    return fit_along(torch.from_numpy(np.stack(weights)), class_means(samples))


def _labelled(samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    """Activations of both classes, and 1 for the positive class, 0 for the negative.

    # [examples, layers, width] float64, [examples]
    """
    both = torch.cat([samples.positive, samples.negative]).double().numpy()
    return both, np.r_[np.ones(len(samples.positive)), np.zeros(len(samples.negative))]


def keep_top_channels(fit: Fit, samples: Samples, count: int) -> Fit:
    """The fit along each vector's ``count`` channels with the largest magnitude; others are 0.

    The gap and the midpoint are those of the class means along the sparse vector (Refusal Control,
    arXiv 2603.13359, section 3.1).

    Raises CalibError (no-solution) if the class means do not differ in these channels.
    """
    kept = fit.vectors.abs().topk(min(count, fit.vectors.shape[-1]), dim=-1).indices
    sparse = torch.zeros_like(fit.vectors).scatter(-1, kept, fit.vectors.gather(-1, kept))
    return fit_along(sparse.double()[:, None], class_means(samples))


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


def estimate(samples: Samples, estimator: str) -> Fit:
    """The fit of a named estimator; NAME_topK keeps the K largest channels of each vector.

    Raises CalibError for an unknown estimator, or for an estimator that needs pairs if the samples
    are not paired.
    """
    name, _, channels = estimator.partition(_TOP)
    if name not in ESTIMATORS:
        raise CalibError(
            "unknown-name",
            f"estimator '{name}' is not known.{did_you_mean(name, ESTIMATORS)} Choose from "
            f"{', '.join(ESTIMATORS)}.",
        )
    fit = ESTIMATORS[name](samples)
    return keep_top_channels(fit, samples, int(channels)) if channels else fit


def estimator_name(estimator: str, top_channels: int | None) -> str:
    """The name under which ``estimate`` keeps the largest channels; None keeps all."""
    return estimator if top_channels is None else f"{estimator}{_TOP}{top_channels}"


_TOP = "_top"
