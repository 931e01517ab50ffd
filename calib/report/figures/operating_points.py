"""The settings that figures compare: uncalibrated models, and methods at their operating points."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from calib.config.method import SettingKey
from calib.report.figures.curves import swept_runs
from calib.report.figures.io import NotDrawn
from calib.report.figures.style import short_name
from calib.runs.run import Run
from calib.scoring.intervals import Interval
from calib.scoring.results import ALL, BASELINE
from calib.scoring.tradeoff import points_of
from calib.util.terminal import terminal_safe

RateKey = tuple[str, str, str, str]
"""Dataset, variant, category and metric."""
_UNCALIBRATED = SettingKey(BASELINE, None, 0.0)


@dataclass(frozen=True)
class ChosenSetting:
    """One setting of a model with its rates on a split."""

    method: str
    run: str
    kept: bool
    """Whether the method kept the uncalibrated model; the rates are then that model's."""
    rates: Mapping[RateKey, Interval]
    validation_sra: float
    """SRA of this setting on validation, which methods are selected by; 0 if unknown."""

    def total(self, dataset: str, metric: str) -> Interval | None:
        """Return a rate over all variants and categories of a dataset; None if not measured."""
        return measured(self.rates.get((dataset, ALL, ALL, metric)))


def measured(rate: Interval | None) -> Interval | None:
    """Return ``rate`` if it has responses behind it, else None."""
    return rate if rate is not None and rate.n else None


def settings_by_model(runs: Sequence[Run], split: str = "test") -> dict[str, list[ChosenSetting]]:
    """Return the settings of each model on ``split``: uncalibrated first, then the methods.

    Runs of one model share the uncalibrated model if their results for it agree. Raises NotDrawn if
    the runs have no results, or lack those of an operating point.
    """
    models: dict[str, list[ChosenSetting]] = defaultdict(list)
    for run in swept_runs(runs):
        baseline = _rates(run, _UNCALIBRATED, split)
        models[run.model_name] = _with_baseline(models[run.model_name], run, baseline)
        for record in run.operating_points:
            if record["method"] != BASELINE:
                models[run.model_name].append(_chosen(run, record["method"], baseline, split))
    return {
        model: sorted(settings, key=lambda setting: setting.method != BASELINE)
        for model, settings in models.items()
    }


def setting_names(settings: Iterable[ChosenSetting], width: int) -> list[str]:
    """Return a name of about ``width`` characters for each setting of a model.

    It has the run if several settings share a method.
    """
    settings = list(settings)
    count = Counter(setting.method for setting in settings)
    method_width = max(12, width // 2)  # leaves "uncalibrated" whole
    names = []
    for setting in settings:
        method = "uncalibrated" if setting.method == BASELINE else setting.method
        if count[setting.method] == 1:
            names.append(short_name(method, width))
        else:
            run = short_name(setting.run, width - method_width)
            names.append(f"{short_name(method, method_width)} ({run})")
    return names


def select_methods(
    settings: Sequence[ChosenSetting], most: int, methods: Sequence[str] | None = None
) -> tuple[list[ChosenSetting], str]:
    """Return the settings of a model that a figure has room for, and a note on those left out.

    They are the uncalibrated model and ``methods``, or if None the ``most`` methods with the
    highest SRA on validation, without those that kept the uncalibrated model. Raises NotDrawn for a
    method that no run has.
    """
    uncalibrated = [setting for setting in settings if setting.method == BASELINE]
    calibrated = [setting for setting in settings if setting.method != BASELINE]
    for method in methods or ():
        if method not in {setting.method for setting in calibrated}:
            raise NotDrawn(
                "unknown-name",
                f"No run has the method '{terminal_safe(method)}'. Draw a run that has it.",
            )
    if methods is not None:
        return [*uncalibrated, *(s for s in calibrated if s.method in methods)], ""
    better = [setting for setting in calibrated if not setting.kept]
    best = sorted(better, key=lambda s: (-round(s.validation_sra, 9), s.method, s.run))[:most]
    kept = len(calibrated) - len(better)
    notes = []
    if len(best) < len(better):
        notes.append(f"The {most} of {len(better)} methods with the highest SRA on validation.")
    if kept:
        notes.append(
            f"Not shown: {kept} method{'s' * (kept > 1)} that kept the uncalibrated model."
        )
    return [*uncalibrated, *(s for s in calibrated if s in best)], " ".join(notes)


def _chosen(
    run: Run, method: str, baseline: Mapping[RateKey, Interval], split: str
) -> ChosenSetting:
    record = run.operating_point(method)
    assert record is not None
    strength = float(record["strength"])
    kept = strength == 0  # the uncalibrated model, whatever the method
    setting = _UNCALIBRATED if kept else SettingKey(method, record["layer"], strength)
    rates = baseline if kept else _rates(run, setting, split)
    validation = [p for p in points_of(run.results, "validation") if p.key == setting]
    return ChosenSetting(
        method, run.name, kept, rates, validation[0].sra.value if validation else 0.0
    )


def _with_baseline(
    settings: list[ChosenSetting], run: Run, rates: Mapping[RateKey, Interval]
) -> list[ChosenSetting]:
    """Add the uncalibrated model of ``run``, or merge its rates with those that agree."""
    for k, setting in enumerate(settings):
        common = setting.rates.keys() & rates.keys()
        equal = common and all(_equal(setting.rates[key], rates[key]) for key in common)
        if setting.method == BASELINE and equal:
            merged = {**rates, **setting.rates}
            baseline = ChosenSetting(BASELINE, setting.run, False, merged, 0.0)
            return [*settings[:k], baseline, *settings[k + 1 :]]
    return [*settings, ChosenSetting(BASELINE, run.name, False, rates, 0.0)]


def _equal(a: Interval, b: Interval) -> bool:
    return repr(a) == repr(b)  # nan equals nan here


def _rates(run: Run, setting: SettingKey, split: str) -> dict[RateKey, Interval]:
    rates = {
        (r.dataset, r.variant, r.category, r.metric): r.interval
        for r in run.results
        if r.key == setting and r.split == split
    }
    if not rates:
        name = f"method '{terminal_safe(setting.method)}'"
        if setting.method == BASELINE:
            name = "the uncalibrated model"
        raise NotDrawn(
            "missing-value",
            f"Run '{terminal_safe(run.name)}' has no results of {name} at its operating point on "
            f"the {terminal_safe(split)} split. Run the sweep's command again.",
        )
    return rates
