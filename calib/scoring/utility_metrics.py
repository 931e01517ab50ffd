"""Metrics of published question sets beside the share of right answers."""

from collections.abc import Sequence

from calib.scoring.intervals import Interval, wilson
from calib.scoring.judged import Judged, cluster_of, is_judged


def accuracy_plus(rows: Sequence[Judged]) -> Interval:
    """Share of pictures whose questions are all answered right, with Wilson's interval.

    MME's accuracy+ (Fu et al., arXiv 2306.13394, section 2.2). n is the number of pictures, of
    which every question must be among ``rows``; a picture with a question that nobody has judged
    does not count. nan where n is 0.
    """
    whole: dict[str, bool] = {}
    unknown: set[str] = set()
    for row in rows:
        picture = cluster_of(row)
        whole[picture] = whole.get(picture, True) and bool(row.correct)
        if not is_judged(row):
            unknown.add(picture)
    judged = [right for picture, right in whole.items() if picture not in unknown]
    return wilson(sum(judged), len(judged))
