"""What a finished run leaves beside its rows: results, the chosen operating point, the settings."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from calib.config import SweepConfig
from calib.errors import CalibError
from calib.files import write_atomically
from calib.scoring.results import Result, write_results
from calib.scoring.tradeoff import OperatingPoint
from calib.vlm.load import VLM

OPERATING_POINT_FILE = "operating_point.json"
RESULTS_FILE = "results.csv"


def write_tables(
    folder: Path,
    config: SweepConfig,
    vlm: VLM,
    results: Sequence[Result],
    layer: int | None,
    choice: OperatingPoint,
) -> dict[str, Path]:
    """Write results.csv, operating_point.json and config.yaml; their paths, by what they are."""
    files = {
        "results": folder / RESULTS_FILE,
        "operating point": folder / OPERATING_POINT_FILE,
        "configuration": folder / "config.yaml",
    }
    write_results(files["results"], folder.name, vlm.checkpoint, results)
    point = {
        "checkpoint": vlm.checkpoint,
        "method": choice.point.method,
        "layer": layer,
        "strength": choice.point.strength,
        "chosen_on": "validation",
        "rule": "highest SRA at no more than the tolerance of utility lost"
        if choice.by_utility
        else "highest SRA (no utility was measured)",
        "tolerance": choice.tolerance,
        "kept_uncalibrated": choice.kept_baseline,
    }
    write_atomically(files["operating point"], json.dumps(point, indent=2) + "\n")
    resolved = OmegaConf.to_yaml(OmegaConf.create(dataclasses.asdict(config)))
    write_atomically(files["configuration"], resolved)
    return files


def read_operating_point(folder: Path) -> tuple[int | None, float]:
    """Layer and strength that a finished run chose.

    Raises CalibError when the run is not finished.
    """
    path = folder / OPERATING_POINT_FILE
    try:
        point = json.loads(path.read_text())
        return point["layer"], float(point["strength"])
    except FileNotFoundError as error:
        raise CalibError(
            f"'{folder}' has no {OPERATING_POINT_FILE}: it is not a finished run of calib.sweep. "
            "Run the sweep to its end first (the same command goes on where it stopped)."
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CalibError(f"'{path}' cannot be read ({error}). Run the sweep again.") from error
