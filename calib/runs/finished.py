"""A finished run, read back: what was asked, what was answered, and under which settings."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from calib.config_data import DATA, DataConfig, PublishedData
from calib.data.benchmarks import load_benchmark
from calib.data.example import Example
from calib.errors import CalibError
from calib.judges.judge import Said
from calib.runs.asked import EXAMPLES_FILE, read_examples
from calib.runs.identity import RUN_FILE, read_run
from calib.runs.judging import LABELS_FILE, Judging, Place, judged_of
from calib.runs.lines import read_lines
from calib.runs.record import ROWS_FILE, Record, read_rows
from calib.runs.tables import CONFIG_FILE, read_operating_points
from calib.scoring.judged import Judged


@dataclass(frozen=True)
class FinishedRun:
    """The rows that a run's tables were made of."""

    folder: Path
    identity: Mapping[str, Any]
    examples: Mapping[str, Example]
    """By id; without pictures unless with_pictures has put them in."""
    places: Sequence[Place]
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

    def said(self, place: Place) -> Said:
        """The response of one place and what it responds to."""
        return Said(self.examples[place.example], self.responses[place.row]["response"])

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
        Place(
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
