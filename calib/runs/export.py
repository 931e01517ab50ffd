"""What a finished run has to give away: its direction at the chosen layer, and what it measured."""

import dataclasses
from pathlib import Path

from calib.directions.direction import Direction, read_direction
from calib.errors import CalibError
from calib.runs.identity import read_run
from calib.runs.study import DIRECTION_FILE
from calib.runs.tables import RESULTS_FILE, read_operating_point
from calib.scoring.results import Result, read_results


def chosen_direction(folder: Path) -> Direction:
    """The run's direction, cut to the chosen layer, with the chosen strength as its default.

    Raises CalibError when the folder is not a finished run, or its method has no direction.
    """
    layer, strength = read_operating_point(folder)
    settings = read_run(folder)["identity"]["method"]
    if layer is None:
        raise CalibError(
            f"'{folder}' is a run of method={settings['name']}, which has no direction to export. "
            "Give a run of method=steer."
        )
    whole = read_direction(folder / DIRECTION_FILE)
    if layer not in whole.layers:
        raise CalibError(
            f"'{folder}' chose layer {layer}, but its {DIRECTION_FILE} has layers {whole.layers}: "
            "the file was replaced after the run. Run the sweep again with another out=FOLDER."
        )
    row = whole.layers.index(layer)
    return dataclasses.replace(
        whole,
        vectors=whole.vectors[row : row + 1],
        gap=whole.gap[row : row + 1],
        norm=whole.norm[row : row + 1],
        layers=[layer],
        auroc=whole.auroc[row : row + 1],
        strength=strength,
        chosen_layer=layer,
        positions=settings["positions"],
    )


def measured(folder: Path) -> list[Result]:
    """The run's totals on the test split."""
    found = [result for run in read_results(folder / RESULTS_FILE) for result in run.results]
    return [r for r in found if r.split == "test" and r.variant == "all" and r.category == "all"]
