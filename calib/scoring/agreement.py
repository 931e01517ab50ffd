"""Agreement of labels: of a judge with human labels, and of several raters with each other.

Cohen (1960):  kappa = (p_o - p_e) / (1 - p_e)
               p_o: share of responses with equal labels
               p_e: the share expected by chance, from how often each side gives each label
Fleiss (1971): the same for any number of raters, with p_o and p_e as in fleiss_kappa
"""

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score

from calib.config.choices import LABELS
from calib.scoring.intervals import RESAMPLES, Interval, clustered_rate, expanded_tail
from calib.scoring.judged import checked_label
from calib.util.errors import CalibError


@dataclass(frozen=True)
class Agreement:
    """Agreement of given labels with the true labels of the same responses."""

    n: int
    accuracy: Interval
    kappa: Interval
    """nan if both sides have one and the same label only: chance then explains all agreement."""
    confusion: Mapping[str, Mapping[str, int]]
    """Number of responses by true label, then by given label; both in the order of LABELS, with
    every label that either side has."""
    precision: Mapping[str, Interval]
    """By label: share of the responses given the label that truly have it; nan if none was."""
    recall: Mapping[str, Interval]
    """By label: share of the responses that truly have the label that were given it; nan if none
    has."""


def agreement(
    given: Sequence[str],
    truth: Sequence[str],
    clusters: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> Agreement:
    """Compare ``given`` with ``truth``, one label per response and in the same order.

    ``clusters`` names the cluster of each response (responses to examples of one concept are not
    independent); None makes each response its own. Rates have the intervals of
    intervals.clustered_rate; kappa has an expanded percentile bootstrap over clusters, without the
    resamples in which it is undefined. Raises CalibError for different lengths and unknown labels.
    """
    cluster_of = list(range(len(truth))) if clusters is None else list(clusters)
    if not len(given) == len(truth) == len(cluster_of):
        raise CalibError(
            "mismatch",
            f"There are {len(given)} given labels, {len(truth)} true labels and {len(cluster_of)} "
            "clusters; agreement needs all of every response.",
        )
    counts: Counter[tuple[str, str]] = Counter(
        (checked_label(t), checked_label(g)) for t, g in zip(truth, given, strict=True)
    )
    present: list[str] = [label for label in LABELS if any(label in pair for pair in counts)]
    confusion = {t: {g: counts[t, g] for g in present} for t in present}
    both = list(zip(given, truth, cluster_of, strict=True))

    def share(of: Sequence[tuple[str, str, Hashable]]) -> Interval:
        return clustered_rate([g == t for g, t, _ in of], [cluster for *_, cluster in of])

    return Agreement(
        n=len(truth),
        accuracy=share(both),
        kappa=_cohen(given, truth, cluster_of, list(confusion), seed),
        confusion=confusion,
        precision={label: share([row for row in both if row[0] == label]) for label in present},
        recall={label: share([row for row in both if row[1] == label]) for label in present},
    )


Votes = Mapping[str, int] | Sequence[str]
"""The votes of the raters of one item: counts by label, or a list of labels."""


def fleiss_kappa(votes: Sequence[Votes]) -> float:
    """Agreement of several raters beyond chance (Fleiss 1971); one entry of ``votes`` per item.

    With N items of n votes each, of which n_ij are for label j on item i:

        P_i = (sum_j n_ij^2 - n) / (n (n - 1))        p_j = sum_i n_ij / (N n)
        kappa = (mean_i P_i - sum_j p_j^2) / (1 - sum_j p_j^2)

    The formula needs the same number of votes on every item, so items with fewer votes than the
    maximum are left out (see fully_voted). nan with fewer than two votes per item, and if all votes
    are for one label. Raises CalibError for a negative count.
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
    """Count the votes by label of the items with the most votes: those that no rater skipped."""
    counted = [Counter(item) for item in votes]
    if any(count < 0 for item in counted for count in item.values()):
        raise CalibError("invalid-value", "A label has a negative number of votes.")
    most = max((sum(item.values()) for item in counted), default=0)
    return [item for item in counted if sum(item.values()) == most]


def _cohen(
    given: Sequence[str],
    truth: Sequence[str],
    cluster_of: Sequence[Hashable],
    labels: Sequence[str],
    seed: int,
) -> Interval:
    names = {name: k for k, name in enumerate(sorted(set(cluster_of), key=str))}
    n, count = len(truth), len(names)
    if len(labels) < 2:  # no responses, or one label on both sides: 0 / 0
        return Interval(math.nan, math.nan, math.nan, n, count)
    value = float(cohen_kappa_score(list(truth), list(given), labels=list(labels)))
    tables = np.zeros((count, len(labels) ** 2))  # [clusters, cells of the confusion matrix]
    for g, t, cluster in zip(given, truth, cluster_of, strict=True):
        tables[names[cluster], labels.index(t) * len(labels) + labels.index(g)] += 1
    # Clusters with the same table are alike: resampling them is a multinomial draw of tables.
    kinds, frequency = np.unique(tables, axis=0, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(count, frequency / count, size=RESAMPLES)
    kappas = _kappas((drawn @ kinds).reshape(-1, len(labels), len(labels)))
    if not np.isfinite(kappas).any() or count < 2:
        return Interval(value, math.nan, math.nan, n, count)
    tail = expanded_tail(count)
    low, high = np.nanquantile(kappas, [tail, 1 - tail])
    return Interval(value, float(low), float(high), n, count)


def _kappas(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """Kappa of each table of ``tables`` [draws, labels, labels]; nan if undefined."""
    n = tables.sum(axis=(1, 2))
    observed = np.trace(tables, axis1=1, axis2=2) / n
    by_chance = (tables.sum(axis=1) * tables.sum(axis=2)).sum(axis=1) / n**2
    with np.errstate(invalid="ignore"):  # 0 / 0 is nan: a resample with a single label
        return (observed - by_chance) / (1 - by_chance)
