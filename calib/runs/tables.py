"""What a finished run leaves beside its rows: results, the chosen operating point, the settings."""

import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from calib.config import SweepConfig
from calib.errors import CalibError
from calib.files import write_atomically
from calib.scoring.results import Result, write_results
from calib.scoring.tradeoff import OperatingPoint

OPERATING_POINTS_FILE = "operating_points.json"
CONFIG_FILE = "config.yaml"
RESULTS_FILE = "results.csv"


def write_tables(
    folder: Path,
    checkpoint: str,
    results: Sequence[Result],
    chosen: Mapping[str, tuple[int | None, OperatingPoint]],
    axes: Mapping[str, str],
    prompts: Collection[str],
    reference: str | None = None,
) -> dict[str, Path]:
    """Write results.csv and operating_points.json; their paths, by what they are.

    ``chosen`` holds the layer and the operating point of each method, ``axes`` what its strength
    means, ``prompts`` the methods that change the prompt alone, ``reference`` the one of them that
    was asked for comparison only.
    """
    files = {
        "results": folder / RESULTS_FILE,
        "operating points": folder / OPERATING_POINTS_FILE,
    }
    write_results(files["results"], folder.name, checkpoint, results)
    points = [
        {
            "checkpoint": checkpoint,
            "method": method,
            "layer": layer,
            "strength": choice.point.strength,
            "strength_means": axes.get(method, ""),
            "prompt_only": method in prompts,
            "reference": method == reference,
            "chosen_on": "validation",
            "rule": "highest SRA at no more than the tolerance of utility lost"
            if choice.by_utility
            else "highest SRA (no utility was measured)",
            "tolerance": choice.tolerance,
            "kept_uncalibrated": choice.kept_baseline,
        }
        for method, (layer, choice) in chosen.items()
    ]
    write_atomically(files["operating points"], json.dumps(points, indent=2) + "\n")
    return files


def write_config(folder: Path, config: SweepConfig) -> Path:
    """Write the resolved settings of a run."""
    path = folder / CONFIG_FILE
    write_atomically(path, OmegaConf.to_yaml(OmegaConf.create(dataclasses.asdict(config))))
    return path


def read_operating_points(folder: Path) -> list[dict[str, Any]]:
    """What a finished run chose: "method", "layer", "strength" and more, for each of its methods.

    Raises CalibError when the run is not finished.
    """
    path = folder / OPERATING_POINTS_FILE
    try:
        points = json.loads(path.read_text())
        if not isinstance(points, list) or not points:
            raise ValueError("it holds no operating point")
        for point in points:
            point["method"], point["layer"], point["strength_means"], float(point["strength"])
        return points
    except FileNotFoundError as error:
        raise CalibError(
            f"'{folder}' has no {OPERATING_POINTS_FILE}: it is not a finished run of calib.sweep. "
            "Run the sweep to its end first (the same command goes on where it stopped)."
        ) from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CalibError(f"'{path}' cannot be read ({error}). Run the sweep again.") from error
