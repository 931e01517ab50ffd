"""Confidence intervals: Wilson for rates, MOVER for combinations, clustered bootstrap for the rest.

The default level of every interval is 0.95. Observations of a cluster are not independent, so every
interval rests on its number of clusters; with few of them, normal and bootstrap quantiles are too
narrow and those of Student's t replace or widen them. Every random draw comes from a seeded
generator, and the order of the rows matters only to floating-point summation.
"""

import functools
import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calib.scoring.cluster_variance import correlation, deviations, standard_error, t_quantile
from calib.util.errors import CalibError

LEVEL = 0.95
RESAMPLES = 2000
FEWEST_RESAMPLED = 8
"""Clusters whose resamples vary enough for quantiles; fewer have an interval of Student's t."""
_CACHED = 1000
"""Maximum number of clusters whose resamples are cached, at most 8 MB per entry."""
_CHUNK = 250
"""Resamples drawn at a time, to bound memory with thousands of clusters."""


class Interval(NamedTuple):
    """An estimate with its confidence bounds and the number of observations behind it.

    If n is 0, value and bounds are nan. The bounds alone are nan if the value exists but its
    uncertainty cannot be estimated (a bootstrap of a single cluster).
    """

    value: float
    low: float
    high: float
    n: int
    clusters: int | None = None
    """Number of independent clusters behind the estimate; None if it was not recorded."""


NO_DATA = Interval(math.nan, math.nan, math.nan, 0, 0)
"""The interval of an estimate without observations."""


def wilson(successes: float, n: int, level: float = LEVEL) -> Interval:
    """Score interval for ``successes`` out of ``n`` (Wilson 1927; Newcombe 1998, method 3).

    The ``n`` observations are independent, each a cluster of its own. ``successes`` may be
    fractional, as when n counts clusters of responses. Raises CalibError if ``successes`` is not
    between 0 and ``n``, and for a level outside (0, 1).
    """
    if not 0 <= successes <= n:
        raise CalibError(
            "invalid-value", f"A rate needs 0 <= successes <= n, not {successes} of {n}."
        )
    if n == 0:
        return NO_DATA
    return Interval(successes / n, *_wilson_bounds(successes / n, n, level), n, n)


def _wilson_bounds(rate: float, n: float, level: float) -> tuple[float, float]:
    z = NormalDist().inv_cdf(0.5 + _checked(level) / 2)
    centre = rate + z * z / (2 * n)
    spread = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # Exact at 0 and 1, where rounding would leave a bound such as 1e-18 or 0.9999999.
    low = 0.0 if rate == 0 else (centre - spread) / scale
    high = 1.0 if rate == 1 else (centre + spread) / scale
    return low, high


def clustered_rate(hits: Sequence[bool], clusters: Sequence[Any], level: float = LEVEL) -> Interval:
    """Share of true ``hits`` with Wilson's interval for the effective number of observations.

    That number is rate (1 - rate) / SE^2 with the clustered standard error SE, at most n, times
    (t_n / t_C)^2, the quantiles of Student's t with n - 1 and C - 1 degrees of freedom (Korn and
    Graubard 1998; of the intervals compared by Franco et al. 2019, J. Survey Statistics and
    Methodology 7:334, it is among those whose coverage is closest to nominal). If each observation
    is its own cluster, the interval is Wilson's. A rate of 0 or 1 shows no variance, so each of the
    C clusters counts as one observation. Raises CalibError if lengths differ.
    """
    n = len(hits)
    if len(clusters) != n:
        raise CalibError("mismatch", f"There are {len(clusters)} clusters for {n} values.")
    count, successes = len(set(clusters)), sum(hits)
    if count == n:
        return wilson(successes, n, level)
    rate, effective = successes / n, float(count)
    if 0 < successes < n and count > 1:
        error = standard_error(deviations(hits, clusters))
        upper = 0.5 + _checked(level) / 2
        few = (t_quantile(upper, n) / t_quantile(upper, count)) ** 2
        effective = few * min(n, rate * (1 - rate) / error**2 if error > 0 else n)
    return Interval(rate, *_wilson_bounds(rate, effective, level), n, count)


class Dependence(NamedTuple):
    """The dependence of two estimates whose examples share clusters."""

    correlation: float
    """Correlation of the two estimates."""
    clusters: int
    """Number of distinct clusters of both."""
    known: bool = True
    """False if ``correlation`` is the largest possible size, of either sign."""


def dependence(
    a: Sequence[float], a_clusters: Sequence[Any], b: Sequence[float], b_clusters: Sequence[Any]
) -> Dependence:
    """Return the dependence of the means of ``a`` and ``b`` through the clusters they share.

    If one mean does not vary between its clusters (all responses are right, or there is a single
    cluster), the correlation cannot be estimated. It is then the largest one possible for clusters
    of equal size: with s shared ones, sqrt(s / C_a) sqrt(s / C_b), and 1 if all are shared.
    """
    first, second = deviations(a, a_clusters), deviations(b, b_clusters)
    count = len(first.keys() | second.keys())
    shared = len(first.keys() & second.keys())
    # Deviations of a mean that does not vary are zero up to rounding.
    if shared and not all(standard_error(of) > 1e-9 for of in (first, second)):
        return Dependence(shared / math.sqrt(len(first) * len(second)), count, known=False)
    return Dependence(correlation(first, second), count)


def mean_of_rates(a: Interval, b: Interval, shared: Dependence | None = None) -> Interval:
    """Mean of two rates of different examples, e.g. SRA of SRA_u and SRA_s; see _combined."""
    return _combined(0.5, a, 0.5, b, shared)


def difference_of_rates(a: Interval, b: Interval, shared: Dependence | None = None) -> Interval:
    """``a - b`` for two rates of different examples, e.g. delta_IR = DAR_b - DAR_h.

    For two Wilson intervals of independent rates this is method 10 of Newcombe (1998). For rates of
    the same examples use paired_difference.
    """
    return _combined(1.0, a, -1.0, b, shared)


def _combined(
    weight_a: float, a: Interval, weight_b: float, b: Interval, shared: Dependence | None
) -> Interval:
    # MOVER (Zou & Donner 2008, section 2): the distances from estimate to bound add as standard
    # errors do, with twice their product times the correlation; a negative weight swaps lower and
    # upper bound. Without ``shared`` the rates are independent.
    rho = shared.correlation if shared else 0.0
    if weight_a * weight_b < 0 and (shared is None or shared.known):
        rho = -rho  # of either sign if it is not known, and the wider interval counts

    def distance(lower: bool) -> float:
        first, second = (
            abs(weight) * (i.value - i.low if lower == (weight > 0) else i.high - i.value)
            for weight, i in ((weight_a, a), (weight_b, b))
        )
        return math.sqrt(max(0.0, first**2 + second**2 + 2 * rho * first * second))

    value = weight_a * a.value + weight_b * b.value
    clusters = shared.clusters if shared else None
    if shared is None and a.clusters is not None and b.clusters is not None:
        clusters = a.clusters + b.clusters
    return Interval(value, value - distance(True), value + distance(False), a.n + b.n, clusters)


def bootstrap_mean(
    values: ArrayLike,
    clusters: Sequence[Any] | None = None,
    groups: Sequence[Any] | None = None,
    *,
    seed: int = 0,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
) -> Interval:
    """Mean of ``values`` with an expanded percentile bootstrap interval; see expanded_tail.

    ``clusters`` names the cluster of each value; whole clusters are resampled, because their
    members are not independent. With ``groups`` (one name per value) the statistic is the
    unweighted mean of the group means, e.g. SRA with the groups safe and unsafe; resamples that
    lack a group are left out.

    Fewer than FEWEST_RESAMPLED clusters have too few distinct resamples: their interval is the mean
    plus and minus t SE, with the clustered standard error and one degree of freedom less than
    clusters.

    The bounds are nan for fewer than two clusters. Raises CalibError if lengths differ or a value
    is not finite.
    """
    array = _finite(values)
    if array.size == 0:
        return NO_DATA
    sums, counts = _totals(array, clusters, groups)
    value = float((sums.sum(axis=0) / counts.sum(axis=0)).mean())
    count = len(sums)
    if count < 2:
        return Interval(value, math.nan, math.nan, array.size, count)
    if count < FEWEST_RESAMPLED:
        names = range(array.size) if clusters is None else clusters
        t = t_quantile(0.5 + _checked(level) / 2, count)
        reach = t * standard_error(deviations(array.tolist(), names, groups))
        return Interval(value, value - reach, value + reach, array.size, count)
    statistics = _resampled(sums, counts, seed, resamples)
    tail = expanded_tail(count, level)
    low, high = np.nanquantile(statistics, [tail, 1 - tail])
    return Interval(value, float(low), float(high), array.size, count)


def expanded_tail(clusters: int, level: float = LEVEL) -> float:
    """Share of resamples below the lower bound of an expanded percentile interval.

    With C clusters and the quantile t of Student's t with C - 1 degrees of freedom it is
    Phi(-t sqrt(C / (C - 1))): percentiles of few resampled clusters are too narrow (Hesterberg
    2015, The American Statistician 69:371, section 4.4). C must be at least 2.
    """
    t = t_quantile(0.5 + _checked(level) / 2, clusters)
    return NormalDist().cdf(-t * math.sqrt(clusters / (clusters - 1)))


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise CalibError(
            "not-finite",
            f"{int((~np.isfinite(array)).sum())} of {array.size} values are not finite numbers "
            "(NaN or infinite), so they have no mean; find out which step produced them.",
        )
    return array


def _totals(
    array: NDArray[np.float64], clusters: Sequence[Any] | None, groups: Sequence[Any] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the sum and the number of values by cluster and group, each [clusters, groups]."""
    cluster_of = _codes(clusters if clusters is not None else range(array.size), array.size)
    group_of = _codes(groups if groups is not None else [0] * array.size, array.size)
    shape = (int(cluster_of.max()) + 1, int(group_of.max()) + 1)
    sums, counts = np.zeros(shape), np.zeros(shape)
    np.add.at(sums, (cluster_of, group_of), array)
    np.add.at(counts, (cluster_of, group_of), 1)
    return sums, counts


def paired_difference(
    a: ArrayLike,
    b: ArrayLike,
    clusters: Sequence[Any] | None = None,
    groups: Sequence[Any] | None = None,
    *,
    seed: int = 0,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
) -> Interval:
    """mean(a) - mean(b) over the same examples in the same order, with a bootstrap interval.

    Both values of an example are resampled together, and so are the examples of a cluster.
    ``clusters``, ``groups`` and errors as in bootstrap_mean; n is the number of examples. Bounds
    of a difference of rates, whose values are between 0 and 1, are between -1 and 1.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise CalibError(
            "mismatch",
            f"A paired difference needs two values per example, not {first.size} and "
            f"{second.size}; score the same examples under both settings.",
        )
    difference = bootstrap_mean(
        first - second, clusters, groups, seed=seed, level=level, resamples=resamples
    )
    if all(((values >= 0) & (values <= 1)).all() for values in (first, second)):
        low, high = np.clip(difference[1:3], -1, 1).tolist()
        return difference._replace(low=low, high=high)
    return difference


def _resampled(
    sums: NDArray[np.float64], counts: NDArray[np.float64], seed: int, resamples: int
) -> NDArray[np.float64]:
    n_clusters, n_groups = sums.shape
    # The cells of a grid have equal numbers of clusters, so their resamples are equal and cached.
    draw = _times_drawn if n_clusters <= _CACHED else _times_drawn.__wrapped__
    both = np.hstack([sums, counts])
    statistics = []
    for times in draw(n_clusters, seed, resamples):
        totals = times.astype(np.float64) @ both
        with np.errstate(invalid="ignore"):  # 0/0 is nan: a resample without a group
            statistics.append((totals[:, :n_groups] / totals[:, n_groups:]).mean(axis=1))
    return np.concatenate(statistics)


@functools.lru_cache(maxsize=64)
def _times_drawn(n_clusters: int, seed: int, resamples: int) -> list[NDArray[np.uint32]]:
    """Draw how often each cluster occurs in each resample: chunks of [resamples, clusters]."""
    generator = np.random.default_rng(seed)
    chunks = []
    for start in range(0, resamples, _CHUNK):
        rows = min(_CHUNK, resamples - start)
        drawn = generator.integers(n_clusters, size=(rows, n_clusters))
        drawn += n_clusters * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * n_clusters)
        chunks.append(times.reshape(rows, n_clusters).astype(np.uint32))
    return chunks


def _codes(names: Sequence[Any], n: int) -> NDArray[np.intp]:
    if len(names) != n:
        raise CalibError("mismatch", f"There are {len(names)} clusters or groups for {n} values.")
    # Sorted, so that resamples do not depend on the order of the rows.
    codes = {name: code for code, name in enumerate(sorted(set(names)))}
    return np.array([codes[name] for name in names], dtype=np.intp)


def _checked(level: float) -> float:
    if not 0 < level < 1:
        raise CalibError(
            "invalid-value", f"A confidence level is between 0 and 1, not {level}; e.g. 0.95."
        )
    return level
