"""The steps of a sweep, over one record: methods, settings, validation, test."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from calib import methods
from calib.config.choices import Split
from calib.config.method import Activation, Combine
from calib.config.prompts import Calibration, Prompting
from calib.config.sweep import SweepConfig
from calib.data.example import Benchmark, Example
from calib.data.splits import select_for_sra
from calib.engine.engine import Engine
from calib.engine.remote import RemoteEngine
from calib.engine.request import Decoding
from calib.interventions.fitting import Fitting
from calib.interventions.intervention import BASELINE, Method, Setting
from calib.judges.registry import choose_judge, sees_pictures
from calib.models.load import VLM, AnyModel
from calib.models.remote import RemoteModel
from calib.runs.generate import BaselineAnswers, answer
from calib.runs.judging import Judging, LabelledRow, certain, judge_rows
from calib.runs.kl_budget import CostedStrength, budget_notes, whole_within_budget, within_budget
from calib.runs.operating_points import operating_point_records, select_operating_point
from calib.runs.planning import PlannedRow, Planner
from calib.runs.preflight import methods_of, reference_of, remote_answer_notes
from calib.runs.row_store import ROWS_FILE, RowStore
from calib.runs.run import Run
from calib.runs.run_files import DIRECTIONS, check_distinct, settings_text
from calib.runs.selection import effect_note, effects, largest
from calib.scoring.judged import Judged
from calib.scoring.score import in_order, score
from calib.scoring.results import rounded
from calib.util.errors import CalibError
from calib.util.progress import row_bar, tell
from calib.util.terminal import terminal_safe

EFFECT_KL = 0.1
"""Budget of KL, in nats, at which layers are compared where none is given."""


def examples_identity(benchmark: Benchmark, utility: Sequence[Example]) -> str:
    """Count and hash of what is asked; the pictures are hashed row by row."""
    asked = [*benchmark.examples, *utility]
    text = "\n".join(f"{e.id} {e.split} {e.query!r} {e.system!r}" for e in asked)
    return f"{len(asked)} {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def is_unfinished(folder: Path) -> bool:
    """Whether a folder holds nothing yet that took work."""
    rows = folder / ROWS_FILE
    return not (rows.exists() and rows.stat().st_size) and not (folder / DIRECTIONS).exists()


@dataclass
class Sweep:
    """One model, one benchmark, some methods, and the record their rows go to."""

    config: SweepConfig
    vlm: AnyModel
    benchmark: Benchmark
    utility: list[Example]
    folder: Path
    record: RowStore

    def __post_init__(self) -> None:
        check_distinct([*self.benchmark.examples, *self.utility])
        judge = choose_judge(self.config.judge, self.config.data.name, self.vlm.checkpoint)
        self.judging = Judging(judge, self.folder, sees_pictures(self.config.judge))
        decoding = Decoding.of(self.config.generation, seed=self.config.seed)
        self.engine: Engine | RemoteEngine
        if isinstance(self.vlm, RemoteModel):
            self.engine = RemoteEngine(self.vlm, decoding)
        else:
            self.engine = Engine(self.vlm, decoding)
        self.planner = Planner(self.engine, judge.id if self.config.generation.early_stop else "")
        # What a method is fitted to is never cut: it must be known to its end.
        self.asking = BaselineAnswers(Planner(self.engine), self.record, self.judging)
        # Of a remote model: methods that would look inside it were refused before.
        inside = cast(VLM, self.vlm)
        self.fitting = Fitting(
            inside, self.benchmark.examples, self.utility, self.asking, self.folder
        )
        self.rows: list[PlannedRow] = []
        self.judged: list[Judged] = []
        self.notes: list[str] = []
        """How layers and strengths were chosen."""

    def methods(self) -> list[Method]:
        """The methods of the run, fitted."""
        if (fitted := self.folder / DIRECTIONS).exists():
            tell(f"directions: read from {terminal_safe(str(fitted))} (fitted before)")
        return [methods.build(self.fitting, config) for config in methods_of(self.config)]

    def grid(self, method: Method) -> list[Setting]:
        """All settings of a method: its layers, or the chosen one, and its strengths, or what a
        budget of KL allows."""
        config = next(one for one in methods_of(self.config) if one.name == method.name)
        config = config.activation if isinstance(config, Combine) else config
        assert isinstance(config, Calibration)
        layers, priced = list(method.layers), []
        auto = isinstance(config, Activation) and config.layers == "auto"
        if auto and layers == [None]:
            raise CalibError(
                f"method.layers=auto: method={method.name} has no setting for each layer to choose "
                "from. Give method.layers as a band or a list."
            )
        if config.kl is not None or auto:
            priced = self._priced(method, config.strengths, config.kl or EFFECT_KL)
        if auto:
            layers = [self._chosen_layer(method, priced)]
        if config.kl is None:
            chosen = [(layer, s) for layer in layers for s in sorted(set(config.strengths))]
        else:
            chosen = [(one.layer, one.strength) for one in priced if one.layer in layers]
            self.notes += budget_notes(method, priced, config.kl, layers)
        return [method.setting(*point) for point in chosen]

    def _priced(
        self, method: Method, strengths: Sequence[float], budget: float
    ) -> list[CostedStrength]:
        questions = [e for e in self.utility if (e.dataset, e.split) == ("utility", "validation")]
        if method.axis.integer:
            return whole_within_budget(
                self.asking.planner, self.record, method, strengths, questions, budget
            )
        assert isinstance(self.engine, Engine), "the KL of a remote model was refused before"
        return within_budget(self.engine, method, questions, budget, self.folder)

    def _chosen_layer(self, method: Method, priced: Sequence[CostedStrength]) -> int:
        found = effects(
            self.asking.planner,
            self.record,
            self.judging,
            method,
            priced,
            self.fitting.twins("validation"),
        )
        if not found:
            raise CalibError(
                f"no layer of method={method.name} has a strength within the budget of KL, so none "
                "can be chosen by its effect. Give method.layers or a larger method.kl."
            )
        best = largest(found)
        self.notes += [effect_note(method, found, best)]
        return best.layer

    def validate(self, settings: Sequence[Setting]) -> list[Judged]:
        """The whole grid on the validation split, on what an operating point is chosen by."""
        asked = select_for_sra(self.benchmark.examples)
        asked += [e for e in self.utility if e.dataset == "utility"]
        return self.ask("validation", asked, settings)

    def test(self, settings: Sequence[Setting]) -> list[Judged]:
        """Settings on everything in the test split."""
        return self.ask("test", [*self.benchmark.examples, *self.utility], settings)

    def ask(
        self, split: Split, examples: Sequence[Example], settings: Sequence[Setting]
    ) -> list[Judged]:
        """Answer and judge the examples of one split under every setting."""
        asked = [example for example in examples if example.split == split]
        if not any(example.safety for example in asked):
            raise CalibError(
                f"the {split} split of data={self.config.data.name} is empty with these settings. "
                "Give more examples (splits are drawn by hashing pairs, so a few leave one empty), "
                "raise data.limit, choose more parts, or give your own pairs a column split."
            )
        early = self.config.generation.early_stop
        rows = self.planner.rows(asked, settings)
        with row_bar(split, len({row.id for row in rows})) as bar:
            rows = answer(
                self.planner, rows, self.record, certain(self.judging.judge) if early else None, bar
            )
        judged = judge_rows(rows, self.record, self.judging)
        self.rows += rows
        self.judged += judged
        return judged

    def run(self, manifest: dict[str, Any], note: Callable[[str], None]) -> Run:
        """Run all steps and return the finished run, which is in memory and not written yet.

        ``manifest`` is the content of run.json; ``note`` receives what a reader should know, as it
        becomes known.
        """
        grids: dict[str, list[Setting]] = {}
        axes = {}
        for method in self.methods():
            grids[method.name] = self.grid(method)
            axes[method.name] = method.axis.meaning
            for text in (*method.notes, *self.notes):
                note(text)
            self.notes.clear()
        grid = [setting for settings in grids.values() for setting in settings]
        validated = score(self.validate([BASELINE, *grid]), self.config.mapping)
        selected = {
            name: select_operating_point(validated, name) for name in grids or [BASELINE.method]
        }
        reported = [setting for setting in grid if setting.layer == selected[setting.method][0]]
        tested = score(self.test([BASELINE, *reported]), self.config.mapping)
        for text in (
            *self.engine.notes, *remote_answer_notes(self.record), *self.judging.notes()
        ):  # fmt: skip
            note(text)
        reference = reference_of(self.config)
        examples = {row.example.id: row.example for row in self.rows}
        return Run(
            self.folder,
            manifest=manifest,
            settings_text=settings_text(self.config),
            checkpoint=self.vlm.checkpoint,
            results=rounded(in_order([*validated, *tested])),
            operating_points=operating_point_records(
                self.vlm.checkpoint,
                selected,
                axes,
                [one.name for one in methods_of(self.config) if isinstance(one, Prompting)],
                reference.name if reference else None,
            ),
            examples=examples,
            pictured={name for name, example in examples.items() if example.picture is not None},
            rows=[
                LabelledRow(
                    row.id,
                    row.example.id,
                    judged.method,
                    judged.layer,
                    judged.strength,
                    judged.label,
                )  # fmt: skip
                for row, judged in zip(self.rows, self.judged, strict=True)
            ],
            responses=self.record.finished,
            judge=self.judging.judge.id,
            judged=self.judged,
        )
