"""Confidence intervals: Wilson for rates, MOVER for combinations, clustered bootstrap for the rest.

Every interval has the level 0.95 unless told otherwise; every random draw comes from a seeded
generator, and the order in which rows arrive does not matter beyond floating-point summation.
"""

import functools
import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calib.util.errors import CalibError

LEVEL = 0.95
RESAMPLES = 2000
_CACHED = 1000
"""Up to so many clusters the draws are kept, in 8 MB at most."""
_CHUNK = 250
"""Resamples drawn at a time, so that thousands of clusters need megabytes, not gigabytes."""


class Interval(NamedTuple):
    """An estimate with its confidence bounds and the number of observations behind it.

    All three are nan when n is 0. The bounds alone are nan where a value exists but its
    uncertainty cannot be estimated (a bootstrap over a single cluster).
    """

    value: float
    low: float
    high: float
    n: int


def wilson(successes: float, n: int, level: float = LEVEL) -> Interval:
    """Score interval for ``successes`` out of ``n`` (Wilson 1927; Newcombe 1998, method 3).

    ``successes`` need not be whole: a rate measured on n clusters of responses is rarely so.

    Raises CalibError when ``successes`` is not between 0 and ``n``.
    """
    if not 0 <= successes <= n:
        raise CalibError(f"A rate needs 0 <= successes <= n, not {successes} of {n}.")
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    z = NormalDist().inv_cdf(0.5 + _checked(level) / 2)
    rate = successes / n
    centre = rate + z * z / (2 * n)
    spread = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # Exact at the ends, where rounding would leave a bound of 1e-18 or 0.9999999.
    low = 0.0 if successes == 0 else (centre - spread) / scale
    high = 1.0 if successes == n else (centre + spread) / scale
    return Interval(rate, low, high, n)


def mean_of_rates(a: Interval, b: Interval) -> Interval:
    """Mean of two rates measured on different examples, e.g. SRA from SRA_u and SRA_s."""
    return _combined((0.5, a), (0.5, b))


def difference_of_rates(a: Interval, b: Interval) -> Interval:
    """``a - b`` for two rates measured on different examples, e.g. delta_IR = DAR_b - DAR_h.

    For two Wilson intervals this is Newcombe's (1998) method 10. For rates measured on the same
    examples it is wider than need be when they rise and fall together: see paired_difference.
    """
    return _combined((1.0, a), (-1.0, b))


def _combined(*terms: tuple[float, Interval]) -> Interval:
    # MOVER (Zou & Donner 2008, section 2): the distances from estimate to bound of independent
    # terms add in quadrature; a negative coefficient swaps which bound plays which part.
    below = [c * (i.value - i.low) if c > 0 else -c * (i.high - i.value) for c, i in terms]
    above = [c * (i.high - i.value) if c > 0 else -c * (i.value - i.low) for c, i in terms]
    value = sum(c * i.value for c, i in terms)
    n = sum(i.n for _, i in terms)
    return Interval(value, value - math.hypot(*below), value + math.hypot(*above), n)


def bootstrap_mean(
    values: ArrayLike,
    clusters: Sequence[Any] | None = None,
    groups: Sequence[Any] | None = None,
    *,
    seed: int = 0,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
) -> Interval:
    """Mean of ``values`` with a percentile bootstrap interval (Efron & Tibshirani 1993, ch. 13).

    ``clusters`` names for each of the n values the cluster it belongs to: whole clusters are
    drawn with replacement, since their members are not independent. With ``groups`` (one name per
    value) the statistic is the unweighted mean of the group means, e.g. SRA with the groups safe
    and unsafe; resamples in which a group is missing are left out.

    The bounds are nan for fewer than two clusters. Raises CalibError when lengths differ or a
    value is not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise CalibError(
            f"{int((~np.isfinite(array)).sum())} of {array.size} values are not finite numbers "
            "(NaN or infinite), so they have no mean; find out which step produced them."
        )
    if array.size == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    cluster_of = _codes(clusters if clusters is not None else range(array.size), array.size)
    group_of = _codes(groups if groups is not None else [0] * array.size, array.size)
    shape = (int(cluster_of.max()) + 1, int(group_of.max()) + 1)
    sums, counts = np.zeros(shape), np.zeros(shape)  # clusters x groups
    np.add.at(sums, (cluster_of, group_of), array)
    np.add.at(counts, (cluster_of, group_of), 1)

    value = float((sums.sum(axis=0) / counts.sum(axis=0)).mean())
    if shape[0] < 2:
        return Interval(value, math.nan, math.nan, array.size)
    statistics = _resampled(sums, counts, seed, resamples)
    tail = (1 - _checked(level)) / 2
    low, high = np.nanquantile(statistics, [tail, 1 - tail])
    return Interval(value, float(low), float(high), array.size)


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

    Each draw takes an example's two values together, and a cluster's examples together.
    ``clusters``, ``groups`` and errors as in bootstrap_mean; n counts examples.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise CalibError(
            f"A paired difference needs two values per example, not {first.size} against "
            f"{second.size}; score the same examples under both settings."
        )
    return bootstrap_mean(
        first - second, clusters, groups, seed=seed, level=level, resamples=resamples
    )


def _resampled(
    sums: NDArray[np.float64], counts: NDArray[np.float64], seed: int, resamples: int
) -> NDArray[np.float64]:
    n_clusters, n_groups = sums.shape
    # A grid scores as many clusters over and over: the same seed draws the same, once is enough.
    draw = _times_drawn if n_clusters <= _CACHED else _times_drawn.__wrapped__
    both = np.hstack([sums, counts])
    statistics = []
    for times in draw(n_clusters, seed, resamples):
        totals = times.astype(np.float64) @ both
        with np.errstate(invalid="ignore"):  # 0/0 where a group was not drawn: nan, as promised
            statistics.append((totals[:, :n_groups] / totals[:, n_groups:]).mean(axis=1))
    return np.concatenate(statistics)


@functools.lru_cache(maxsize=64)
def _times_drawn(n_clusters: int, seed: int, resamples: int) -> list[NDArray[np.uint32]]:
    """How often each cluster is drawn in each resample, [resamples, clusters] in chunks."""
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
        raise CalibError(f"{len(names)} clusters or groups were given for {n} values.")
    # Sorted, not in order of appearance: the draws must not depend on the order of the rows.
    codes = {name: code for code, name in enumerate(sorted(set(names)))}
    return np.array([codes[name] for name in names], dtype=np.intp)


def _checked(level: float) -> float:
    if not 0 < level < 1:
        raise CalibError(f"A confidence level lies between 0 and 1, not {level}; e.g. 0.95.")
    return level
