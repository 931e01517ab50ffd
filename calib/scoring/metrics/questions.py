"""Metrics of questions with one right answer (utility and knowledge), and the KL of calibration."""

from collections import defaultdict
from collections.abc import Callable, Sequence

from calib.scoring.intervals import NO_DATA, Interval, bootstrap_mean, clustered_rate
from calib.scoring.judged import Judged, cluster_of, is_judged, rate_of
from calib.scoring.metrics import Metric, Slice


def accuracy_plus(rows: Sequence[Judged]) -> Interval:
    """Share of pictures all of whose questions are answered right, with a clustered interval.

    MME's accuracy+ (Fu et al., arXiv 2306.13394, section 2.2). ``rows`` must hold every question of
    each picture; a picture with an unjudged question is left out. n is the number of pictures; nan
    if n is 0.
    """
    of_picture: dict[str, list[Judged]] = defaultdict(list)
    for row in rows:
        of_picture[row.pair or row.example_id].append(row)
    judged = [questions for questions in of_picture.values() if all(map(is_judged, questions))]
    all_right = [all(row.correct for row in questions) for questions in judged]
    return clustered_rate(all_right, [cluster_of(questions[0]) for questions in judged])


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
    return _mean(slice_, lambda row: row.kl)


def _mean_kl_base(slice_: Slice) -> Interval:
    return _mean(slice_, lambda row: row.kl_base)


def _mean(slice_: Slice, value_of: Callable[[Judged], float | None]) -> Interval:
    rows = [(value, cluster_of(row)) for row in slice_.rows if (value := value_of(row)) is not None]
    mean = bootstrap_mean([value for value, _ in rows], [cluster for _, cluster in rows])
    # In this order, because the lower bound may be nan.
    return mean._replace(low=max(mean.low, 0.0))


METRICS = (
    Metric(
        "utility",
        "share of questions answered right, in total and by variant (the set's tasks or subjects)",
        "accuracy, as each question set defines it",
        ("utility",),
        _accuracy,
        label="utility questions answered right",
        shown_in={"report_parts": 5, "trade_off": 4, "card": 5},
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
        shown_in={"report_parts": 6},
    ),
    Metric(
        "KL",
        "mean over utility questions of KL(calibrated \\|\\| uncalibrated) of the first response "
        "token, in nats",
        "calib",
        ("utility",),
        _mean_kl,
        label="KL(calibrated || base) of the first response token, nats",
        shown_in={"card": 7},
        total_only=True,
    ),
    Metric(
        "KL_base",
        "mean over utility questions of KL(uncalibrated \\|\\| calibrated) of the first response "
        "token, in nats: the KL of `method.kl`. Not in runs of versions that did not record it",
        "arXiv 2406.11717, appendix C",
        ("utility",),
        _mean_kl_base,
        label="KL(base || calibrated) of the first response token, nats",
        shown_in={"card": 6},
        total_only=True,
    ),
)
