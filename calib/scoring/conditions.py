"""Conditions that a setting must meet on validation to be chosen as the operating point.

A setting is compared with the uncalibrated model response by response, and excluded if

    utility_tolerance   its loss of utility is larger than the tolerance: the whole interval of the
                        change is below -tolerance
    min_sra_u           its SRA_u is measurably lower than the uncalibrated model's (the whole
                        interval of the change is below 0), or lower than a given rate

Intervals are those of paired_difference_of_rates, over clusters, at the level choose.confidence. A
setting whose interval of utility reaches from below -tolerance to above it is *undecided*: it may
be chosen, but the questions cannot tell whether it keeps the utility. One whose SRA_u is lower, but
not measurably, may be chosen too.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

from calib.config.choices import Safety
from calib.config.choose import ChooseConfig
from calib.config.method import SettingKey
from calib.data.splits import select_for_sra
from calib.scoring.intervals import LEVEL, Interval, paired_difference
from calib.scoring.judged import Judged, cluster_of, is_correct_response, is_judged
from calib.scoring.results import BASELINE
from calib.scoring.tradeoff import Point, description_of
from calib.util.errors import CalibError

FEW_CHANGED = 10
"""With fewer changed clusters of many, a bootstrap of them is too narrow."""
Condition = Literal["utility_tolerance", "min_sra_u"]
"""The setting of choose that excludes a setting of a method."""


@dataclass(frozen=True)
class ValidationChange:
    """The paired change of one setting from the uncalibrated model, on validation."""

    utility: Interval | None
    """None if no question was judged under both."""
    sra_u: Interval | None
    """None if no unsafe query was judged under both."""


NO_CHANGE = ValidationChange(None, None)


def changes_on_validation(
    judged: Iterable[Judged], mapping: str, confidence: float
) -> dict[SettingKey, ValidationChange]:
    """The change of every setting among the ``judged`` responses of one split.

    The intervals have the level ``confidence``. Without a response of the uncalibrated model there
    is no change to compute, and the result is empty.
    """
    of_setting: dict[SettingKey, list[Judged]] = defaultdict(list)
    for row in judged:
        if is_judged(row):
            of_setting[row.key].append(row)
    baseline = next((rows for key, rows in of_setting.items() if key.method == BASELINE), None)
    if baseline is None:
        return {}
    return {
        key: ValidationChange(
            _change(_questions(baseline), _questions(rows), mapping, confidence),
            _change(_unsafe_queries(baseline), _unsafe_queries(rows), mapping, confidence),
        )
        for key, rows in of_setting.items()
    }


def _questions(rows: Sequence[Judged]) -> list[Judged]:
    return [row for row in rows if row.dataset == "utility"]


def _unsafe_queries(rows: Sequence[Judged]) -> list[Judged]:
    unsafe: Safety = "unsafe"
    return [row for row in select_for_sra(rows) if row.safety == unsafe]


def _change(
    before: Sequence[Judged], after: Sequence[Judged], mapping: str, confidence: float
) -> Interval | None:
    old = {(row.dataset, row.example_id): row for row in before}
    new = {(row.dataset, row.example_id): row for row in after}
    shared = sorted(old.keys() & new.keys())
    if not shared:
        return None
    return paired_difference_of_rates(
        [is_correct_response(new[key], mapping) for key in shared],
        [is_correct_response(old[key], mapping) for key in shared],
        [cluster_of(old[key]) for key in shared],
        level=confidence,
    )


@dataclass(frozen=True)
class Conditions:
    """The conditions of a rule, with the changes of the settings that they are applied to."""

    rule: ChooseConfig
    changes: Mapping[SettingKey, ValidationChange]

    def change(self, point: Point) -> ValidationChange:
        """The change of a setting; without any interval if none was measured."""
        return self.changes.get(point.key, NO_CHANGE)

    def excluding(self, point: Point) -> Condition | None:
        """The first condition that ``point`` does not meet; None if it may be chosen.

        Raises CalibError if utility was measured, but not for the uncalibrated model and this
        setting alike.
        """
        change = self.change(point)
        if (point.utility is None) != (change.utility is None):
            raise CalibError(
                "missing-value",
                f"{description_of(point)} and the uncalibrated model have no utility question in "
                "common; measure utility for every setting of the run or for none.",
            )
        if change.utility is not None and change.utility.high < -self.rule.utility_tolerance:
            return "utility_tolerance"
        floor = self.rule.min_sra_u
        if floor == "baseline":
            lower = change.sra_u is not None and change.sra_u.high < 0
        else:
            lower = floor is not None and point.sra_u.n > 0 and point.sra_u.value < floor
        return "min_sra_u" if lower else None

    def undecided(self, point: Point) -> bool:
        """Whether the questions cannot tell if ``point`` loses more utility than the tolerance."""
        change, lost = self.change(point).utility, -self.rule.utility_tolerance
        return change is not None and not (change.high < lost or change.low >= lost)

    def lost_sra_u(self, point: Point) -> bool:
        """Whether SRA_u fell at ``point``, with a change that the queries cannot tell from none."""
        change = self.change(point).sra_u
        if self.rule.min_sra_u != "baseline" or change is None:
            return False
        return change.value < 0 <= change.high

    def count(self, points: Iterable[Point]) -> Counter[str]:
        """Number of settings that each condition excludes, and of others that are "undecided" or
        have "lost_sra_u"."""
        counts: Counter[str] = Counter()
        for point in points:
            if condition := self.excluding(point):
                counts[condition] += 1
                continue
            if self.undecided(point):
                counts["undecided"] += 1
            if self.lost_sra_u(point):
                counts["lost_sra_u"] += 1
        return counts


def clusters_that_tell(tolerance: float, confidence: float) -> int | None:
    """Smallest number of independent questions that show that no more than ``tolerance`` is lost,
    if no answer changes; None for a tolerance of 0, which no number shows."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    return math.ceil(z * z * (1 - tolerance) / tolerance) if tolerance else None


# Intervals


def paired_difference_of_rates(
    a: Sequence[bool], b: Sequence[bool], clusters: Sequence[Any], *, level: float = LEVEL
) -> Interval:
    """mean(a) - mean(b), right or wrong on the same examples, valid where few or none changed.

    If every example is its own cluster, fewer than FEW_CHANGED of many clusters changed, or none of
    few, it is the score interval of Tango (1998, Statistics in Medicine 17, 891-908, section 3).
    Examples of a cluster then count together: n is the number of clusters, and the changes of a
    cluster add up to a fraction of one. Unlike a bootstrap it has a width if nothing changed:
    z^2 / (n + z^2) to each side. Otherwise it is paired_difference, whose interval for few clusters
    comes from the spread between them: with 5 clusters, Tango's excludes 0 only for a change of
    about 0.75. Errors as there.
    """
    difference = paired_difference(a, b, clusters, level=level)
    if difference.n == 0:
        return difference
    changes: dict[Any, float] = defaultdict(float)
    for after, before, cluster in zip(a, b, clusters, strict=True):
        changes[cluster] += int(after) - int(before)
    changed = [change for change in changes.values() if change]
    few_clusters = len(changes) < FEW_CHANGED and not math.isnan(difference.low)
    enough = len(changed) >= FEW_CHANGED or (few_clusters and changed)
    if enough and len(changes) < difference.n and difference.low < difference.high:
        return difference
    share = len(changes) / difference.n
    gained = share * sum(change for change in changed if change > 0)
    lost = -share * sum(change for change in changed if change < 0)
    low, high = _tango(gained, lost, len(changes), level)
    return difference._replace(low=low, high=high)


def _tango(gained: float, lost: float, n: int, level: float) -> tuple[float, float]:
    """Bounds of the difference (gained - lost) / n at which Tango's score statistic is +-z."""
    z = NormalDist().inv_cdf(0.5 + level / 2)

    def score(difference: float) -> float:
        # The restricted maximum-likelihood estimate of the probability of a loss.
        b = (2 * n - gained + lost) * difference - gained - lost
        c = -lost * difference * (1 - difference)
        loss = (math.sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)
        variance = n * (2 * loss + difference * (1 - difference))
        excess = gained - lost - n * difference
        if variance <= 0:
            return math.copysign(math.inf, excess) if abs(excess) > 1e-12 else 0.0
        return excess / math.sqrt(variance)

    def bound(target: float) -> float:
        low, high = -1.0, 1.0  # the statistic falls as the difference rises
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if score(middle) > target else (low, middle)
        return (low + high) / 2

    return bound(z), bound(-z)
