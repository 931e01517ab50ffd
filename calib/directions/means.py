"""Directions from means: the difference of the class means, and two ways to weigh its examples."""

from collections.abc import Sequence

import torch

from calib.directions.samples import Fit, Samples, class_means, fit_along


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
