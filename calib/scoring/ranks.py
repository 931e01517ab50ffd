"""Ranks of methods by their change from one baseline, with intervals from paired differences.

A method's interval leaves out the places of methods that are measurably better or worse: the
interval of their difference, at a level adjusted for the number of other methods, excludes zero. It
holds the method's true rank with a probability of at least 95%, even among ties (Mogstad, Romano,
Shaikh and Wilhelm 2024, Review of Economic Studies 91:476, section 3; their critical value is a
bootstrap of the largest difference, and here that of Student's t by Bonferroni, which is wider). A
bootstrap of the ranks themselves calls nearly equal methods certain if there are few clusters. The
intervals of all methods do not hold jointly with 95%.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calib.scoring.cluster_variance import deviations, t_quantile
from calib.scoring.intervals import FEWEST_RESAMPLED, LEVEL
from calib.scoring.significance import checked_pairs

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
    level: float = LEVEL,
) -> dict[str, Rank]:
    """Rank methods by the mean change over the same examples, the largest first.

    ``changes`` has one value per example for each method, after minus before; ``clusters`` and
    ``groups`` as in intervals.bootstrap_mean. Equal methods share the better rank. The difference
    of two methods has the clustered standard error of calib.scoring.cluster_variance, and its
    interval the quantile of Student's t with one degree of freedom less than clusters, at (1 -
    ``level``) divided by the number of other methods. With fewer than FEWEST_RESAMPLED clusters all
    intervals are from 1 to the number of methods. Raises CalibError if lengths differ or a change
    is not finite.
    """
    if not changes:
        return {}
    means, errors = _differences(changes, clusters, groups)
    count, certain = len(changes), len(set(clusters)) >= FEWEST_RESAMPLED
    t = t_quantile(1 - (1 - level) / (2 * max(1, count - 1)), len(set(clusters)))
    ranks = {}
    for k, name in enumerate(changes):
        above = means - means[k]  # positive for methods with a larger change
        place = 1 + int((above > _EQUAL).sum())
        better = int((above - t * errors[k] > _EQUAL).sum()) if certain else 0
        worse = int((above + t * errors[k] < -_EQUAL).sum()) if certain else 0
        ranks[name] = Rank(place, 1 + better, count - worse)
    return ranks


def _differences(
    changes: Mapping[str, ArrayLike], clusters: Sequence[Any], groups: Sequence[Any] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean change of each method, and the standard error of each difference of two.

    Shapes are [methods] and [methods, methods].
    """
    means, parts = [], []
    for change in changes.values():
        pairs = checked_pairs(change, np.zeros(np.size(change)), clusters, groups)
        means.append(_mean(*pairs))
        # By cluster, in the same order for every method.
        parts.append(list(deviations(*pairs).values()))
    each = np.array(parts)
    squares = ((each[:, None] - each[None]) ** 2).sum(axis=2)
    size = each.shape[1]
    return np.array(means), np.sqrt(squares * size / max(1, size - 1))


def _mean(values: Sequence[float], _: Sequence[Any], groups: Sequence[Any]) -> float:
    """Return the unweighted mean of the group means."""
    own, names = np.asarray(values), np.asarray(groups)
    return float(np.mean([own[names == name].mean() for name in np.unique(names)]))
