"""Directions from the shape of a set of activations: components, subspaces and null spaces."""

import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge

from calib.directions.samples import Fit, Samples, class_means, fit_along


def pca(samples: Samples) -> Fit:
    """First principal component of the twins' differences, turned to the positive class.

    RepE (arXiv 2310.01405) turns the sign of each difference at random, so that the common
    difference is in the variance, not in the mean that PCA takes off. Here each difference enters
    with both signs: what random signs give in expectation, and the same in every run.

    Raises CalibError when the samples are not paired.
    """
    differences = samples.differences("pca").numpy()  # [pairs, layers, width]
    found = []
    for layer in range(differences.shape[1]):
        at = differences[:, layer]
        # The full solver: "auto" may choose one that draws random numbers.
        model = PCA(n_components=1, svd_solver="full").fit([*at, *-at])
        found.append(torch.from_numpy(model.components_))
    return fit_along(torch.stack(found), class_means(samples))


def svd_subspace(samples: Samples, rank: int = 3) -> Fit:
    """The first ``rank`` right singular vectors of the twins' differences, which are not centred.

    D = U S V^T with one difference a row (VLM-Guard, arXiv 2502.10486). Fewer where the differences
    at some layer span less. Each vector is turned to the positive class. The first one is that of
    ``pca``: centring takes nothing off differences with both signs.

    Raises CalibError when the samples are not paired.
    """
    differences = samples.differences("svd_subspace").movedim(0, 1)  # [layers, pairs, width]
    # torch.linalg.matrix_rank counts the singular values above rounding.
    rank = min(rank, max(1, int(torch.linalg.matrix_rank(differences).min())))
    rows = torch.linalg.svd(differences, full_matrices=False).Vh  # [layers, spanned, width]
    return fit_along(rows[:, :rank], class_means(samples))


def nullspace_ridge(samples: Samples, null_share: float = 0.6, ridge: float = 10.0) -> Fit:
    """The mean difference, added as far as an activation resembles no negative one (AlphaSteer).

    AlphaSteer edits h <- h + s h Delta, Delta = P D, where P projects on the null space of the
    negative (benign) activations and D is the ridge solution of H P D ~ 1 r^T: every positive
    activation, a row of H, is to be moved by the same refusal vector r = mean(h | positive) -
    mean(h | negative). That solution is

        D = (P H^T H P + ridge I)^-1 P H^T 1 r^T = w r^T,

    with w the ridge regression, without intercept, of ones on H P. A sum of rows of H P, w lies in
    the range of P: P w = w. So Delta = w r^T has rank one, h Delta = (h . w) r, and w is the
    reader: about 1 on positive activations, about 0 on negative ones. The gap is ||r||.

    P leaves out the eigenvectors of the negative activations' second moments with the largest
    eigenvalues and keeps ``null_share`` of all. Where fewer negative samples leave more eigenvalues
    at zero than that, it keeps all of these: which to drop would be for rounding to choose.
    ``ridge`` is in squared activation units, as published.
    """
    positive, negative = class_means(samples)
    layers, width = positive.shape
    readers = torch.empty(layers, width, dtype=torch.float64)
    for layer in range(layers):
        # The right singular vectors of the activations are those eigenvectors, largest first.
        at = samples.negative[:, layer].double()
        _, sizes, rows = torch.linalg.svd(at, full_matrices=False)
        zero = sizes[0] * max(at.shape) * torch.finfo(at.dtype).eps
        loud = rows[: width - round(null_share * width)]
        loud = loud[sizes[: len(loud)] > zero]  # [left out, width]
        kept = samples.positive[:, layer].double()
        kept = kept - kept @ loud.mT @ loud  # [positives, width]
        model = Ridge(alpha=ridge, fit_intercept=False).fit(kept.numpy(), torch.ones(len(kept)))
        readers[layer] = torch.from_numpy(model.coef_)
    return fit_along((positive - negative)[:, None], (positive, negative), readers)
