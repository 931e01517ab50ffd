"""What a finished run measured: all that figures are drawn from, without its rows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from calib.directions.direction import Direction, read_direction
from calib.directions.projections import (
    SIDES,
    Projections,
    projections_file,
    read_projections,
)
from calib.errors import CalibError
from calib.runs.tables import RESULTS_FILE, read_operating_points
from calib.scoring.results import RunResults, read_results
from calib.settings.fitting import direction_name

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
