"""The steps of a sweep: fit, grid, validation, test."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from calib import methods
from calib.config.choices import Split
from calib.config.method import Activation, Combine
from calib.config.prompts import Calibration, Prompting
from calib.config.sweep import SweepConfig
from calib.data.example import Benchmark, Example
from calib.data.examples_file import check_distinct
from calib.data.splits import select_for_sra
from calib.engine.remote import RemoteEngine
from calib.engine.request import Decoding
from calib.engine.vllm.deferred import Deferred
from calib.interventions.fitting import Fitting
from calib.interventions.intervention import BASELINE, Method, Setting
from calib.judges.registry import choose_judge, sees_pictures
from calib.models.load import VLM, AnyModel
from calib.runs.checks.context import leave_out_fitted
from calib.runs.checks.responses import length_notes, overflow_notes, remote_response_notes
from calib.runs.engines import engine_of, reader_of
from calib.runs.generate import BaselineAnswers, Others, generate
from calib.runs.kl_budget import (
    CostedStrength,
    budget_notes,
    effect_note,
    integers_within_budget,
    largest_effect,
    layer_effects,
    strengths_within_budget,
)
from calib.runs.labels.judging import Judging, is_final, judge_rows
from calib.runs.operating_points import (
    Selection,
    direction_note,
    fit_details,
    operating_point_records,
    select_operating_points,
)
from calib.runs.planning import PlannedRow, Planner
from calib.runs.preflight import methods_of, reference_of, require_queries
from calib.runs.row_store import RowStore
from calib.runs.run import Run
from calib.runs.run_files import DIRECTIONS, LabelledRow, settings_text
from calib.runs.selection_notes import selection_notes, variant_notes
from calib.runs.shards import SHARDS, one_at_a_time
from calib.scoring.judged import Judged
from calib.scoring.result_table import ResultTable
from calib.scoring.results import rounded
from calib.scoring.score import in_order, score
from calib.util.errors import CalibError
from calib.util.progress import log_line, row_bar
from calib.util.terminal import terminal_safe

EFFECT_KL = 0.1
"""Budget of KL, in nats, at which layers are compared if none is given."""

NOTHING_TO_FIT = "too-few"
"""Code of the error of a method for which the data has too few examples."""


@dataclass
class Sweep:
    """A sweep of one model over a benchmark and utility questions, recorded in ``store``."""

    config: SweepConfig
    model: AnyModel
    benchmark: Benchmark
    utility: list[Example]
    folder: Path
    store: RowStore
    backend: Deferred | None = None
    """vLLM, where it is the engine."""

    def __post_init__(self) -> None:
        check_distinct([*self.benchmark.examples, *self.utility])
        judge = choose_judge(self.config.judge, self.config.data.name, self.model.checkpoint)
        # Shards share a folder, but each has its own file of verdicts, beside its rows.
        own_folder = self.store.path.parent
        self.judging = Judging(judge, own_folder, sees_pictures(self.config.judge))
        decoding = Decoding.of(self.config.generation, seed=self.config.seed)
        skip_long = self.config.data.skip_long
        self.engine = engine_of(self.config.engine, self.model, decoding, self.backend, skip_long)
        self.planner = Planner(self.engine, judge.id if self.config.generation.early_stop else "")
        # Methods are fitted on complete answers, which are never cut.
        self.baseline_answers = BaselineAnswers(Planner(self.engine), self.store, self.judging)
        # Preflight refused the methods that look inside a remote model.
        model = cast(VLM, self.model)
        self.fitting = Fitting(
            model,
            self.benchmark.examples,
            self.utility,
            self.baseline_answers,
            self.folder,
            reader_of(self.engine),
        )
        self.rows: list[PlannedRow] = []
        self.judged: list[Judged] = []

    def run(self, manifest: dict[str, Any], note: Callable[[str], None]) -> Run | None:
        """Run all steps; the finished run in memory, whose files are not written yet.

        A shard ends with its rows and gives None: its run is finished where the shards are joined.
        ``manifest`` is the content of run.json; ``note`` receives each note for the reader as soon
        as it is known. Raises CalibError when a step fails; recorded rows are kept.
        """
        grids: dict[str, list[Setting]] = {}
        axes, details = {}, {}
        with one_at_a_time(self.folder) if self.is_shard else nullcontext():
            fitted = self.fit()
            self.benchmark, self.utility, left_out = leave_out_fitted(
                self.config, self.model, fitted, self.benchmark, self.utility
            )
            self.fitting.examples, self.fitting.utility = self.benchmark.examples, self.utility
            for text in [*left_out, *self.fitting.part_notes.values()]:
                note(text)
            for method in fitted:
                grids[method.name], notes = self.grid(method)
                axes[method.name] = method.axis.meaning
                details[method.name] = fit_details(method, notes)
                for text in (*method.notes, *notes):
                    note(text)
        grid = [setting for settings in grids.values() for setting in settings]
        mapping, rule = self.config.mapping, self.config.choose
        responses = self.validate([BASELINE, *grid])
        validated = score(responses, mapping)
        selected = select_operating_points(
            responses, validated, list(grids) or [BASELINE.method], rule, mapping
        )
        for method in fitted:
            layer = selected[method.name].layer
            if text := direction_note(method, layer):
                details[method.name].setdefault("fit_notes", []).append(text)
                note(text)
        for text in [*selection_notes(selected, rule), *variant_notes(selected, details)]:
            note(text)
        reported = [
            setting
            for name, settings in grids.items()
            for setting in _reported(settings, selected[name], "variants" in details[name])
        ]
        if self.is_shard:
            self._generate("test", [*self.benchmark.examples, *self.utility], [BASELINE, *reported])
            return None
        tested = score(self.test([BASELINE, *reported]), self.config.mapping)
        limit, ids = self.engine.decoding.max_new_tokens, [row.id for row in self.rows]
        for text in (
            *self.engine.notes, *remote_response_notes(self.store), *self.judging.notes(),
            *overflow_notes(ids, self.store),
            *length_notes(ids, self.store, "generation.max_new_tokens", limit),
        ):  # fmt: skip
            note(text)
        reference = reference_of(self.config)
        points = operating_point_records(
            self.model.checkpoint,
            selected,
            rule,
            axes,
            [method.name for method in methods_of(self.config) if isinstance(method, Prompting)],
            reference.name if reference else None,
            details,
        )
        examples = {row.example.id: row.example for row in self.rows}
        return Run(
            self.folder,
            manifest=manifest,
            settings_text=settings_text(self.config),
            checkpoint=self.model.checkpoint,
            results=ResultTable(rounded(in_order([*validated, *tested]))),
            operating_points=points,
            examples=examples,
            pictured={name for name, example in examples.items() if example.picture is not None},
            rows=[
                LabelledRow(
                    response.method,
                    response.layer,
                    response.strength,
                    row.id,
                    row.example.id,
                    response.label,
                )  # fmt: skip
                for row, response in zip(self.rows, self.judged, strict=True)
            ],
            responses=self.store.finished,
            judge=self.judging.judge.id,
            judged=self.judged,
        )

    @property
    def is_shard(self) -> bool:
        """Whether this process makes a part of the rows only."""
        return self.store.shards is not None and self.store.shards.own is not None

    def fit(self) -> list[Method]:
        """Fit the methods of the run.

        Raises CalibError if one cannot be fitted. If the data gives nothing to fit, the other
        methods of the run are tried as well, so that one error names all that must be left out.
        """
        if (folder := self.folder / DIRECTIONS).exists():
            log_line(f"directions: read from {terminal_safe(str(folder))} (fitted before)")
        fitted: list[Method] = []
        failed: dict[str, CalibError] = {}
        for config in methods_of(self.config):
            try:
                fitted.append(methods.build(self.fitting, config))
            except CalibError as error:
                if error.code != NOTHING_TO_FIT or config.name not in self.config.methods:
                    raise
                failed[config.name] = error
        if failed:
            reasons = " ".join(f"{name}: {error}" for name, error in failed.items())
            words = " ".join(f"'~methods.{name}'" for name in failed)
            advice = f" To run the other methods, add {words}." if fitted else ""
            raise CalibError(NOTHING_TO_FIT, reasons + advice)
        return fitted

    def grid(self, method: Method) -> tuple[list[Setting], list[str]]:
        """The settings of a method, and notes on how its layer and strengths were selected.

        The layers are all of the method's or, with method.layers=auto, the one with the largest
        effect; the strengths are the configured ones or those within a budget of KL.
        """
        config = {config.name: config for config in methods_of(self.config)}[method.name]
        config = config.activation if isinstance(config, Combine) else config
        assert isinstance(config, Calibration)
        layers, notes = list(method.layers), []
        costed: list[CostedStrength] = []
        auto = isinstance(config, Activation) and config.layers == "auto"
        if auto and layers == [None]:
            raise CalibError(
                "conflicting-settings",
                f"method.layers=auto: method={method.name} has no settings of single layers to "
                "select from. Give method.layers as a band or a list.",
            )
        if config.kl is not None or auto:
            costed = self._costed(method, config.strengths, config.kl or EFFECT_KL)
        if auto:
            effects = layer_effects(
                self.baseline_answers.planner,
                self.store,
                self.judging,
                method,
                costed,
                self.fitting.twins("validation"),
            )
            if not effects:
                raise CalibError(
                    "no-solution",
                    f"no layer of method={method.name} has a strength within the budget of KL, so "
                    "none can be selected. Give method.layers or a larger method.kl.",
                )
            best = largest_effect(effects)
            layers = [best.layer]
            notes.append(effect_note(method, effects, best))
        if config.kl is None:
            points = [(layer, s) for layer in layers for s in sorted(set(config.strengths))]
        else:
            points = [(cost.layer, cost.strength) for cost in costed if cost.layer in layers]
            notes += budget_notes(method, costed, config.kl, layers)
        return [method.setting(*point) for point in points], notes

    def _costed(
        self, method: Method, strengths: Sequence[float], budget: float
    ) -> list[CostedStrength]:
        questions = [e for e in self.utility if (e.dataset, e.split) == ("utility", "validation")]
        if method.axis.integer:
            return integers_within_budget(
                self.baseline_answers.planner, self.store, method, strengths, questions, budget
            )
        assert not isinstance(self.engine, RemoteEngine), "preflight refuses KL of a remote model"
        return strengths_within_budget(self.engine, method, questions, budget, self.folder)

    def validate(self, settings: Sequence[Setting]) -> list[Judged]:
        """Responses on the validation examples that an operating point is selected by."""
        examples = select_for_sra(self.benchmark.examples)
        examples += [e for e in self.utility if e.dataset == "utility"]
        return self._respond("validation", examples, settings)

    def test(self, settings: Sequence[Setting]) -> list[Judged]:
        """Responses on all examples of the test split."""
        return self._respond("test", [*self.benchmark.examples, *self.utility], settings)

    def _respond(
        self, split: Split, examples: Sequence[Example], settings: Sequence[Setting]
    ) -> list[Judged]:
        """Generate and judge the responses to one split under every setting."""
        rows = self._generate(split, examples, settings)
        judged = judge_rows(rows, self.store, self.judging)
        self.rows += rows
        self.judged += judged
        return judged

    def _generate(
        self, split: Split, examples: Sequence[Example], settings: Sequence[Setting]
    ) -> list[PlannedRow]:
        examples = [example for example in examples if example.split == split]
        require_queries(self.config, split, examples)
        rows = self.planner.rows(examples, settings)
        if (
            self.backend is not None
            and not (self.folder / SHARDS).is_dir()  # whose rows are not in the store yet
            and any(row.id not in self.store.finished for row in rows)
        ):
            self.backend.start()  # before the bar, whose rate would include it
        early = is_final(self.judging.judge) if self.config.generation.early_stop else None
        with row_bar(split, len({row.id for row in rows})) as bar:
            # After the last step nobody needs the rows of other shards, unless prompt flows go on.
            is_last = split == "test" and not any(row.may_continue for row in rows)
            others: Others = "leave" if is_last else "await"
            return generate(self.planner, rows, self.store, early, bar, others)


def _reported(settings: list[Setting], selection: Selection, variants: bool) -> list[Setting]:
    """The settings of a method to run on test: the curve over strengths at the selected layer.

    Variants have no curve. Of those, the selected and the first one, usually the default, are run.
    """
    curve = [setting for setting in settings if setting.layer == selection.layer]
    if not variants:
        return curve
    strengths = {curve[0].strength, selection.choice.point.strength} if curve else set()
    return [setting for setting in curve if setting.strength in strengths]
