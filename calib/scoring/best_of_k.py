"""The gain that the best of several settings would show on the same examples by chance.

Reporting the best of k settings on test overstates a method even if no setting has an effect. The
size of that gain follows from the sign-flipping test of calib.scoring.significance, applied to all
settings together (the maximum statistic of Westfall and Young 1993): if no setting has an effect,
each cluster's changes have either sign with equal probability, the same sign for every setting.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from calib.scoring.intervals import LEVEL
from calib.scoring.significance import DRAWS, contributions
from calib.util.errors import CalibError

_CHUNK = 500
"""Patterns of signs drawn at a time, to bound memory with thousands of clusters."""


def gain_by_chance(
    after: Sequence[ArrayLike],
    before: ArrayLike,
    clusters: Sequence[Any] | None = None,
    groups: Sequence[Any] | None = None,
    *,
    seed: int = 0,
    draws: int = DRAWS,
    level: float = LEVEL,
) -> float:
    """Return the quantile ``level`` of the largest of k gains, as a rate, if no setting matters.

    ``after`` holds the values of k settings over the same examples as ``before``, so that
    significance.paired_p_value(after[i], before, clusters, groups) tests one of them. An effect of
    a setting makes its changes larger and with them the result, which is then too large, never too
    small. Signs are drawn with a seed. 0 if nothing changed. Raises CalibError without settings,
    and the errors of paired_p_value.
    """
    if not len(after):
        raise CalibError("too-few", "The best of several settings needs at least one setting.")
    parts = np.stack([contributions(one, before, clusters, groups) for one in after])
    parts = parts[:, np.abs(parts).sum(axis=0) > 0]  # [settings, clusters that changed]
    if not parts.size:
        return 0.0
    generator = np.random.default_rng(seed)
    largest = []
    for start in range(0, draws, _CHUNK):
        shape = (parts.shape[1], min(_CHUNK, draws - start))
        signs = 2.0 * generator.integers(2, size=shape, dtype=np.int8) - 1.0
        largest.append((parts @ signs).max(axis=0))
    return float(max(0.0, np.quantile(np.concatenate(largest), level)))
