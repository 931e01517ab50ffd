"""The methods of a run by verdict and rank: the paired change of SRA on test, largest first."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from calib.report.paired import PairedResponses, TestedResponses, common_changes
from calib.report.verdict import LEVEL, Effect, SettingChange, effect_of, unclear_rates
from calib.runs.operating_points import REPORTED_SPLIT
from calib.runs.reported_methods import ReportedMethod
from calib.runs.run import Run
from calib.scoring.best_of_k import gain_by_chance
from calib.scoring.ranks import Rank, rank_by_change
from calib.scoring.significance import holm
from calib.scoring.tradeoff import Point, points_of, weighted_sra


@dataclass(frozen=True)
class ChanceGain:
    """The gain of SRA that the best of a method's settings on test would show by chance."""

    settings: int
    """Number of settings of the method that were run on test."""
    gain: float
    """95th percentile, as a rate; see calib.scoring.best_of_k."""


@dataclass(frozen=True)
class MethodVerdict:
    """A method of a run and the change it made on test."""

    run: Run
    method: ReportedMethod
    change: SettingChange
    """The change from the uncalibrated model to the method's operating point."""
    p: float
    """Adjusted p-value of the change of SRA; nan if the uncalibrated model was kept."""
    least_p: float
    """The adjusted p-value if all clusters that changed had changed in one direction."""
    rank: Rank | None
    """Rank among the methods with a chosen setting; None if the uncalibrated model was kept."""
    tested: TestedResponses

    @property
    def effect(self) -> Effect:
        return effect_of(self.method.choice, self.change, self.p, self.least_p)

    @property
    def source(self) -> str:
        """Name of the run that the method was run in; see calib.report.joint."""
        record = self.run.operating_point(self.method.name) or {}
        return str(record.get("run", self.run.name))

    @property
    def unclear(self) -> list[str]:
        """The rates that too few clusters changed in, if that is the verdict."""
        few = self.effect is Effect.FEW_CHANGED
        return unclear_rates(self.change, self.least_p) if few else []

    @property
    def unadjusted_p(self) -> float:
        """The p-value of the change of SRA on its own; nan if the uncalibrated model was kept."""
        return math.nan if math.isnan(self.p) else self.change.p_value("SRA")

    @property
    def helped(self) -> bool:
        """Whether SRA measurably rose and SRA_u did not measurably fall."""
        return self.effect in (Effect.HELPED, Effect.AT_A_PRICE)

    @property
    def settings_searched(self) -> int | None:
        """Number of the method's settings that were compared on validation; None if unknown."""
        recorded = (self.run.operating_point(self.method.name) or {}).get("settings")
        if isinstance(recorded, int):
            return recorded
        validated = points_of(self.run.results, "validation")
        return sum(point.method == self.method.name for point in validated) or None

    @property
    def validation_sra(self) -> float:
        """SRA of the chosen setting on validation, weighted as in the choice (choose.weights)."""
        record = self.run.operating_point(self.method.name) or {}
        weights = record.get("choose", {}).get("weights") or {"sra_u": 1.0, "sra_s": 1.0}
        return weighted_sra(self.method.choice.point, weights)

    @property
    def supervision(self) -> str | None:
        """Where the method uses labels, "none" if nowhere; None if the run did not record it."""
        recorded = (self.run.operating_point(self.method.name) or {}).get("supervision")
        return recorded if isinstance(recorded, str) else None

    def against(self, point: Point) -> SettingChange:
        """The change from another setting of the run to the method's operating point."""
        return _change(self.run, self.tested, point, self.method.tested)

    def change_at(self, point: Point) -> SettingChange:
        """The change from the uncalibrated model to another setting of the run."""
        return _change(self.run, self.tested, self.run.baseline, point)

    @cached_property
    def chance(self) -> ChanceGain | None:
        """The gain of the best setting by chance; None without settings judged on test."""
        points = [point for point in self.run.tested if point.method == self.method.name]
        settings = [self.tested.at(point) for point in points]
        before = self.tested.at(self.run.baseline)
        common = common_changes(before, settings, self.run.mapping)
        if not settings or common is None:
            return None
        return ChanceGain(
            len(settings),
            gain_by_chance(common.changes, [0.0] * len(common.clusters), common.clusters,
                           common.groups),
        )  # fmt: skip


def rank_methods(run: Run) -> list[MethodVerdict]:
    """Return the methods of a run by the paired change of SRA on test, the largest gain first.

    The setting of each method was chosen on validation, so that no rank depends on the best of
    several settings on test. Methods that kept the uncalibrated model come last; ties go by name.
    """
    tested = TestedResponses(run.judged, REPORTED_SPLIT)
    changes = {m.name: _change(run, tested, run.baseline, m.tested) for m in run.methods}
    raw = _p_values(run.methods, changes)
    adjusted = _adjusted(run.methods, raw)
    least = _least_p_values(run.methods, changes, raw)
    ranks = _ranks(run, changes)
    verdicts = [
        MethodVerdict(
            run, m, changes[m.name], adjusted[m.name], least[m.name], ranks.get(m.name), tested
        )
        for m in run.methods
    ]
    return sorted(verdicts, key=_order)


def _change(run: Run, tested: TestedResponses, before: Point, after: Point) -> SettingChange:
    return SettingChange(tested.at(before), tested.at(after), run.mapping)


def _order(verdict: MethodVerdict) -> tuple[bool, float, str]:
    sra = verdict.change.sra
    gain = -math.inf if sra is None else round(sra.value, 9)
    return verdict.method.choice.kept_baseline, -gain, verdict.method.name


def _ranks(run: Run, changes: Mapping[str, SettingChange]) -> dict[str, Rank]:
    """Return the ranks of the methods with a chosen setting, over the examples they share."""
    names = [m.name for m in run.methods if not m.choice.kept_baseline and changes[m.name].sra]
    if not names:
        return {}
    before = changes[names[0]].before
    common = common_changes(before, [changes[name].after for name in names], run.mapping)
    if common is None:
        return {}
    by_name = dict(zip(names, common.changes, strict=True))
    return rank_by_change(by_name, common.clusters, common.groups)


def _p_values(
    methods: Sequence[ReportedMethod], changes: Mapping[str, SettingChange]
) -> dict[str, float]:
    """Return the unadjusted p-values of the methods with a chosen setting; nan for the others."""
    return {
        m.name: math.nan if m.choice.kept_baseline else changes[m.name].p_value("SRA")
        for m in methods
    }


def _adjusted(methods: Sequence[ReportedMethod], raw: Mapping[str, float]) -> dict[str, float]:
    """Return Holm-adjusted p-values by method.

    The reference of a run with one method is for comparison only, and neither adjusts the method's
    p-value nor is adjusted.
    """
    if sum(not method.reference for method in methods) == 1:
        return dict(raw)
    return dict(zip(raw, holm(list(raw.values())), strict=True))


def _least_p_values(
    methods: Sequence[ReportedMethod],
    changes: Mapping[str, SettingChange],
    raw: Mapping[str, float],
) -> dict[str, float]:
    """Return the adjusted p-value of each method if its clusters had changed in one direction.

    The p-values of the other methods are those in ``raw``.
    """
    least = {}
    for name, p in raw.items():
        possible = math.nan if math.isnan(p) else changes[name].least_p("SRA")
        least[name] = _adjusted(methods, {**raw, name: possible})[name]
    return least


def few_clusters(ranked: Sequence[MethodVerdict]) -> bool:
    """Whether so few clusters were tested that no adjusted p-value of SRA can be below 0.05."""
    tested = [verdict for verdict in ranked if not math.isnan(verdict.p)]
    most = max((len(set(v.change.queries.clusters)) for v in tested if v.change.queries), default=0)
    return bool(tested) and 2.0 ** (1 - most) * len(tested) >= LEVEL


def with_chosen_setting(ranked: Sequence[MethodVerdict]) -> list[MethodVerdict]:
    """Return the methods that did not keep the uncalibrated model."""
    return [verdict for verdict in ranked if not verdict.method.choice.kept_baseline]


def names_by_effect(ranked: Sequence[MethodVerdict]) -> dict[Effect, list[str]]:
    """Return the names of the methods by verdict, in the order of Effect, without empty lists.

    The rates that too few clusters changed in follow the name in brackets.
    """
    names: dict[Effect, list[str]] = {effect: [] for effect in Effect}
    for verdict in ranked:
        unclear = f" ({', '.join(verdict.unclear)})" if verdict.unclear else ""
        names[verdict.effect].append(verdict.method.name + unclear)
    return {effect: found for effect, found in names.items() if found}


def widest_spread(ranked: Sequence[MethodVerdict]) -> tuple[str, PairedResponses] | None:
    """Return the method whose changes vary most between pairs, with its paired responses.

    Its power is the lowest. None if no method has a known spread.
    """
    paired = {v.method.name: v.change.queries for v in with_chosen_setting(ranked)}
    spreads = {
        name: (queries.spread(), queries) for name, queries in paired.items() if queries is not None
    }
    known = {name: pair for name, pair in spreads.items() if not math.isnan(pair[0])}
    if not known:
        return None
    widest = max(known, key=lambda name: known[name][0])
    return widest, known[widest][1]


def prompt_to_beat(ranked: Sequence[MethodVerdict]) -> MethodVerdict | None:
    """Return the prompt-only method with the highest SRA on validation; ties go by name.

    One with a chosen setting comes before one that kept the uncalibrated model. None without any.
    """
    prompts = [verdict for verdict in ranked if verdict.method.prompt_only]
    return min(
        prompts,
        key=lambda v: (v.method.choice.kept_baseline, -round(v.validation_sra, 9), v.method.name),
        default=None,
    )


def prompt_only_setting(method: ReportedMethod) -> Point | None:
    """Return the setting of a prompt-only method to compare others with.

    It is the operating point, or the weakest setting if the uncalibrated model was kept. None if no
    setting was run on test.
    """
    return method.applied if method.applied.method == method.name else None
