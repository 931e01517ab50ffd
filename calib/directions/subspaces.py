"""Estimators by matrix decomposition: principal components, subspaces and null spaces."""

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge

from calib.directions.samples import Fit, Samples, class_means, fit_along


def pca(samples: Samples) -> Fit:
    """First principal component of the twins' differences, oriented to the positive class.

    RepE (arXiv 2310.01405) flips the sign of each difference at random, so that the common
    difference is part of the variance and not of the mean, which PCA subtracts. Here each
    difference enters with both signs: the expectation over random signs, and deterministic.

    Raises CalibError if the samples are not paired.
    """
    differences = samples.differences("pca").numpy()  # [pairs, layers, width]
    components = []
    for layer in range(differences.shape[1]):
        at_layer = differences[:, layer]
        # "full", because "auto" may choose a randomised solver.
        with np.errstate(invalid="ignore"):  # equal twins have no variance, which fit_along reports
            model = PCA(n_components=1, svd_solver="full").fit([*at_layer, *-at_layer])
        components.append(torch.from_numpy(model.components_))
    return fit_along(torch.stack(components), class_means(samples))


def svd_subspace(samples: Samples, rank: int = 3) -> Fit:
    """The first ``rank`` right singular vectors of the twins' differences, which are not centred.

    D = U S V^T with one difference per row (VLM-Guard, arXiv 2502.10486). The subspace has fewer
    dimensions if the differences at some layer span fewer. Each vector is oriented to the positive
    class. The first vector equals that of ``pca``, where differences with both signs have mean 0.

    Raises CalibError if the samples are not paired.
    """
    differences = samples.differences("svd_subspace").movedim(0, 1)  # [layers, pairs, width]
    # torch.linalg.matrix_rank counts the singular values above rounding.
    rank = min(rank, max(1, int(torch.linalg.matrix_rank(differences).min())))
    rows = torch.linalg.svd(differences, full_matrices=False).Vh  # [layers, spanned, width]
    return fit_along(rows[:, :rank], class_means(samples))


def nullspace_ridge(
    samples: Samples,
    null_share: float = 0.6,
    ridge: float = 10.0,
    benign: torch.Tensor | None = None,
) -> Fit:
    """Mean difference with a reader that is 0 on benign activations.

    AlphaSteer (arXiv 2506.07022, section 4) edits h <- h + s h Delta with Delta = P D. P projects
    on the null space of the benign activations: ``benign`` if given, or else the negative ones
    (# [examples, layers, width] float32). D is the ridge solution of
    H P D ~ 1 r^T: every positive activation, a row of H, is moved by the same refusal vector
    r = mean(h | positive) - mean(h | negative). That solution is

        D = (P H^T H P + ridge I)^-1 P H^T 1 r^T = w r^T,

    where w is the ridge regression, without intercept, of ones on H P. As a combination of rows of
    H P, w is in the range of P, so P w = w. Therefore Delta = w r^T has rank 1 and h Delta =
    (h . w) r. The reader w is about 1 on positive and about 0 on benign activations. The gap is
    ||r||.

    P drops the eigenvectors with the largest eigenvalues of the benign activations' second moments
    and keeps a share of ``null_share``. If more eigenvalues are 0, because there are few benign
    examples, it keeps all of them: otherwise rounding would decide which to drop.
    ``ridge`` is in squared activation units, as published.
    """
    positive, negative = class_means(samples)
    unchanged = samples.negative if benign is None else benign
    layers, width = positive.shape
    readers = torch.empty(layers, width, dtype=torch.float64)
    for layer in range(layers):
        # The right singular vectors of the activations are these eigenvectors, largest first.
        at_layer = unchanged[:, layer].double()
        _, sizes, rows = torch.linalg.svd(at_layer, full_matrices=False)
        zero = sizes[0] * max(at_layer.shape) * torch.finfo(at_layer.dtype).eps
        dropped = rows[: width - round(null_share * width)]
        dropped = dropped[sizes[: len(dropped)] > zero]  # [dropped, width]
        projected = samples.positive[:, layer].double()
        projected = projected - projected @ dropped.mT @ dropped  # [positives, width]
        ones = torch.ones(len(projected))
        model = Ridge(alpha=ridge, fit_intercept=False).fit(projected.numpy(), ones)
        readers[layer] = torch.from_numpy(model.coef_)
    return fit_along((positive - negative)[:, None], (positive, negative), readers)
