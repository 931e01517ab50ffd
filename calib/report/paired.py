"""Paired responses: the same examples under two settings, their rates and the difference."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import NamedTuple

from calib.config.method import SettingKey
from calib.data.splits import SAFETY_DATASETS, select_for_sra
from calib.scoring.conditions import paired_difference_of_rates
from calib.scoring.intervals import Interval, paired_difference
from calib.scoring.judged import (
    QUESTION_DATASETS,
    Judged,
    cluster_of,
    is_correct_response,
    is_judged,
)
from calib.scoring.power import power_note, spread_of
from calib.scoring.results import BASELINE
from calib.scoring.significance import changed_clusters, paired_p_value
from calib.scoring.tradeoff import Point
from calib.util.errors import CalibError
from calib.util.terminal import terminal_safe

Responses = Mapping[tuple[str, str], Judged]
"""The judged responses of one setting, by dataset and example id."""


class TestedResponses:
    """The judged responses of one split by setting: queries that SRA counts, and questions."""

    def __init__(self, judged: Iterable[Judged], split: str) -> None:
        self.split = split
        rows = [row for row in judged if row.split == split]
        questions = (row for row in rows if row.dataset in QUESTION_DATASETS)
        self._by_setting: dict[SettingKey, dict[tuple[str, str], Judged]] = defaultdict(dict)
        for row in (*select_for_sra(rows), *questions):
            if is_judged(row):
                self._by_setting[row.key][row.dataset, row.example_id] = row

    def at(self, setting: Point) -> Responses:
        """Return the responses of ``setting``; raises CalibError if there are none."""
        responses = self._by_setting.get(setting.key)
        if not responses:
            raise CalibError(
                "too-few",
                f"There is no judged response of {setting_name(setting)} on split "
                f"'{terminal_safe(self.split)}'. Run and judge this setting before comparing it.",
            )
        return responses


def setting_name(point: Point) -> str:
    """Return the method, layer and strength of a setting, safe for a terminal."""
    if point.method == BASELINE:
        return "The uncalibrated model"
    layer = "" if point.layer is None else f"layer {point.layer}, "
    return f"{terminal_safe(point.method, 40)} ({layer}strength {point.strength:g})"


class PairedResponses(NamedTuple):
    """Counted by a rate or not, example by example, before and after a change of setting."""

    before: list[bool]
    after: list[bool]
    clusters: list[str]
    groups: list[str]
    """Rates are means over these groups: the two sides of SRA, or one group with every example."""

    @property
    def rate_before(self) -> float:
        return _mean_over_groups(self.before, self.groups)

    @property
    def rate_after(self) -> float:
        return _mean_over_groups(self.after, self.groups)

    def difference(self) -> Interval:
        """Return after minus before with a paired, clustered interval.

        If every cluster changed by the same amount, such as zero, neither a bootstrap nor Student's
        t has a width: the bounds are then those of paired_difference_of_rates, for no change
        z^2 / (C + z^2) to each side for C clusters.
        """
        difference = paired_difference(self.after, self.before, self.clusters, self.groups)
        if difference.low < difference.high or len(set(self.clusters)) == 1:
            return difference
        score = paired_difference_of_rates(self.after, self.before, self.clusters)
        low, high = min(difference.value, score.low), max(difference.value, score.high)
        return difference._replace(low=low, high=high)

    def p_value(self) -> float:
        """Return the p-value of the sign-flipping test, which flips whole clusters."""
        return paired_p_value(self.after, self.before, self.clusters, self.groups)

    def changed_clusters(self) -> int:
        """Return the number of clusters whose contribution to the difference is not zero."""
        return changed_clusters(self.after, self.before, self.clusters, self.groups)

    def spread(self) -> float:
        """Return the standard deviation of the difference between clusters."""
        return spread_of(self.after, self.before, self.clusters, self.groups)

    def power(self) -> str:
        """Describe in one sentence the change that this many clusters detect."""
        return power_note(self.after, self.before, self.clusters, self.groups)


def pair_responses(
    before: Responses,
    after: Responses,
    datasets: Sequence[str],
    safety: str | None,
    by_safety: bool,
    mapping: str,
    counts: Callable[[Judged], bool] | None = None,
) -> PairedResponses | None:
    """Pair the examples of ``datasets`` that were judged under both settings.

    ``counts`` says which responses a rate counts, by default those that are right under the label
    mapping ``mapping``.

    ``safety`` restricts them to unsafe or safe queries. ``by_safety`` makes rates the mean of both
    sides, and the result None if one side is missing. None also if no example is left.
    """
    if counts is None:
        counts = partial(is_correct_response, mapping=mapping)
    pairs = [
        (before[key], after[key])
        for key in sorted(before.keys() & after.keys())
        if before[key].dataset in datasets and safety in (None, before[key].safety)
    ]
    if not pairs or (by_safety and len({old.safety for old, _ in pairs}) < 2):
        return None
    return PairedResponses(
        [counts(old) for old, _ in pairs],
        [counts(new) for _, new in pairs],
        [cluster_of(old) for old, _ in pairs],
        [old.safety or "" for old, _ in pairs] if by_safety else [""] * len(pairs),
    )


class CommonChanges(NamedTuple):
    """The changes of several settings from one, over the queries judged under all of them."""

    changes: list[list[float]]
    """1 for a response that became right, -1 for one that became wrong, else 0; by setting."""
    clusters: list[str]
    groups: list[str]
    """The sides of SRA, or one group if the benchmark has one side."""


def common_changes(
    before: Responses, settings: Sequence[Responses], mapping: str
) -> CommonChanges | None:
    """Return the changes from ``before`` to each setting; None if they share no query."""
    shared = set(before)
    for responses in settings:
        shared &= responses.keys()
    keys = sorted(key for key in shared if before[key].dataset in SAFETY_DATASETS)
    if not keys:
        return None
    old = [is_correct_response(before[key], mapping) for key in keys]
    changes = [
        [
            float(is_correct_response(responses[key], mapping)) - right
            for key, right in zip(keys, old, strict=True)
        ]
        for responses in settings
    ]
    rows = [before[key] for key in keys]
    return CommonChanges(
        changes, [cluster_of(row) for row in rows], [row.safety or "" for row in rows]
    )


def _mean_over_groups(correct: Sequence[bool], groups: Sequence[str]) -> float:
    return fmean(
        fmean(hit for hit, other in zip(correct, groups, strict=True) if other == group)
        for group in set(groups)
    )
