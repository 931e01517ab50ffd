"""What a run found on its test split: its own labels, settings and words, read back once."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from calib.data.splits import SAFETY_DATASETS
from calib.judges.judge import JudgeInput, Verdict
from calib.runs.judging import Judging, LabelledRow
from calib.runs.manifest import read_run
from calib.runs.run import FinishedRun, Measured, read_measured
from calib.runs.run_files import EXAMPLES_FILE
from calib.scoring.judged import Judged, checked_label
from calib.scoring.results import BASELINE, Result
from calib.scoring.tradeoff import OperatingPoint, Point, baseline_of, points_of
from calib.util.errors import CalibError
from calib.util.files import read_lines

SPLIT = "test"


@dataclass(frozen=True)
class ReportedMethod:
    """A method of a run as the run reports it."""

    name: str
    layer: int | None
    """Of the settings that were asked about on test."""
    choice: OperatingPoint
    """What was chosen on validation."""
    tested: Point
    """The chosen setting, measured on test."""
    applied: Point
    """The same; where the uncalibrated model was kept, the method's weakest setting."""
    means: str
    """What its strength means."""
    prompt_only: bool
    reference: bool
    """Whether it was asked only so that the others can be compared with it."""


@dataclass(frozen=True)
class Recorded:
    """A finished run and what the page says of it."""

    name: str
    """The folder's, or another that tells it apart in a page of several."""
    run: FinishedRun
    measured: Measured
    provenance: Mapping[str, Any]
    places: Sequence[LabelledRow]
    """On the test split, in the run's order."""
    judged: Sequence[Judged]
    """The response at each place with the label of the run's judge."""

    @property
    def results(self) -> list[Result]:
        return self.measured.results.results

    @cached_property
    def tested(self) -> list[Point]:
        """Every setting measured on test, in the order of the results."""
        return points_of(self.results, SPLIT)

    @cached_property
    def baseline(self) -> Point:
        """The uncalibrated model on test."""
        return baseline_of(self.tested)

    @cached_property
    def methods(self) -> list[ReportedMethod]:
        """Those of the run, in its order; none where the uncalibrated model alone was asked."""
        points = [one for one in self.run.operating_points if one["method"] != BASELINE]
        return [self._method(one) for one in points]

    def _method(self, found: Mapping[str, Any]) -> ReportedMethod:
        validated = points_of(self.results, "validation")
        baseline = baseline_of(validated)
        kept = bool(found.get("kept_uncalibrated"))
        place = (str(found["method"]), found["layer"], float(found["strength"]))
        tolerance = float(found.get("tolerance", 0.01))
        point = baseline if kept else self._at(validated, place)
        choice = OperatingPoint(point, baseline, tolerance, baseline.utility is not None)
        tested = self.baseline if kept else self._at(self.tested, place)
        own = [one for one in self.tested if one.method == place[0]]
        weakest = min(own, key=lambda one: (abs(one.strength), one.strength), default=tested)
        return ReportedMethod(
            place[0],
            place[1],
            choice,
            tested,
            weakest if kept else tested,
            str(found["strength_means"]),
            bool(found.get("prompt_only")),
            bool(found.get("reference")),
        )

    def _at(self, points: Sequence[Point], place: tuple[str, int | None, float]) -> Point:
        for point in points:
            if (point.method, point.layer, point.strength) == place:
                return point
        raise CalibError(
            f"{self.run.folder}: its results do not hold {place[0]} at layer {place[1]}, strength "
            f"{place[2]:g}, which its operating points name. Give the sweep's command again."
        )

    @cached_property
    def had_picture(self) -> set[str]:
        """Ids of the examples that were asked with a picture, at hand now or not."""
        lines = read_lines(self.run.folder / EXAMPLES_FILE, {"id": str, "picture": bool})
        return {line["id"] for line in lines if line["picture"]}


def recorded(run: FinishedRun) -> Recorded:
    """``run`` with its results and its own labels on test; nothing is judged.

    Raises CalibError when a file of the run is missing or damaged.
    """
    measured = read_measured(run.folder)
    provenance = read_run(run.folder).get("provenance")
    places = [place for place in run.places if run.examples[place.example].split == SPLIT]
    if not places:
        raise CalibError(
            f"{run.folder} has no response on the {SPLIT} split, which a report shows. Raise "
            "data.limit and run the sweep again."
        )
    judge = _FromRecord(run.judge, [p.label for p in places if _was_judged(run, p)])
    judged = replace(run, places=places).judged(Judging(judge, run.folder))
    found = provenance if isinstance(provenance, dict) else {}
    return Recorded(run.folder.name, run, measured, found, places, judged)


def _was_judged(run: FinishedRun, place: LabelledRow) -> bool:
    blocked = run.responses[place.row].get("finish") == "blocked"
    return run.examples[place.example].dataset in SAFETY_DATASETS and not blocked


class _FromRecord:
    """The judge of a run, saying again what it said: the labels, in order."""

    costly = False

    def __init__(self, judge: str, labels: Sequence[str | None]) -> None:
        self.id, self._labels = judge, labels

    def __call__(
        self, said: Sequence[JudgeInput], tell: Callable[[int], None] = lambda n: None
    ) -> list[Verdict]:
        both = zip(said, self._labels, strict=True)
        return [Verdict(None if label is None else checked_label(label)) for _, label in both]


def text_of(path: Path) -> str:
    """A text file of a run; CalibError when it cannot be read."""
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError as error:
        raise CalibError(f"{path} cannot be read ({error}). Run the sweep again.") from error


def as_json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
