"""The settings that several runs are compared by: each uncalibrated model, and each method at the
operating point that its run chose."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from calib.report.figures.io import NotDrawn
from calib.report.figures.style import shown_name
from calib.runs.run import Run
from calib.scoring.intervals import Interval
from calib.scoring.results import ALL, BASELINE
from calib.scoring.tradeoff import points_of
from calib.util.terminal import terminal_safe

Place = tuple[str, str, str, str]
"""Dataset, variant, category and metric."""


@dataclass(frozen=True)
class Chosen:
    """One setting of a model and what it measured on a split."""

    method: str
    run: str
    kept: bool
    """Whether no setting of the method beat the uncalibrated model, whose rates these then are."""
    rates: Mapping[Place, Interval]
    validated: float
    """SRA at this setting on validation, which methods may be picked by; 0 where there is none."""

    def total(self, dataset: str, metric: str) -> Interval | None:
        """Over all variants and categories of a dataset; None where nothing was measured."""
        return measured(self.rates.get((dataset, ALL, ALL, metric)))


def measured(rate: Interval | None) -> Interval | None:
    """``rate`` where there are responses behind it."""
    return rate if rate is not None and rate.n else None


def by_model(runs: Sequence[Run], split: str = "test") -> dict[str, list[Chosen]]:
    """The settings of each model on ``split``: uncalibrated ones first, then methods as asked for.

    Runs of one model share their uncalibrated model where they measured the same of it. Raises
    NotDrawn when the runs hold no results, or not those of what they chose.
    """
    models: dict[str, list[Chosen]] = defaultdict(list)
    swept = [run for run in runs if run.results]
    if not swept:
        raise NotDrawn("These folders hold no results. Run calib.sweep and draw its folder.")
    for run in swept:
        before = _rates(run, BASELINE, None, 0.0, split)
        models[run.checkpoint] = _with_baseline(models[run.checkpoint], run, before)
        for one in run.operating_points:
            if one["method"] != BASELINE:
                models[run.checkpoint].append(_chosen(run, one["method"], before, split))
    return {
        model: sorted(found, key=lambda one: one.method != BASELINE)
        for model, found in models.items()
    }


def names(settings: Iterable[Chosen], width: int) -> list[str]:
    """What each setting of a model is called, in about ``width`` letters; by its run, too, where
    several share a method."""
    settings = list(settings)
    shared = Counter(one.method for one in settings)
    most = max(12, width // 2)  # "uncalibrated" is not cut
    return [
        shown_name(called(one.method), width)
        if shared[one.method] == 1
        else f"{shown_name(called(one.method), most)} ({shown_name(one.run, width - most)})"
        for one in settings
    ]


def picked(
    settings: Sequence[Chosen], most: int, methods: Sequence[str] | None = None
) -> tuple[list[Chosen], str]:
    """The settings of a model that a figure has room for, and a note on those it leaves out.

    They are the uncalibrated ones and those of ``methods``, or without it the ``most`` best on
    validation; what only kept the uncalibrated model is left out. Raises NotDrawn for a method
    that no run has.
    """
    before = [one for one in settings if one.method == BASELINE]
    after = [one for one in settings if one.method != BASELINE]
    for method in methods or ():
        if method not in {one.method for one in after}:
            raise NotDrawn(f"No run holds method '{terminal_safe(method)}'. Draw a run that does.")
    if methods is not None:
        return [*before, *(one for one in after if one.method in methods)], ""
    better = [one for one in after if not one.kept]
    best = sorted(better, key=lambda one: (-round(one.validated, 9), one.method, one.run))[:most]
    kept = len(after) - len(better)
    notes = []
    if len(best) < len(better):
        notes.append(f"The {most} of {len(better)} methods with the highest SRA on validation.")
    if kept:
        notes.append(
            f"Not shown: {kept} method{'s' * (kept > 1)} that kept the uncalibrated model."
        )
    return [*before, *(one for one in after if one in best)], " ".join(notes)


def called(method: str) -> str:
    return "uncalibrated" if method == BASELINE else method


def _chosen(run: Run, method: str, before: Mapping[Place, Interval], split: str) -> Chosen:
    point = run.operating_point(method)
    assert point is not None
    layer, strength = point["layer"], float(point["strength"])
    # Strength 0 is the uncalibrated model, whatever the method.
    kept = strength == 0
    rates = before if kept else _rates(run, method, layer, strength, split)
    place = (BASELINE, None, 0.0) if kept else (method, layer, strength)
    validation = points_of(run.results, "validation")
    own = [p for p in validation if (p.method, p.layer, p.strength) == place]
    return Chosen(method, run.name, kept, rates, own[0].sra.value if own else 0.0)


def _with_baseline(found: list[Chosen], run: Run, rates: Mapping[Place, Interval]) -> list[Chosen]:
    for k, one in enumerate(found):
        common = one.rates.keys() & rates.keys()
        same = common and all(_same(one.rates[place], rates[place]) for place in common)
        if one.method == BASELINE and same:
            both = Chosen(BASELINE, one.run, False, {**rates, **one.rates}, 0.0)
            return [*found[:k], both, *found[k + 1 :]]
    return [*found, Chosen(BASELINE, run.name, False, rates, 0.0)]


def _same(one: Interval, other: Interval) -> bool:
    return repr(one) == repr(other)  # nan is itself here


def _rates(
    run: Run, method: str, layer: int | None, strength: float, split: str
) -> dict[Place, Interval]:
    place = (method, layer, strength, split)
    found = {
        (r.dataset, r.variant, r.category, r.metric): r.interval
        for r in run.results
        if (r.method, r.layer, r.strength, r.split) == place
    }
    if not found:
        what = (
            "the uncalibrated model" if method == BASELINE else f"method '{terminal_safe(method)}'"
        )
        raise NotDrawn(
            f"Run '{terminal_safe(run.name)}' has no results of {what} at the setting it chose "
            f"on the {terminal_safe(split)} split. Give the sweep's command again."
        )
    return found
