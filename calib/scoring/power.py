"""Statistical power: the change that a run can detect, and the pairs that a change needs.

    pairs = ((z_level + z_power) spread / difference)^2
    difference = (z_level + z_power) spread / sqrt(pairs)

Normal approximation of a two-sided test at 1 - level (Cohen 1988, ch. 2; for evaluations of
language models Miller 2024, arXiv 2411.00640, section 5); z_level is the quantile at
(1 + level) / 2, z_power the quantile at the power. ``spread`` is the standard deviation between
clusters (usually pairs): a difference over that many pairs has standard error spread / sqrt(pairs).
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

from numpy.typing import ArrayLike

from calib.scoring.intervals import LEVEL
from calib.scoring.significance import checked_pairs
from calib.util.errors import CalibError

POWER = 0.8
_PLANNED_CHANGE = 0.05
"""Change that power_note plans for, as a rate (5 points)."""


def pairs_needed(
    spread: float, difference: float, power: float = POWER, level: float = LEVEL
) -> int:
    """Number of pairs that detect a true ``difference`` with ``power``; at least 2.

    Raises CalibError for a difference of 0, which no number of pairs detects.
    """
    if not (difference and math.isfinite(difference)):
        raise CalibError(
            "invalid-value",
            f"The difference to detect must not be 0 or infinite, not {difference}.",
        )
    return max(2, math.ceil((_quantiles(power, level) * _checked(spread) / difference) ** 2))


def detectable_difference(
    spread: float, pairs: int, power: float = POWER, level: float = LEVEL
) -> float:
    """Smallest true difference that ``pairs`` pairs detect with ``power``."""
    if pairs < 1:
        raise CalibError("too-few", f"Detecting a difference needs at least 1 pair, not {pairs}.")
    return _quantiles(power, level) * _checked(spread) / math.sqrt(pairs)


def spread_of(
    a: ArrayLike,
    b: ArrayLike,
    clusters: Sequence[Any] | None = None,
    groups: Sequence[Any] | None = None,
) -> float:
    """Standard deviation between clusters of intervals.paired_difference's statistic.

    Let there be C clusters and G groups; d_cg is the sum of the n_cg differences of cluster c in
    group g, and N_g and m_g are the group's size and mean. Each cluster deviates by

        e_c = sum_g (d_cg - m_g n_cg) / (G N_g)        SE^2 = C / (C - 1) sum_c e_c^2

    the linearised variance of a mean of ratios (Cochran 1977, section 6.4); the spread is
    SE sqrt(C). nan for fewer than two clusters. Errors as in paired_difference.
    """
    values, cluster_of, group_of = checked_pairs(a, b, clusters, groups)
    sizes, sums = Counter(group_of), defaultdict[Any, float](float)
    for value, group in zip(values, group_of, strict=True):
        sums[group] += value
    deviations: dict[Any, float] = defaultdict(float)
    for value, cluster, group in zip(values, cluster_of, group_of, strict=True):
        mean = sums[group] / sizes[group]
        deviations[cluster] += (value - mean) / (len(sizes) * sizes[group])
    count = len(deviations)
    if count < 2:
        return math.nan
    return count * math.sqrt(math.fsum(e * e for e in deviations.values()) / (count - 1))


def power_note(
    a: ArrayLike,
    b: ArrayLike,
    clusters: Sequence[Any] | None = None,
    groups: Sequence[Any] | None = None,
) -> str:
    """One sentence: the change of SRA that these pairs detect, and the pairs that 5 points need."""
    spread = spread_of(a, b, clusters, groups)
    pairs = len(set(checked_pairs(a, b, clusters, groups)[1]))
    counted = f"{pairs:,} pair{'s' * (pairs != 1)}"
    if math.isnan(spread):
        return f"{counted}: too few to estimate the detectable change of SRA."
    if spread < 1e-9:
        return f"{counted}: all changed by the same amount, so power cannot be estimated."
    detectable = 100 * detectable_difference(spread, pairs)
    needed = pairs_needed(spread, _PLANNED_CHANGE)
    return (
        f"{counted}: detects a change of SRA of {detectable:.1f} points with {POWER:.0%} power; "
        f"{100 * _PLANNED_CHANGE:g} points would need {needed:,} pairs."
    )


def _quantiles(power: float, level: float) -> float:
    for name, share in (("power", power), ("level", level)):
        if not 0 < share < 1:
            raise CalibError(
                "invalid-value", f"The {name} must be between 0 and 1, not {share}; e.g. 0.8."
            )
    normal = NormalDist()
    return normal.inv_cdf((1 + level) / 2) + normal.inv_cdf(power)


def _checked(spread: float) -> float:
    if not (spread >= 0 and math.isfinite(spread)):
        raise CalibError(
            "invalid-value", f"The spread, a standard deviation, must be at least 0, not {spread}."
        )
    return spread
