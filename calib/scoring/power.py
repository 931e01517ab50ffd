"""How large a change a run can find, and how many pairs it would take to find a smaller one.

    pairs = ((z_level + z_power) spread / difference)^2
    difference = (z_level + z_power) spread / sqrt(pairs)

Normal approximation of a two-sided test at 1 - level (Cohen 1988, ch. 2; for evaluations of
language models Miller 2024, arXiv 2411.00640, section 5); z_level is the quantile at
(1 + level) / 2, z_power the one at the power. ``spread`` is the standard deviation between clusters
(pairs, mostly), so that a difference measured on so many pairs has the standard error
spread / sqrt(pairs).
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
_PLANNED = 0.05
"""The change that a note plans for: 5 points."""


def pairs_needed(
    spread: float, difference: float, power: float = POWER, level: float = LEVEL
) -> int:
    """The number of pairs on which a true ``difference`` is found with that power; at least 2.

    Raises CalibError for a difference of 0, which no number of pairs would find.
    """
    if not (difference and math.isfinite(difference)):
        raise CalibError(f"Pairs can be planned for a difference other than 0, not {difference}.")
    return max(2, math.ceil((_quantiles(power, level) * _checked(spread) / difference) ** 2))


def detectable_difference(
    spread: float, pairs: int, power: float = POWER, level: float = LEVEL
) -> float:
    """The smallest true difference that so many ``pairs`` find with that power."""
    if pairs < 1:
        raise CalibError(f"A difference needs at least one pair to be found on, not {pairs}.")
    return _quantiles(power, level) * _checked(spread) / math.sqrt(pairs)


def spread_of(
    a: ArrayLike,
    b: ArrayLike,
    clusters: Sequence[Any] | None = None,
    groups: Sequence[Any] | None = None,
) -> float:
    """Standard deviation between clusters of intervals.paired_difference's statistic.

    With C clusters and G groups, d_cg the sum of the n_cg differences of cluster c in group g, N_g
    and m_g the group's size and mean, each cluster deviates by

        e_c = sum_g (d_cg - m_g n_cg) / (G N_g)        SE^2 = C / (C - 1) sum_c e_c^2

    which is the linearised variance of a mean of ratios (Cochran 1977, section 6.4), and the spread
    is SE sqrt(C). nan for fewer than two clusters. Errors as in paired_difference.
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
    """One sentence: what change of SRA these pairs find with 80% power, and what 5 points take."""
    spread = spread_of(a, b, clusters, groups)
    pairs = len(set(checked_pairs(a, b, clusters, groups)[1]))
    counted = f"{pairs:,} pair{'s' * (pairs != 1)}"
    if math.isnan(spread):
        return f"{counted}: too few to say which change of SRA would be found."
    if spread < 1e-9:
        return (
            f"{counted}: each changed by as much, so they do not tell which change would be found."
        )
    found = 100 * detectable_difference(spread, pairs)
    needed = pairs_needed(spread, _PLANNED)
    return (
        f"{counted}: a change of SRA of {found:.1f} points is found with {POWER:.0%} power; "
        f"{100 * _PLANNED:g} points would take {needed:,} pairs."
    )


def _quantiles(power: float, level: float) -> float:
    for name, share in (("power", power), ("level", level)):
        if not 0 < share < 1:
            raise CalibError(f"A {name} lies between 0 and 1, not {share}; e.g. 0.8.")
    normal = NormalDist()
    return normal.inv_cdf((1 + level) / 2) + normal.inv_cdf(power)


def _checked(spread: float) -> float:
    if not (spread >= 0 and math.isfinite(spread)):
        raise CalibError(f"A spread is a standard deviation, at least 0, not {spread}.")
    return spread
