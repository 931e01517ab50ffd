"""p-values of paired differences, and their adjustment for multiple testing.

paired_p_value: sign-flipping permutation test (Fisher 1935; Good 2005, ch. 3). Under the null
                hypothesis each cluster's difference has either sign with equal probability.
holm:           step-down adjustment that controls the family-wise error rate (Holm 1979)
"""

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calib.util.errors import CalibError

EXACT = 12
"""Maximum number of clusters with a difference for the exact test, which tries 2^12 patterns."""
DRAWS = 10_000
"""Random sign patterns of the approximate test."""
_CHUNK = 500
"""Patterns drawn at a time, to bound memory with thousands of clusters."""


def paired_p_value(
    a: ArrayLike,
    b: ArrayLike,
    clusters: Sequence[Any] | None = None,
    groups: Sequence[Any] | None = None,
    *,
    seed: int = 0,
    draws: int = DRAWS,
) -> float:
    """Two-sided p-value of intervals.paired_difference(a, b, clusters, groups), in (0, 1].

    The signs of a cluster are flipped together. The test is exact for up to EXACT clusters with a
    nonzero difference; for more it is (1 + number as extreme) / (1 + draws) over seeded draws,
    which is never 0. nan without values. Raises CalibError if lengths differ or a value is not
    finite.
    """
    parts = contributions(a, b, clusters, groups)
    if parts.size == 0:
        return math.nan
    # Rounding must neither separate equally extreme patterns nor turn a zero into a difference.
    slack = 1e-9 * float(np.abs(parts).sum())
    parts = _without_zeros(parts)
    bound = abs(float(parts.sum())) - slack
    if parts.size <= EXACT:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=parts.size)))
        return float((np.abs(signs @ parts) >= bound).mean())
    generator = np.random.default_rng(seed)
    extreme = 0
    for start in range(0, draws, _CHUNK):
        shape = (min(_CHUNK, draws - start), parts.size)
        signs = 2.0 * generator.integers(2, size=shape, dtype=np.int8) - 1.0
        extreme += int((np.abs(signs @ parts) >= bound).sum())
    return (1 + extreme) / (1 + draws)


def changed_clusters(
    a: ArrayLike,
    b: ArrayLike,
    clusters: Sequence[Any] | None = None,
    groups: Sequence[Any] | None = None,
) -> int:
    """Number of clusters with a nonzero difference, which alone decide the p-value."""
    return int(_without_zeros(contributions(a, b, clusters, groups)).size)


def _without_zeros(parts: NDArray[np.float64]) -> NDArray[np.float64]:
    slack = 1e-9 * float(np.abs(parts).sum())
    return parts[np.abs(parts) > slack / max(1, parts.size)]


def contributions(
    a: ArrayLike,
    b: ArrayLike,
    clusters: Sequence[Any] | None = None,
    groups: Sequence[Any] | None = None,
) -> NDArray[np.float64]:
    """The summand of each cluster, in order of name; the sum is the paired difference."""
    values, cluster_of, group_of = checked_pairs(a, b, clusters, groups)
    sizes = Counter(group_of)
    parts: dict[Any, float] = defaultdict(float)
    for value, cluster, group in zip(values, cluster_of, group_of, strict=True):
        parts[cluster] += value / (len(sizes) * sizes[group])
    return np.array([parts[cluster] for cluster in sorted(parts)])


def checked_pairs(
    a: ArrayLike,
    b: ArrayLike,
    clusters: Sequence[Any] | None,
    groups: Sequence[Any] | None,
) -> tuple[list[float], Sequence[Any], Sequence[Any]]:
    """Return the differences a - b with their clusters and groups.

    Raises CalibError if lengths differ or a difference is not finite.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    n = first.size
    cluster_of = range(n) if clusters is None else clusters
    group_of = [0] * n if groups is None else groups
    if first.shape != second.shape or len(cluster_of) != n or len(group_of) != n:
        raise CalibError(
            "mismatch",
            f"A paired comparison needs two values, a cluster and a group per example, not {n} and "
            f"{second.size} values, {len(cluster_of)} clusters and {len(group_of)} groups.",
        )
    difference = first - second
    if not np.isfinite(difference).all():
        raise CalibError(
            "not-finite",
            f"{int((~np.isfinite(difference)).sum())} of {n} differences are not finite numbers; "
            "find out which step produced them.",
        )
    return difference.tolist(), cluster_of, group_of


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the Holm-adjusted ``p_values`` in their order; nan stays nan and is not a test.

    With the m p-values in ascending order, the adjusted k-th (from 0) is the maximum of (m - j) p_j
    over j <= k, at most 1. Raises CalibError for a value outside [0, 1].
    """
    adjusted = [math.nan] * len(p_values)
    tested = [index for index, p in enumerate(p_values) if not math.isnan(p)]
    largest = 0.0
    for rank, index in enumerate(sorted(tested, key=lambda index: p_values[index])):
        if not 0 <= p_values[index] <= 1:
            raise CalibError(
                "invalid-value", f"A p-value is between 0 and 1, not {p_values[index]}."
            )
        largest = max(largest, (len(tested) - rank) * p_values[index])
        adjusted[index] = min(1.0, largest)
    return adjusted
