"""Metrics of questions with one right answer (utility and knowledge), and the KL of calibration."""

from collections.abc import Sequence

from calib.scoring.intervals import NO_DATA, Interval, bootstrap_mean, wilson
from calib.scoring.judged import Judged, cluster_of, is_judged, rate_of
from calib.scoring.metrics import Metric, Slice


def accuracy_plus(rows: Sequence[Judged]) -> Interval:
    """Share of pictures all of whose questions are answered right, with Wilson's interval.

    MME's accuracy+ (Fu et al., arXiv 2306.13394, section 2.2). ``rows`` must hold every question of
    each picture; a picture with an unjudged question is left out. n is the number of pictures; nan
    if n is 0.
    """
    all_right: dict[str, bool] = {}
    unjudged: set[str] = set()
    for row in rows:
        picture = cluster_of(row)
        all_right[picture] = all_right.get(picture, True) and bool(row.correct)
        if not is_judged(row):
            unjudged.add(picture)
    judged = [right for picture, right in all_right.items() if picture not in unjudged]
    return wilson(sum(judged), len(judged))


def _accuracy(slice_: Slice) -> Interval:
    return rate_of(slice_.rows, lambda row: bool(row.correct))


def _unread(slice_: Slice) -> Interval:
    if all(row.unread is None for row in slice_.rows):
        return NO_DATA
    return rate_of(slice_.rows, lambda row: bool(row.unread))


def _accuracy_plus(slice_: Slice) -> Interval:
    pictures = [row.pair for row in slice_.rows if row.pair is not None]
    return accuracy_plus(slice_.rows) if len(set(pictures)) < len(pictures) else NO_DATA


def _mean_kl(slice_: Slice) -> Interval:
    rows = [(row.kl, cluster_of(row)) for row in slice_.rows if row.kl is not None]
    return bootstrap_mean([kl for kl, _ in rows], [cluster for _, cluster in rows])


METRICS = (
    Metric(
        "utility",
        "share of questions answered right, in total and by variant (the set's tasks or subjects)",
        "accuracy, as each question set defines it",
        ("utility",),
        _accuracy,
        label="utility questions answered right",
        shown_in={"report_parts": 4, "trade_off": 4, "card": 4},
    ),
    Metric(
        "unread",
        "share of responses from which no answer could be read; they count as wrong. Only for sets "
        "whose answers are read (all but `mini`)",
        "calib",
        ("utility", "knowledge"),
        _unread,
    ),
    Metric(
        "accuracy_plus",
        "share of pictures all of whose questions were answered right (MME's accuracy+). Only if "
        "a picture has several questions",
        "arXiv 2306.13394, section 2.2",
        ("utility", "knowledge"),
        _accuracy_plus,
    ),
    Metric(
        "knowledge",
        "the mini world only: share of questions about danger and wrongness answered right",
        "calib",
        ("knowledge",),
        _accuracy,
        label="knowledge questions answered right",
        shown_in={"report_parts": 5},
    ),
    Metric(
        "KL",
        "mean over utility questions of KL(calibrated \\|\\| uncalibrated) of the first response "
        "token, in nats",
        "calib",
        ("utility",),
        _mean_kl,
        label="KL of the first response token, nats",
        shown_in={"card": 5},
        total_only=True,
    ),
)
