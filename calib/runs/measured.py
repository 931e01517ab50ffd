"""What a finished run measured: all that figures are drawn from, without its rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calib.directions.direction import Direction, read_direction
from calib.runs.tables import RESULTS_FILE, read_operating_points
from calib.scoring.results import RunResults, read_results


@dataclass(frozen=True)
class Measured:
    """The results of a finished run, what it chose and the directions it fitted."""

    folder: Path
    results: RunResults
    operating_points: Sequence[Mapping[str, Any]]
    """"method", "layer", "strength", "strength_means", "prompt_only" and "kept_uncalibrated" of
    each method of the run."""
    directions: Mapping[str, Direction]
    """By the name of their file, without its ending."""

    @property
    def model(self) -> str:
        return self.results.model

    def operating_point(self, method: str) -> Mapping[str, Any] | None:
        """What the run chose for one of its methods."""
        found = (one for one in self.operating_points if one["method"] == method)
        return next(found, None)


def read_measured(folder: Path) -> Measured:
    """The finished run in ``folder``.

    Raises CalibError when it is no finished run of calib.sweep, or a file of it is damaged.
    """
    points = read_operating_points(folder)
    results = RunResults(folder.name, "", [])
    for found in read_results(folder / RESULTS_FILE):
        results = RunResults(found.run, found.model, [*results.results, *found.results])
    files = sorted((folder / "directions").glob("*.safetensors"))
    directions = {path.stem: read_direction(path) for path in files}
    return Measured(folder, results, points, directions)
