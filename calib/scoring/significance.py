"""Whether a paired difference could be chance, and p-values of several of them taken together.

paired_p_value: sign-flipping permutation test (Fisher 1935; Good 2005, ch. 3). Were the two
                settings alike, each cluster's difference would be as likely with either sign.
holm:           step-down adjustment that keeps the chance of any false claim below the level
                (Holm 1979)
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
"""Up to so many clusters with a difference every pattern of signs is tried: 4096 of them."""
DRAWS = 10_000
_CHUNK = 500
"""Patterns drawn at a time, so that thousands of clusters need megabytes."""


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

    The sign of a whole cluster is flipped at once. Exact for up to EXACT clusters whose difference
    is not zero; beyond, (1 + as extreme) / (1 + draws) over seeded draws, which is never 0. nan
    without values. Raises CalibError when lengths differ or a value is not finite.
    """
    parts = contributions(a, b, clusters, groups)
    if parts.size == 0:
        return math.nan
    # Rounding must not tell apart what is equally extreme; nor make an exact zero a difference.
    slack = 1e-9 * float(np.abs(parts).sum())
    parts = parts[np.abs(parts) > slack / max(1, parts.size)]
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


def contributions(
    a: ArrayLike,
    b: ArrayLike,
    clusters: Sequence[Any] | None = None,
    groups: Sequence[Any] | None = None,
) -> NDArray[np.float64]:
    """What each cluster, in order of name, adds to the paired difference: they sum to it."""
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
    """The differences a - b, with a cluster and a group for each; CalibError where one lacks."""
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    n = first.size
    cluster_of = range(n) if clusters is None else clusters
    group_of = [0] * n if groups is None else groups
    if first.shape != second.shape or len(cluster_of) != n or len(group_of) != n:
        raise CalibError(
            f"A paired comparison needs two values, a cluster and a group per example, not {n} and "
            f"{second.size} values, {len(cluster_of)} clusters and {len(group_of)} groups."
        )
    difference = first - second
    if not np.isfinite(difference).all():
        raise CalibError(
            f"{int((~np.isfinite(difference)).sum())} of {n} differences are not finite numbers; "
            "find out which step produced them."
        )
    return difference.tolist(), cluster_of, group_of


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm-adjusted ``p_values``, in their order; nan stays nan and is not counted as a test.

    With the m p-values in rising order, the k-th (from 0) becomes the largest of (m - k) p_k and
    those before it, at most 1. Raises CalibError for what is no p-value.
    """
    adjusted = [math.nan] * len(p_values)
    tested = [place for place, p in enumerate(p_values) if not math.isnan(p)]
    largest = 0.0
    for rank, place in enumerate(sorted(tested, key=lambda place: p_values[place])):
        if not 0 <= p_values[place] <= 1:
            raise CalibError(f"A p-value lies between 0 and 1, not {p_values[place]}.")
        largest = max(largest, (len(tested) - rank) * p_values[place])
        adjusted[place] = min(1.0, largest)
    return adjusted
