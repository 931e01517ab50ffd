"""How well labels agree: a judge with human labels, and several raters among themselves.

Cohen (1960):  kappa = (p_o - p_e) / (1 - p_e)
               p_o: share of responses labelled alike; p_e: the share expected from how often
               each side gives each label
Fleiss (1971): the same with p_o and p_e as in fleiss_kappa, for any number of raters
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score

from calib.scoring.intervals import LEVEL, RESAMPLES, Interval, wilson
from calib.scoring.judged import LABELS, checked_label
from calib.util.errors import CalibError


@dataclass(frozen=True)
class Agreement:
    """Given labels against the true ones of the same responses."""

    n: int
    accuracy: Interval
    kappa: Interval
    """nan where both sides hold one and the same label only: chance explains all of it."""
    confusion: Mapping[str, Mapping[str, int]]
    """By true label, then by given label: how many responses. Every label that either side has, in
    the order of LABELS, in both directions."""
    precision: Mapping[str, Interval]
    """By label: share of the responses given it that truly have it; nan where none was given it."""
    recall: Mapping[str, Interval]
    """By label: share of the responses that truly have it that were given it; nan where none has
    it."""


def agreement(given: Sequence[str], truth: Sequence[str], seed: int = 0) -> Agreement:
    """Agreement of ``given`` with ``truth``, one label per response and in the same order.

    Rates have Wilson intervals; kappa a percentile bootstrap over responses, without the draws in
    which it is undefined. Raises CalibError for lengths that differ and for unknown labels.
    """
    if len(given) != len(truth):
        raise CalibError(
            f"{len(given)} given labels stand against {len(truth)} true ones; agreement needs "
            "both labels of every response."
        )
    found: Counter[tuple[str, str]] = Counter(
        (checked_label(t), checked_label(g)) for t, g in zip(truth, given, strict=True)
    )
    present: list[str] = [label for label in LABELS if any(label in pair for pair in found)]
    confusion = {t: {g: found[t, g] for g in present} for t in present}
    has = {t: sum(confusion[t].values()) for t in present}
    got = {g: sum(confusion[t][g] for t in present) for g in present}
    return Agreement(
        n=len(truth),
        accuracy=wilson(sum(confusion[label][label] for label in present), len(truth)),
        kappa=_cohen(given, truth, confusion, seed),
        confusion=confusion,
        precision={label: wilson(confusion[label][label], got[label]) for label in present},
        recall={label: wilson(confusion[label][label], has[label]) for label in present},
    )


Votes = Mapping[str, int] | Sequence[str]
"""What the raters of one item said: votes by label, or their labels one by one."""


def fleiss_kappa(votes: Sequence[Votes]) -> float:
    """Agreement of several raters beyond chance (Fleiss 1971), one entry of ``votes`` an item.

    With N items of n votes each, n_ij of them for label j on item i:

        P_i = (sum_j n_ij^2 - n) / (n (n - 1))        p_j = sum_i n_ij / (N n)
        kappa = (mean_i P_i - sum_j p_j^2) / (1 - sum_j p_j^2)

    The formula needs as many votes on every item: items with fewer than the fullest one are left
    out (fully_voted counts the rest). nan without two votes on an item, and where all votes are
    for one label. Raises CalibError for a negative count.
    """
    counted = fully_voted(votes)
    raters = sum(counted[0].values()) if counted else 0
    if raters < 2:
        return math.nan
    labels = sorted({label for item in counted for label in item})
    table = np.array([[item[label] for label in labels] for item in counted], dtype=np.float64)
    observed = ((table**2).sum(axis=1) - raters) / (raters * (raters - 1))  # P_i
    by_chance = float(((table.sum(axis=0) / table.sum()) ** 2).sum())
    if math.isclose(by_chance, 1):
        return math.nan
    return (float(observed.mean()) - by_chance) / (1 - by_chance)


def fully_voted(votes: Sequence[Votes]) -> list[Counter[str]]:
    """The votes by label of the items that nobody left out: those with the most votes."""
    counted = [Counter(item) for item in votes]
    if any(count < 0 for item in counted for count in item.values()):
        raise CalibError("A label got a negative number of votes; count votes from 0.")
    most = max((sum(item.values()) for item in counted), default=0)
    return [item for item in counted if sum(item.values()) == most]


def _cohen(
    given: Sequence[str],
    truth: Sequence[str],
    confusion: Mapping[str, Mapping[str, int]],
    seed: int,
) -> Interval:
    if len(confusion) < 2:  # no responses, or a single label on both sides: 0 / 0
        return Interval(math.nan, math.nan, math.nan, len(truth))
    value = float(cohen_kappa_score(list(truth), list(given), labels=list(confusion)))
    counts = np.array([list(row.values()) for row in confusion.values()], dtype=np.float64)
    # Drawing responses with replacement is drawing so many cells of the table.
    drawn = np.random.default_rng(seed).multinomial(
        len(truth), counts.ravel() / counts.sum(), size=RESAMPLES
    )
    kappas = _kappas(drawn.reshape(-1, *counts.shape))
    if not np.isfinite(kappas).any() or len(truth) < 2:
        return Interval(value, math.nan, math.nan, len(truth))
    tail = (1 - LEVEL) / 2
    low, high = np.nanquantile(kappas, [tail, 1 - tail])
    return Interval(value, float(low), float(high), len(truth))


def _kappas(tables: NDArray[np.int64]) -> NDArray[np.float64]:
    """Kappa of each of [draws, labels, labels] tables; nan where it is undefined."""
    n = tables.sum(axis=(1, 2))
    alike = np.trace(tables, axis1=1, axis2=2) / n
    by_chance = (tables.sum(axis=1) * tables.sum(axis=2)).sum(axis=1) / n**2
    with np.errstate(invalid="ignore"):  # 0 / 0 where a draw holds a single label: nan, as promised
        return (alike - by_chance) / (1 - by_chance)
