"""Variance of a mean whose observations share clusters, and Student's t for few clusters.

Let there be C clusters and G groups; d_cg is the sum of the n_cg values of cluster c in group g,
and N_g and m_g are the group's size and mean. The unweighted mean of the group means changes with
cluster c by

    e_c = sum_g (d_cg - m_g n_cg) / (G N_g)        SE^2 = C / (C - 1) sum_c e_c^2

the linearised variance of a mean of ratios (Cochran 1977, section 6.4). With one group it is the
variance of a cluster sample's mean.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence

from scipy.special import stdtrit

Deviations = Mapping[Hashable, float]
"""e_c by cluster; their sum is 0."""


def deviations(
    values: Sequence[float], clusters: Sequence[Hashable], groups: Sequence[Hashable] | None = None
) -> dict[Hashable, float]:
    """Return e_c of each cluster; ``clusters`` and ``groups`` name those of each value."""
    group_of = [0] * len(values) if groups is None else groups
    sizes, sums = Counter(group_of), defaultdict[Hashable, float](float)
    for value, group in zip(values, group_of, strict=True):
        sums[group] += value
    found: dict[Hashable, float] = defaultdict(float)
    for value, cluster, group in zip(values, clusters, group_of, strict=True):
        mean = sums[group] / sizes[group]
        found[cluster] += (value - mean) / (len(sizes) * sizes[group])
    return dict(found)


def standard_error(of: Deviations) -> float:
    """Return SE; nan for fewer than two clusters."""
    count = len(of)
    if count < 2:
        return math.nan
    return math.sqrt(count / (count - 1) * math.fsum(e * e for e in of.values()))


def correlation(a: Deviations, b: Deviations) -> float:
    """Return the correlation of two means through the clusters that they share, in [-1, 1].

    It is 0 for means without a common cluster, and if one of them does not vary.
    """
    size = math.sqrt(math.fsum(e * e for e in a.values()) * math.fsum(e * e for e in b.values()))
    shared = math.fsum(a[cluster] * b[cluster] for cluster in a.keys() & b.keys())
    return max(-1.0, min(1.0, shared / size)) if size > 0 else 0.0


def t_quantile(probability: float, clusters: int) -> float:
    """Return the quantile of Student's t with ``clusters`` - 1 degrees of freedom (at least 1)."""
    return float(stdtrit(max(1, clusters - 1), probability))
