"""Statistical power: the change that a run can detect, and the clusters that a change needs.

    clusters = ((t_level + t_power) spread / difference)^2
    difference = (t_level + t_power) spread / sqrt(clusters)

Two-sided test at 1 - level (Cohen 1988, ch. 2; for evaluations of language models Miller 2024,
arXiv 2411.00640, section 5); t_level is the quantile at (1 + level) / 2 and t_power that at the
power, of Student's t with clusters - 1 degrees of freedom. ``spread`` is the standard deviation
between clusters: a difference over that many clusters has standard error spread / sqrt(clusters).
"""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

from numpy.typing import ArrayLike

from calib.scoring.cluster_variance import deviations, standard_error, t_quantile
from calib.scoring.intervals import LEVEL
from calib.scoring.significance import checked_pairs
from calib.util.errors import CalibError

POWER = 0.8
_PLANNED_CHANGE = 0.05
"""Change that power_note plans for, as a rate (5 points)."""


def clusters_needed(
    spread: float, difference: float, power: float = POWER, level: float = LEVEL
) -> int:
    """Number of clusters that detect a true ``difference`` with ``power``; at least 2.

    Raises CalibError for a difference of 0, which no number of clusters detects.
    """
    if not (difference and math.isfinite(difference)):
        raise CalibError(
            "invalid-value",
            f"The difference to detect must not be 0 or infinite, not {difference}.",
        )
    # The quantiles of t fall towards those of the normal distribution, where the search begins.
    normal = NormalDist()
    quantiles = [normal.inv_cdf(share) for share in _shares(power, level)]
    needed = max(2, math.ceil((sum(quantiles) * _checked(spread) / difference) ** 2))
    while detectable_difference(spread, needed, power, level) > abs(difference):
        needed += 1
    return needed


def detectable_difference(
    spread: float, clusters: int, power: float = POWER, level: float = LEVEL
) -> float:
    """Smallest true difference that ``clusters`` clusters detect with ``power``."""
    if clusters < 1:
        raise CalibError(
            "too-few", f"Detecting a difference needs at least 1 cluster, not {clusters}."
        )
    quantiles = [t_quantile(share, clusters) for share in _shares(power, level)]
    return sum(quantiles) * _checked(spread) / math.sqrt(clusters)


def spread_of(
    a: ArrayLike,
    b: ArrayLike,
    clusters: Sequence[Any] | None = None,
    groups: Sequence[Any] | None = None,
) -> float:
    """Standard deviation between clusters of intervals.paired_difference's statistic.

    With C clusters and the standard error SE of calib.scoring.cluster_variance it is SE sqrt(C).
    nan for fewer than two clusters. Errors as in paired_difference.
    """
    of = deviations(*checked_pairs(a, b, clusters, groups))
    return standard_error(of) * math.sqrt(len(of))


def power_note(
    a: ArrayLike,
    b: ArrayLike,
    clusters: Sequence[Any] | None = None,
    groups: Sequence[Any] | None = None,
) -> str:
    """One sentence: the change of SRA that these clusters detect, and how many 5 points need."""
    spread = spread_of(a, b, clusters, groups)
    count = len(set(checked_pairs(a, b, clusters, groups)[1]))
    counted = f"{count:,} independent cluster{'s' * (count != 1)}"
    if math.isnan(spread):
        return f"{counted}: too few to estimate the size of a change that they show."
    if spread < 1e-9:
        return f"{counted}: all changed by the same amount, so power cannot be estimated."
    detectable = 100 * detectable_difference(spread, count)
    needed = clusters_needed(spread, _PLANNED_CHANGE)
    return (
        f"With {counted}, a true change of SRA of {detectable:.1f} points is found with a "
        f"probability of {POWER:.0%}; finding {100 * _PLANNED_CHANGE:g} points takes {needed:,} "
        "clusters."
    )


def _shares(power: float, level: float) -> tuple[float, float]:
    for name, share in (("power", power), ("level", level)):
        if not 0 < share < 1:
            raise CalibError(
                "invalid-value", f"The {name} must be between 0 and 1, not {share}; e.g. 0.8."
            )
    return (1 + level) / 2, power


def _checked(spread: float) -> float:
    if not (spread >= 0 and math.isfinite(spread)):
        raise CalibError(
            "invalid-value", f"The spread, a standard deviation, must be at least 0, not {spread}."
        )
    return spread
