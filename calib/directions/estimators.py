"""The estimators by name: from the activations of a contrast to one direction per layer.

All give a unit vector per layer that points to the positive class, and the distance of the class
means along it, the gap, which is the unit of strength: 1.0 moves one class mean as far along the
vector as the other one lies.
"""

from collections.abc import Callable

from calib.directions.means import mean_difference, multi_response_means, paired_mean_difference
from calib.directions.probes import lda, logistic_probe
from calib.directions.samples import Fit, Samples
from calib.directions.subspaces import nullspace_ridge, pca, svd_subspace

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
