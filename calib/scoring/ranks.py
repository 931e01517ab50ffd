"""Ranks of methods by their change from one baseline, with bootstrap intervals.

The clusters of examples are resampled for all methods together, each resample ranks the methods
again, and the interval of a method's rank holds 95% of its ranks (Goldstein and Spiegelhalter 1996,
section 4). A method's interval is its own: the intervals of all methods do not hold jointly with
95%.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calib.scoring.intervals import (
    FEWEST_RESAMPLED,
    LEVEL,
    RESAMPLES,
    expanded_tail,
    resampled_means,
)

_EQUAL = 1e-9
"""Changes that differ by less are equal: the difference is rounding, not a response."""


class Rank(NamedTuple):
    """The rank of a method, 1 for the largest change, with its interval."""

    value: int
    low: int
    high: int


def rank_by_change(
    changes: Mapping[str, ArrayLike],
    clusters: Sequence[Any],
    groups: Sequence[Any] | None = None,
    *,
    seed: int = 0,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
) -> dict[str, Rank]:
    """Rank methods by the mean change over the same examples, the largest first.

    ``changes`` has one value per example for each method, after minus before; ``clusters`` and
    ``groups`` as in intervals.bootstrap_mean. Equal methods share the better rank; in a resample
    they take up all their places, so that methods with the same responses have intervals from the
    first of these places to the last. With fewer than FEWEST_RESAMPLED clusters, whose resamples
    hardly differ, all intervals are from 1 to the number of methods. Raises CalibError if lengths
    differ or a change is not finite.
    """
    count = len(changes)
    if not count:
        return {}
    observed = np.array([_mean(change, groups) for change in changes.values()])
    better, _ = _places(observed[:, None])
    drawn = np.stack(
        [
            resampled_means(change, clusters, groups, seed=seed, resamples=resamples)
            for change in changes.values()
        ]
    )  # [methods, resamples]
    if len(set(clusters)) < FEWEST_RESAMPLED:
        return {name: Rank(int(better[k, 0]), 1, count) for k, name in enumerate(changes)}
    # All methods have the same examples, so that a group is missing for all of them or for none.
    best, worst = _places(drawn[:, ~np.isnan(drawn[0])])
    tail = expanded_tail(len(set(clusters)), level)
    low = np.quantile(best, tail, axis=1, method="lower")
    high = np.quantile(worst, 1 - tail, axis=1, method="higher")
    return {
        name: Rank(int(better[k, 0]), int(low[k]), int(high[k])) for k, name in enumerate(changes)
    }


def _mean(change: ArrayLike, groups: Sequence[Any] | None) -> float:
    values = np.asarray(change, dtype=np.float64)
    names = np.asarray([0] * values.size if groups is None else groups)
    return float(np.mean([values[names == name].mean() for name in np.unique(names)]))


def _places(values: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the first and the last place of each method in each column, [methods, columns]."""
    first = np.stack([1 + (values > own + _EQUAL).sum(axis=0) for own in values])
    last = np.stack([(values >= own - _EQUAL).sum(axis=0) for own in values])
    return first, last
