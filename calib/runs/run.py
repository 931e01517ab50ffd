"""A finished run, loaded from its folder."""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from calib.config.data import DATA, DataConfig, PublishedData
from calib.data.benchmarks import load_benchmark
from calib.data.example import Example
from calib.directions.direction import Direction, read_direction
from calib.directions.projections import (
    SIDES,
    Projections,
    projections_file,
    read_projections,
)
from calib.interventions.fitting import direction_name
from calib.judges.judge import JudgeInput
from calib.runs.judging import LABELS_FILE, Judging, LabelledRow, judged_of
from calib.runs.manifest import RUN_FILE, read_run
from calib.runs.row_store import ROWS_FILE, Record, read_rows
from calib.runs.run_files import (
    CONFIG_FILE,
    EXAMPLES_FILE,
    RESULTS_FILE,
    read_examples,
    read_operating_points,
)
from calib.scoring.judged import Judged
from calib.scoring.results import RunResults, read_results
from calib.util.errors import CalibError
from calib.util.files import read_lines


@dataclass(frozen=True)
class FinishedRun:
    """The rows that a run's tables were made of."""

    folder: Path
    identity: Mapping[str, Any]
    examples: Mapping[str, Example]
    """By id; without pictures unless with_pictures has put them in."""
    places: Sequence[LabelledRow]
    """Row, example, setting and label of each response that was scored, in the run's order."""
    responses: Mapping[str, Record]
    """By row."""
    operating_points: Sequence[Mapping[str, Any]]
    mapping: str
    """How the run's labels became metrics."""
    judge: str
    """Id of the judge that gave the run's labels."""

    @property
    def checkpoint(self) -> str:
        return str(self.identity.get("checkpoint", ""))

    @property
    def data(self) -> str:
        """Name of the benchmark."""
        return str(self.identity["data"]["name"])

    @property
    def seed(self) -> int:
        return int(self.identity["seed"])

    def said(self, place: LabelledRow) -> JudgeInput:
        """The response of one place and what it responds to."""
        return JudgeInput(self.examples[place.example], self.responses[place.row]["response"])

    def judged(self, judging: Judging) -> list[Judged]:
        """Every response of the run, judged."""
        records = [self.responses[place.row] for place in self.places]
        examples = [self.examples[place.example] for place in self.places]
        return judged_of(self.places, examples, records, judging)

    def require_whole(self, who: str) -> None:
        """Raise CalibError where generation.early_stop cut responses, unless for ``who``: as soon
        as the run's own judge was certain of the label, so nobody else can judge the rest."""
        cut = sum(self.responses[place.row].get("finish") == "cut" for place in self.places)
        if cut and who != self.judge:
            raise CalibError(
                f"{cut} responses of {self.folder} were cut as soon as judge {self.judge} was "
                "certain of their label (generation.early_stop=true), so only it can judge them. "
                "Run the sweep without early_stop to judge its responses otherwise."
            )

    def with_pictures(self, why: str) -> "FinishedRun":
        """The same with the pictures of its benchmark, which is loaded again.

        Raises CalibError, saying ``why`` they are needed, when it is not there any more or is
        another.
        """
        try:
            benchmark = load_benchmark(_data_config(self.identity["data"]), self.seed)
        except CalibError as error:
            raise CalibError(f"{why}, and the run's benchmark cannot be loaded: {error}") from error
        pictures = {example.id: example for example in benchmark.examples}
        for name, example in self.examples.items():
            again = pictures.get(name)
            if example.safety is not None and (again is None or again.query != example.query):
                raise CalibError(
                    f"{why}, and the run's benchmark has changed: example '{name}' is not there "
                    "as it was asked. Put the old data back."
                )
        return self.pictured(benchmark.examples)

    def pictured(self, asked: Iterable[Example]) -> "FinishedRun":
        """The same with the pictures of those examples that ``asked`` holds."""
        pictures = {example.id: example.picture for example in asked}
        found = {
            name: replace(example, picture=pictures[name]) if name in pictures else example
            for name, example in self.examples.items()
        }
        return replace(self, examples=found)


def read_finished(folder: Path) -> FinishedRun:
    """The finished run in ``folder``.

    Raises CalibError when it is no run, or not a finished one.
    """
    identity = read_run(folder)["identity"]
    points = read_operating_points(folder)
    data = identity.get("data")
    named = isinstance(data, dict) and isinstance(data.get("name"), str)
    if not named or not isinstance(identity.get("seed"), int):
        raise CalibError(
            f"{folder / RUN_FILE} names no benchmark or no seed, as that of a sweep does. Give the "
            "folder of a run of calib.sweep."
        )
    examples = read_examples(folder / EXAMPLES_FILE)
    lines = read_lines(folder / LABELS_FILE, _LABELLED)
    places = [
        LabelledRow(
            one["row"],
            one["example"],
            one["method"],
            one["layer"],
            float(one["strength"]),
            one["label"],
        )
        for one in lines
    ]
    responses = read_rows(folder / ROWS_FILE)
    for place in places:
        found = responses.get(place.row, {})
        # Of a remote model no KL is measured.
        kl = isinstance(found.get("kl", ""), _NUMBER | None)
        answered = isinstance(found.get("response"), str) and kl
        if not answered or place.example not in examples:
            raise CalibError(
                f"{folder}: row {place.row} of {LABELS_FILE} is not whole in {ROWS_FILE}, or its "
                f"example not in {EXAMPLES_FILE}. Give the sweep's command again."
            )
    mapping, judge = _read_mapping(folder / CONFIG_FILE), lines[0]["judge"]
    return FinishedRun(folder, identity, examples, places, responses, points, mapping, judge)


_NUMBER = int | float
_LABELLED = {
    **dict.fromkeys(("row", "example", "method", "judge"), str),
    "layer": int | None,
    "strength": _NUMBER,
    "label": str | None,
}


def _read_mapping(path: Path) -> str:
    try:
        config: Any = OmegaConf.load(path)
        return str(config["mapping"])
    except (OSError, ValueError, KeyError, TypeError, YAMLError, OmegaConfBaseException) as error:
        raise CalibError(
            f"{path} cannot be read ({error}). Give the sweep's command again."
        ) from error


def _data_config(given: Mapping[str, Any]) -> DataConfig:
    schema = DATA.get(given["name"], PublishedData)
    try:
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), dict(given)))
    except OmegaConfBaseException as error:
        raise CalibError(f"data={given['name']} was configured otherwise ({error})") from error
    assert isinstance(config, DataConfig)
    return config


EXTRACTED = "direction.safetensors"
"""The file that calib.extract leaves: the direction of the chosen layers, with their effects."""


@dataclass(frozen=True)
class Measured:
    """The results of a finished run, what it chose and the directions it fitted.

    That of calib.extract has neither results nor operating points.
    """

    folder: Path
    results: RunResults
    operating_points: Sequence[Mapping[str, Any]]
    """"method", "layer", "strength", "strength_means", "prompt_only" and "kept_uncalibrated" of
    each method of the run."""
    directions: Mapping[str, Direction]
    """By the name of their file, without its ending."""
    projections: Mapping[str, Projections] = field(default_factory=dict)
    """Of the directions that have them on record, by the same names."""

    @property
    def model(self) -> str:
        return self.results.model

    def operating_point(self, method: str) -> Mapping[str, Any] | None:
        """What the run chose for one of its methods."""
        found = (one for one in self.operating_points if one["method"] == method)
        return next(found, None)


def read_measured(folder: Path) -> Measured:
    """The finished run in ``folder``, of calib.sweep or of calib.extract.

    Raises CalibError when it is neither, or a file of it is damaged.
    """
    files = sorted((folder / "directions").glob("*.safetensors"))
    directions = {path.stem: read_direction(path) for path in files}
    kept = {path.stem: projections_file(path) for path in files}
    projections = {name: read_projections(path) for name, path in kept.items() if path.is_file()}
    for name, found in projections.items():
        _require_match(directions[name], found, kept[name])
    if (folder / EXTRACTED).is_file() and not (folder / RESULTS_FILE).exists():
        extracted = read_direction(folder / EXTRACTED)
        name = direction_name(
            extracted.contrast, extracted.estimator, extracted.read_positions, extracted.site
        )
        directions[name] = _with_effects(directions.get(name, extracted), extracted)
        nothing = RunResults(folder.name, extracted.checkpoint, [])
        return Measured(folder, nothing, [], directions, projections)
    points = read_operating_points(folder)
    results = RunResults(folder.name, "", [])
    for one in read_results(folder / RESULTS_FILE):
        results = RunResults(one.run, one.model, [*results.results, *one.results])
    return Measured(folder, results, points, directions, projections)


def _with_effects(whole: Direction, extracted: Direction) -> Direction:
    """The direction of all layers with the effects of those that were extracted."""
    if not extracted.effect:
        return whole
    rows = {layer: row for row, layer in enumerate(extracted.layers)}
    effects: dict[str, Any] = {
        name: [values[rows[layer]] if layer in rows else math.nan for layer in whole.layers]
        for name in ("effect", "effect_low", "effect_high", "effect_strength")
        if (values := getattr(extracted, name))
    }
    return replace(whole, effect_kl=extracted.effect_kl, effect_n=extracted.effect_n, **effects)


def _require_match(direction: Direction, projections: Projections, path: Path) -> None:
    """Raise CalibError unless they can be projections on this direction."""
    held_out = [
        side for side, split in zip(projections.sides, projections.splits, strict=True)
        if split == "validation"
    ]  # fmt: skip
    count = min(held_out.count(side) for side in SIDES)
    if (projections.layers, count) != (direction.layers, direction.auroc_pairs):
        raise CalibError(
            f"{path} has layers {projections.layers} and {count} validation examples a side; the "
            f"direction beside it has layers {direction.layers} and {direction.auroc_pairs}. One "
            "of the two was replaced after the run. Delete both and give the run's command again."
        )


def home_expanded(path: str) -> Path:
    """``path`` with the ~ in front, which a shell leaves as it is in runs=[~/a]."""
    # Unlike pathlib's, os.path's expanduser leaves a user that does not exist alone.
    return Path(os.path.expanduser(path))  # noqa: PTH111


def read_several(given: Sequence[str]) -> list[Measured]:
    """The finished runs in these folders; those of one name are called by as much of their path as
    sets them apart.

    Raises CalibError when a folder is no finished run of calib.sweep or calib.extract, is given
    twice, or holds a damaged file.
    """
    folders: dict[Path, Path] = {}
    for folder in map(home_expanded, given):
        if not any((folder / name).is_file() for name in (RESULTS_FILE, EXTRACTED)):
            raise CalibError(
                f"'{folder}' has no {RESULTS_FILE}: it is not a finished run of calib.sweep, nor "
                "one of calib.extract. Give the run's folder, which the command prints at its end, "
                "or give the command again: it goes on where it stopped."
            )
        twin = folders.setdefault(folder.resolve(), folder)
        if twin is not folder:
            raise CalibError(f"runs: '{twin}' and '{folder}' are one folder; give it once.")
    runs = [read_measured(folder) for folder in folders.values()]
    return [replace(run, results=replace(run.results, run=name))
            for run, name in zip(runs, _told_apart(runs), strict=True)]  # fmt: skip


def _told_apart(runs: Sequence[Measured]) -> list[str]:
    names = [run.results.run for run in runs]
    parts = [run.folder.resolve().parts for run in runs]
    return [
        name if names.count(name) == 1 else _shortest(own, parts)
        for name, own in zip(names, parts, strict=True)
    ]


def _shortest(own: tuple[str, ...], others: Sequence[tuple[str, ...]]) -> str:
    """As much of the end of a path as none of the others has."""
    length = next(k for k in range(1, len(own) + 1)
                  if sum(other[-k:] == own[-k:] for other in others) == 1)  # fmt: skip
    return "/".join(own[-length:])
