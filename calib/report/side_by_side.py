"""The same examples under two settings: rates, and the paired difference between them."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from calib.report.verdict import named
from calib.scoring.intervals import Interval, paired_difference
from calib.scoring.judged import Judged, cluster_of, is_correct_response, unjudged
from calib.scoring.power import power_note
from calib.scoring.tradeoff import Point
from calib.util.errors import CalibError
from calib.util.terminal import terminal_safe

Responses = Mapping[tuple[str, str], Judged]
"""The judged responses of one setting, by dataset and example."""


def setting_rows(rows: Iterable[Judged], point: Point, split: str) -> dict[tuple[str, str], Judged]:
    """The judged responses of a setting on a split; CalibError when there are none."""
    found = {
        (row.dataset, row.example_id): row
        for row in rows
        if is_at(row, point) and not unjudged([row])
    }
    if not found:
        raise CalibError(
            f"There is no judged response of {named(point)} on split '{terminal_safe(split)}'; "
            "run and judge that setting there before comparing it."
        )
    return found


def is_at(row: Judged, *points: Point) -> bool:
    """Whether a response is one of these settings'."""
    return any(row.key == point.key for point in points)


class SideBySide(NamedTuple):
    """Right or not, example by example, under two settings."""

    old: list[bool]
    new: list[bool]
    clusters: list[str]
    groups: list[str]
    """What the rates are means over: the sides of SRA, or one group of all."""

    @property
    def old_rate(self) -> float:
        return _rate(self.old, self.groups)

    @property
    def new_rate(self) -> float:
        return _rate(self.new, self.groups)

    def difference(self) -> Interval:
        """New less old, with a paired bootstrap interval clustered by pair."""
        return paired_difference(self.new, self.old, self.clusters, self.groups)

    def power(self) -> str:
        """How large a change so many pairs can find."""
        return power_note(self.new, self.old, self.clusters, self.groups)


def side_by_side(
    before: Responses,
    after: Responses,
    datasets: Sequence[str],
    safety: str | None,
    by_safety: bool,
    mapping: str,
) -> SideBySide | None:
    """Two settings on the examples of some datasets that were judged under both.

    ``safety`` takes one side of the queries alone; ``by_safety`` takes the mean of both, and there
    is none where one of them is missing. None where nothing is left to compare.
    """
    pairs = [
        (before[key], after[key])
        for key in sorted(before.keys() & after.keys())
        if before[key].dataset in datasets and safety in (None, before[key].safety)
    ]
    if not pairs or (by_safety and len({a.safety for a, _ in pairs}) < 2):
        return None
    return SideBySide(
        [is_correct_response(a, mapping) for a, _ in pairs],
        [is_correct_response(b, mapping) for _, b in pairs],
        [cluster_of(a) for a, _ in pairs],
        [a.safety or "" for a, _ in pairs] if by_safety else [""] * len(pairs),
    )


def _rate(right: Sequence[bool], groups: Sequence[str]) -> float:
    return fmean(
        fmean(is_right for is_right, other in zip(right, groups, strict=True) if other == group)
        for group in set(groups)
    )
