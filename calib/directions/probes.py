"""Directions from linear classifiers that tell the two classes apart."""

import numpy as np
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression

from calib.directions.samples import Fit, Samples, class_means, fit_along
from calib.errors import CalibError


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
