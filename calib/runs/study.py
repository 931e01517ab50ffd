"""The steps of a sweep, over one record: directions, settings, validation, test."""

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from calib.config import Steer, SweepConfig
from calib.data.benchmarks import Benchmark
from calib.data.example import Example, Split
from calib.directions.direction import Direction, read_direction, write_direction
from calib.directions.fit import checked_layers, pair_set_of, require_match
from calib.engine.decoding import Decoding
from calib.engine.generate import Engine
from calib.errors import CalibError
from calib.methods.setting import BASELINE, Setting
from calib.methods.steer import steer_settings
from calib.runs.answering import Row, answer, plan_rows
from calib.runs.contrasts import FITTED_PARTS, fit_contrast, paired_examples, row_bar
from calib.runs.judging import certain, choose_judge, judge_rows, write_labels
from calib.runs.record import Rows
from calib.scoring.judged import Judged
from calib.scoring.results import Result
from calib.scoring.tradeoff import (
    OperatingPoint,
    baseline_of,
    choose_layer,
    choose_operating_point,
    points_of,
)
from calib.vlm.load import MINI, VLM

DIRECTION_FILE = "direction.safetensors"
ROWS_FILE = "rows.jsonl"


def check(config: SweepConfig, vlm: VLM, benchmark: Benchmark) -> dict[str, str]:
    """Raise CalibError for settings that could not be carried out; nothing is written.

    Returns what else identifies the run: the contents of a given direction.
    """
    choose_judge(config.judge.name, config.data.name, vlm.checkpoint)
    if not any(example.dataset in FITTED_PARTS for example in benchmark.examples):
        raise CalibError(
            f"data={config.data.name} has neither an image-centric nor a text-centric part here; "
            "the operating point is chosen by SRA, which needs one of them (data.parts)."
        )
    method = config.method
    if not isinstance(method, Steer):
        return {}
    layers = checked_layers(vlm, method.layers)
    if method.direction is None:
        return {}
    direction = given_direction(method.direction, vlm)
    for layer in layers if method.layers != "all" else []:
        direction.at(layer, 1.0)
    contents = b"".join(t.numpy().tobytes() for t in (direction.vectors, direction.gap))
    return {"direction": hashlib.sha256(contents).hexdigest()[:16]}


def meaning(config: SweepConfig, vlm: VLM, examples: Sequence[Example]) -> list[str]:
    """What a reader must know before taking the run's numbers for a result."""
    notes = []
    if vlm.checkpoint == MINI and config.data.name != "mini":
        notes.append(
            f"{MINI} knows its procedural world only; what it answers to {config.data.name} means "
            "nothing and shows that the machinery runs"
        )
    plain = sum(example.picture is None for example in examples)
    if isinstance(config.method, Steer) and config.method.positions == "image" and plain:
        notes.append(
            f"{plain} of {len(examples)} examples have no picture: method.positions=image edits "
            "nothing in them, and they count as steered"
        )
    return notes


def examples_identity(benchmark: Benchmark, utility: Sequence[Example]) -> str:
    """Count and hash of what is asked; the pictures are hashed row by row."""
    asked = [*benchmark.examples, *utility]
    text = "\n".join(f"{e.id} {e.split} {e.query!r} {e.system!r}" for e in asked)
    return f"{len(asked)} {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def is_unfinished(folder: Path) -> bool:
    """Whether a folder holds nothing yet that took work."""
    rows = folder / ROWS_FILE
    return not (rows.exists() and rows.stat().st_size) and not (folder / DIRECTION_FILE).exists()


def given_direction(path: str, vlm: VLM) -> Direction:
    """The direction of a file, checked against the model it is to steer."""
    direction = read_direction(Path(path).expanduser())
    require_match(direction, vlm, path)
    return direction


@dataclass
class Study:
    """One model, one benchmark, one method, and the record their rows go to."""

    config: SweepConfig
    vlm: VLM
    benchmark: Benchmark
    utility: list[Example]
    folder: Path
    record: Rows

    def __post_init__(self) -> None:
        data, checkpoint = self.config.data.name, self.vlm.checkpoint
        self.judge = choose_judge(self.config.judge.name, data, checkpoint)
        generation = self.config.generation
        self.engine = Engine(
            self.vlm,
            Decoding(
                max_new_tokens=generation.max_new_tokens,
                batch_rows=generation.batch_rows,
                memory=generation.memory,
                temperature=generation.temperature,
                top_p=generation.top_p,
                sharing=generation.sharing,
                seed=self.config.seed,
            ),
        )
        self.rows: list[Row] = []
        self.judged: list[Judged] = []

    def direction(self, method: Steer) -> Direction:
        """The direction to steer along: a given file, the one this run fitted before, or new.

        Whichever it is, the run's folder keeps a copy.
        """
        path = self.folder / DIRECTION_FILE
        if method.direction is not None:
            direction = given_direction(method.direction, self.vlm)
            write_direction(path, direction)
            return direction
        if path.exists():  # reused, so that a resumed run steers along the very same vectors
            direction = read_direction(path)
            require_match(direction, self.vlm, str(path))
            self._require_same_fit(direction, method, path)
            return direction
        direction = fit_contrast(
            self.engine,
            self.benchmark.examples,
            self.record,
            self.judge,
            contrast=method.contrast,
            estimator=method.estimator,
            positions=method.read_positions,  # type: ignore[arg-type]
            layers="all",
            batch_rows=self.config.generation.batch_rows,
        )
        direction = dataclasses.replace(direction, positions=method.positions)
        write_direction(path, direction)
        return direction

    def _require_same_fit(self, direction: Direction, method: Steer, path: Path) -> None:
        pairs = pair_set_of(paired_examples(self.benchmark.examples, "train"))
        for name, there, wanted in (
            ("contrast", direction.contrast, method.contrast),
            ("estimator", direction.estimator, method.estimator),
            ("read_positions", direction.read_positions, method.read_positions),
            ("pair_set", direction.pair_set, pairs),
        ):
            if there != wanted:
                raise CalibError(
                    f"'{path}' is a direction fitted otherwise ({name}: {there}, now {wanted}). "
                    "Give another folder with out=FOLDER, or delete the file to fit it again."
                )

    def settings(self) -> list[Setting]:
        """The uncalibrated model and the method's whole grid."""
        method = self.config.method
        if not isinstance(method, Steer):
            return [BASELINE]
        layers = checked_layers(self.vlm, method.layers)
        direction = self.direction(method)
        if method.layers == "all":
            layers = direction.layers
        return [
            BASELINE,
            *steer_settings(direction, layers, method.strengths, method.positions),  # type: ignore[arg-type]
        ]

    def validate(self, settings: Sequence[Setting]) -> list[Judged]:
        """The whole grid on the validation split, on what an operating point is chosen by."""
        asked = [e for e in self.benchmark.examples if e.dataset in FITTED_PARTS]
        asked += [e for e in self.utility if e.dataset == "utility"]
        return self.ask("validation", asked, settings)

    def test(self, settings: Sequence[Setting], layer: int | None) -> list[Judged]:
        """The settings of one layer on everything in the test split."""
        kept = [s for s in settings if s.layer is None or s.layer == layer]
        return self.ask("test", [*self.benchmark.examples, *self.utility], kept)

    def ask(
        self, split: Split, examples: Sequence[Example], settings: Sequence[Setting]
    ) -> list[Judged]:
        """Answer and judge the examples of one split under every setting."""
        asked = [example for example in examples if example.split == split]
        if not any(example.safety for example in asked):
            raise CalibError(
                f"the {split} split of data={self.config.data.name} is empty with these settings. "
                "Raise data.limit or choose more parts."
            )
        early = self.config.generation.early_stop
        rows = plan_rows(self.engine, asked, settings, self.judge if early else "")
        with row_bar(f"{split} rows", len({row.id for row in rows})) as bar:
            answer(self.engine, rows, self.record, certain(self.judge) if early else None, bar)
        judged = judge_rows(rows, self.record, self.judge)
        self.rows += rows
        self.judged += judged
        return judged

    def write_labels(self) -> Path:
        """Write the label of every row asked so far beside the record."""
        path = self.folder / "labels.jsonl"
        write_labels(path, self.rows, self.judged, self.judge)
        return path


def choose(results: Sequence[Result]) -> tuple[int | None, OperatingPoint]:
    """The layer and the operating point of a grid, by its results on validation.

    The layer is None where the method has none; it is chosen also when no setting there beats the
    uncalibrated model, so that its curve can be shown.
    """
    points = points_of(results, "validation")
    baseline = baseline_of(points)
    steered = [point for point in points if point is not baseline]
    if any(point.layer is not None for point in steered):
        choice = choose_layer(steered, baseline)
        return choice.layer, choice.operating_point
    return None, choose_operating_point(steered, baseline)
