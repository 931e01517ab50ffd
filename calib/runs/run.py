"""The run: one class for a run's folder, in memory while it is made or loaded from disk."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from calib.config.extensions import schemas_for
from calib.config.named_model import model_name
from calib.config.prompts import MethodConfig
from calib.config.sweep import GenerationConfig
from calib.config.typed import parse_settings, typed_config
from calib.data.benchmarks import load_benchmark, load_utility
from calib.data.example import Example
from calib.data.examples_file import (
    EXAMPLES_FILE,
    read_examples,
    require_unchanged,
    restore_pictures,
    write_examples,
)  # fmt: skip
from calib.directions.direction import Direction, read_direction
from calib.directions.parts import PartSeparation
from calib.directions.projections import Projections
from calib.runs.checks import files as checked
from calib.runs.manifest import read_manifest
from calib.runs.operating_points import OPERATING_POINTS_FILE, REPORTED_SPLIT
from calib.runs.reported_methods import ReportedMethod, reported_methods
from calib.runs.row_store import ROWS_FILE, Record, read_rows
from calib.runs.run_files import (
    CONFIG_FILE,
    EXTRACTED,
    LABELS_FILE,
    RESULTS_FILE,
    LabelledRow,
    distinct_names,
    judged_of,
    read_all_parts,
    read_all_projections,
    read_directions,
    read_labels,
    require_complete,
    required_file,
    write_labels,
)
from calib.scoring.judged import Judged
from calib.scoring.result_table import ResultTable
from calib.scoring.results import RunResults, rounded, write_results
from calib.scoring.score import score
from calib.scoring.tradeoff import Point, baseline_of, points_of
from calib.util.checksums import checked_settings
from calib.util.errors import CalibError
from calib.util.files import home_expanded, write_atomically

PARTS = frozenset({
    "folder", "name", "manifest", "settings_text", "settings", "checkpoint", "model_name",
    "results", "operating_points", "directions", "projections", "part_separations", "examples",
    "pictured", "rows", "responses", "judge", "judged",
})  # fmt: skip
"""Parts of a run that can be handed over instead of being read from its folder."""


class Run:
    """A finished run of calib.sweep or calib.extract.

    Each part is read from the folder when it is first used, unless it was handed over: calib.sweep
    hands over what it has in memory, so that its tables, figures and report read nothing again.
    Reading a part raises CalibError when its file is missing or damaged.
    """

    def __init__(self, folder: str | Path, **parts: Any) -> None:
        """A run in ``folder``; ``parts`` are those of PARTS that are in memory already."""
        assert parts.keys() <= PARTS, parts.keys() - PARTS
        self.folder = home_expanded(folder)
        self.name = self.folder.name
        vars(self).update(parts)

    def __repr__(self) -> str:
        return f"<Run {self.name} in {self.folder}>"

    @classmethod
    def load(cls, folder: str | Path) -> "Run":
        """The finished run in ``folder``. Raises CalibError when it holds none."""
        run = cls(folder)
        if not run.is_extraction:
            required_file(run.folder, RESULTS_FILE)
        return run

    @classmethod
    def load_many(cls, folders: Sequence[str | Path]) -> list["Run"]:
        """The finished runs in ``folders``; runs of one folder name are named by as much of their
        path as separates them.

        Raises CalibError when a folder holds no finished run or is given twice.
        """
        runs = [cls.load(folder) for folder in folders]
        names = distinct_names([run.folder.resolve() for run in runs])
        return [run.replace(name=name) for run, name in zip(runs, names, strict=True)]

    def replace(self, **parts: Any) -> "Run":
        """A copy of this run with other ``parts``."""
        known = {name: value for name, value in vars(self).items() if name in PARTS}
        if parts.keys() & {"rows", "responses"}:
            known.pop("judged", None)
        if "checkpoint" in parts:
            known.pop("model_name", None)
        return Run(**{**known, **parts})

    def write(self) -> dict[str, Path]:
        """Write the files of a finished sweep; the paths of those to read, by what they are."""
        settings = self.folder / CONFIG_FILE
        # After a kill, a folder with results has its other files under the same mapping and choose.
        text = checked_settings(self.settings_text)
        if settings.is_file() and settings.read_bytes() != text:
            (self.folder / RESULTS_FILE).unlink(missing_ok=True)
        write_examples(self.folder / EXAMPLES_FILE, self.examples.values())
        write_atomically(settings, text)
        files = self.write_scores()
        return files | {"configuration": settings, "labels": files.pop("labels")}

    def write_scores(self) -> dict[str, Path]:
        """Write labels, operating points and, last, results; their paths by what they are."""
        names = {"results": RESULTS_FILE, "operating points": OPERATING_POINTS_FILE,
                 "labels": LABELS_FILE}  # fmt: skip
        files = {what: self.folder / name for what, name in names.items()}
        write_labels(files["labels"], [row.row for row in self.rows], self.judged, self.judge)
        points = checked.points_text(self.operating_points, self.results)
        write_atomically(files["operating points"], points)
        model = str(self._first_point.get("model", self.checkpoint))
        write_results(files["results"], self.folder.name, model, self.results)
        return files

    @property
    def is_extraction(self) -> bool:
        """Whether calib.extract made the run: it has directions, but no results."""
        return (self.folder / EXTRACTED).is_file() and not (self.folder / RESULTS_FILE).exists()

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Content of run.json: "identity" and "provenance"."""
        return read_manifest(self.folder)

    @property
    def provenance(self) -> dict[str, Any]:
        """Date, versions, commit and notes of the run; empty where there are none on record."""
        provenance = self.manifest.get("provenance")
        return provenance if isinstance(provenance, dict) else {}

    @cached_property
    def settings_text(self) -> str:
        """Content of config.yaml without its checksum."""
        return checked.read_settings_text(self.folder)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """All settings of the sweep, under their current names."""
        return parse_settings(self.settings_text, self.folder / CONFIG_FILE)

    def config(self, group: str) -> Any:
        """The settings of one group ("model", "data", "utility", "judge", "generation") as the
        dataclass of calib.config that describes them.

        Raises CalibError when no dataclass of this version of calib has these settings.
        """
        given = self.settings[group]
        return typed_config(schemas_for(group, given) or [GenerationConfig], given, complete=True)

    @property
    def data(self) -> str:
        """Name of the benchmark."""
        return str(self.settings["data"]["name"])

    @property
    def seed(self) -> int:
        return int(self.settings["seed"])

    @property
    def mapping(self) -> str:
        """Name of the mapping from labels to right or wrong."""
        return str(self.settings["mapping"])

    @cached_property
    def method_settings(self) -> dict[str, dict[str, Any]]:
        """Settings of each method, the prompt-only reference included, by the method's name."""
        own = list(self.settings["methods"].values()) or [self.settings["method"]]
        return {each["name"]: each for each in [*own, self.settings.get("reference")] if each}

    def method_config(self, name: str) -> MethodConfig | None:
        """The settings of a method as their dataclass; None where the run has no such method."""
        given = self.method_settings.get(name)
        return None if given is None else typed_config(schemas_for("method", given), given)

    @cached_property
    def _tables(self) -> list[RunResults]:
        return [] if self.is_extraction else checked.read_tables(self.folder)

    @cached_property
    def results(self) -> ResultTable:
        """The rows of results.csv, as a table; none of an extraction. Labels of a version before
        the present mapping are scored again."""
        if self.is_scored_again:
            return ResultTable(rounded(score(self.judged, self.mapping)))
        return ResultTable(result for table in self._tables for result in table.results)

    @property
    def is_of_earlier_mapping(self) -> bool:
        """Whether results.csv is from before mapping=calib counted a warned answer as right."""
        return any(not table.names_mapping for table in self._tables)

    @property
    def is_scored_again(self) -> bool:
        """Whether results.csv is of the earlier mapping, and the run has labels to score again."""
        files = (self.folder / name for name in (LABELS_FILE, ROWS_FILE))
        return self.is_of_earlier_mapping and all(file.is_file() for file in files)

    @cached_property
    def checkpoint(self) -> str:
        """The checkpoint that the results or the extracted direction belong to."""
        if self.is_extraction:
            return read_direction(self.folder / EXTRACTED).checkpoint
        # Earlier versions have it in results.csv, in the place of the model's name.
        if "model" in self._first_point:
            return str(self._first_point["checkpoint"])
        return self._tables[-1].model if self._tables else ""

    @cached_property
    def model_name(self) -> str:
        """The name of the model in figures, tables and reports."""
        point = self._first_point
        is_recorded = "model" in point and point["checkpoint"] == self.checkpoint
        return str(point["model"]) if is_recorded else model_name(self.checkpoint)

    @property
    def _first_point(self) -> dict[str, Any]:
        is_there = (self.folder / OPERATING_POINTS_FILE).is_file()
        points = self.operating_points if "operating_points" in vars(self) or is_there else []
        return points[0] if points else {}

    @cached_property
    def operating_points(self) -> list[dict[str, Any]]:
        """The records of operating_points.json, one per method; none of an extraction."""
        if self.is_extraction:
            return []
        return checked.read_operating_points(required_file(self.folder, OPERATING_POINTS_FILE))

    def operating_point(self, method: str) -> dict[str, Any] | None:
        """The operating point of one method."""
        return next((point for point in self.operating_points if point["method"] == method), None)

    @cached_property
    def directions(self) -> dict[str, Direction]:
        """The fitted directions by file name without suffix; an extraction's has the measured
        effects of its layers."""
        return read_directions(self.folder, self.is_extraction)

    @cached_property
    def projections(self) -> dict[str, Projections]:
        """Projections of examples on the directions, by the same names, where on record."""
        return read_all_projections(self.folder, self.directions)

    @cached_property
    def part_separations(self) -> dict[str, list[PartSeparation]]:
        """Separation by part along the fitted directions, by their names, where on record."""
        return read_all_parts(self.folder, self.directions)

    @cached_property
    def _examples(self) -> tuple[dict[str, Example], set[str]]:
        return read_examples(required_file(self.folder, EXAMPLES_FILE))

    @cached_property
    def examples(self) -> dict[str, Example]:
        """The examples by id; without pictures when read from the folder."""
        return self._examples[0]

    @cached_property
    def pictured(self) -> set[str]:
        """Ids of the examples that were shown with a picture, which may be unavailable now."""
        return self._examples[1]

    @cached_property
    def responses(self) -> dict[str, Record]:
        """The records of rows.jsonl by row id."""
        return read_rows(required_file(self.folder, ROWS_FILE))

    @cached_property
    def _labels(self) -> tuple[list[LabelledRow], str]:
        rows, judge = read_labels(required_file(self.folder, LABELS_FILE))
        require_complete(self.folder, rows, self.examples, self.responses)
        return rows, judge

    @cached_property
    def rows(self) -> list[LabelledRow]:
        """Row id, example, setting and label of each scored response, in the run's order."""
        return self._labels[0]

    @cached_property
    def judge(self) -> str:
        """Id of the judge that gave the labels."""
        return self._labels[1]

    @cached_property
    def judged(self) -> list[Judged]:
        """Each of ``rows`` as scoring takes it, with the label on record."""
        examples = [self.examples[row.example] for row in self.rows]
        records = [self.responses[row.row] for row in self.rows]
        labels = [row.label for row in self.rows]
        return judged_of(self.rows, examples, records, labels, self.judge == "rules")

    def reload_benchmark(self) -> list[Example]:
        """The benchmark's examples, pictures included. Raises CalibError when it is unavailable."""
        return self._kept(load_benchmark(self.config("data"), self.seed).examples)

    def reload_utility(self) -> list[Example]:
        """The utility questions, pictures included. Raises CalibError when they are unavailable."""
        system = self.settings["data"].get("system")
        return self._kept(load_utility(self.config("utility"), self.seed, system).examples)

    def _kept(self, loaded: Sequence[Example]) -> list[Example]:
        return [each for each in loaded if each.id not in self.provenance.get("left_out", ())]

    def with_pictures(self, why: str) -> "Run":
        """A copy whose queries have their pictures.

        Raises CalibError, whose message says ``why`` pictures are needed, when the benchmark is
        unavailable or has changed.
        """
        try:
            loaded = {example.id: example for example in self.reload_benchmark()}
        except CalibError as error:
            message = f"{why}, and the run's benchmark cannot be loaded: {error}"
            raise CalibError(error.code, message) from error
        require_unchanged(self.examples, loaded, why)
        return self.with_pictures_of(loaded.values())

    def with_pictures_of(self, loaded: Iterable[Example]) -> "Run":
        """A copy whose examples have the pictures of the ``loaded`` examples with the same id."""
        return self.replace(examples=restore_pictures(self.examples, loaded))

    @cached_property
    def test_rows(self) -> list[tuple[LabelledRow, Judged]]:
        """The rows of the test split. Raises CalibError when there are none."""
        both = zip(self.rows, self.judged, strict=True)
        test_rows = [(row, judged) for row, judged in both if judged.split == REPORTED_SPLIT]
        if not test_rows:
            raise CalibError(
                "too-few",
                f"{self.folder} has no response on the {REPORTED_SPLIT} split, which a report "
                "shows. Run the sweep again, with more examples.",
            )
        return test_rows

    @cached_property
    def tested(self) -> list[Point]:
        """Every setting measured on test, in the order of the results."""
        return points_of(self.results, REPORTED_SPLIT)

    @cached_property
    def baseline(self) -> Point:
        """The uncalibrated model on test."""
        return baseline_of(self.tested)

    @cached_property
    def methods(self) -> list[ReportedMethod]:
        """The run's methods in its order; none where the uncalibrated model alone was measured."""
        return reported_methods(self.folder, self.operating_points, self.results)
