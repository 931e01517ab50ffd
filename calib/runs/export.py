"""What a finished run has to give away: its direction at the chosen layer, and what it measured."""

import dataclasses
from pathlib import Path
from typing import Any

from calib.config.model import ModelChoice, ModelConfig
from calib.directions.direction import Direction, read_direction
from calib.interchange.formats import FORMATS
from calib.interchange.hub import FILE, model_card, push_to_hub
from calib.models.load import MINI
from calib.runs.manifest import read_run
from calib.runs.run_files import RESULTS_FILE, read_operating_points
from calib.scoring.results import BASELINE, Result, read_results
from calib.util.errors import CalibError

EXPORTED = "steer"
"""The method (its file) whose edit is the direction itself; others do more with theirs."""


def chosen_direction(folder: Path) -> Direction:
    """The run's steering direction, cut to the chosen layer, with the chosen strength as default.

    Raises CalibError when the folder is not a finished run, or has no such direction.
    """
    points = {point["method"]: point for point in read_operating_points(folder)}
    settings = _settings(read_run(folder)["identity"])
    point = points.get(settings["name"]) if settings else None
    if point is None or point["layer"] is None or settings is None:
        raise CalibError(
            f"'{folder}' is a run of {', '.join(points)}, which has no direction to export. Give a "
            f"run of method={EXPORTED} with one layer at a time."
        )
    if settings["gate"] != "none":
        raise CalibError(
            f"'{folder}' steered behind a gate (method.gate={settings['gate']}), which a direction "
            "file cannot say. Give a run without one."
        )
    path = folder / "directions" / direction_file(settings)
    whole = read_direction(path)
    if point["layer"] not in whole.layers:
        raise CalibError(
            f"'{folder}' chose layer {point['layer']}, but its {path.name} has layers "
            f"{whole.layers}: the file was replaced after the run. Run the sweep again with "
            "another out=FOLDER."
        )
    return dataclasses.replace(
        whole.of_layers([point["layer"]]),
        strength=float(point["strength"]),
        chosen_layer=point["layer"],
        positions=settings["positions"],
        operator=settings["operator"],
    )


def direction_file(settings: dict[str, Any]) -> str:
    """Name of the file that a steering run keeps its direction in."""
    if settings["direction"] is not None:
        return f"{settings['name']}-given.safetensors"
    parts = (settings[key] for key in ("contrast", "estimator", "read_positions", "site"))
    return "-".join(parts) + ".safetensors"


def _settings(identity: dict[str, Any]) -> dict[str, Any] | None:
    found = [*identity.get("methods", {}).values()] or [identity["method"]]
    steering = [one for one in found if (one.get("file") or one["name"]) == EXPORTED]
    return steering[0] if steering else None


def measured(folder: Path) -> list[Result]:
    """The run's totals on the test split."""
    found = [result for run in read_results(folder / RESULTS_FILE) for result in run.results]
    totals = [r for r in found if r.split == "test" and r.variant == "all" and r.category == "all"]
    settings = _settings(read_run(folder)["identity"])
    return [r for r in totals if r.method in (BASELINE, (settings or {}).get("name"))]


def default_place(folder: Path | None, name: str) -> Path:
    """Where an export goes that was given no place: the run's folder, or the current one."""
    within = Path() if folder is None else folder / "export"
    if name == "native":
        return within / "direction.safetensors"
    if not FORMATS[name].suffix:
        return within / name
    return within / f"direction-{name}{FORMATS[name].suffix}"


def place_of(out: str, name: str) -> Path:
    """Where an export goes that was given a place: a file, or the usual name in a folder."""
    path = Path(out).expanduser()
    usual = default_place(None, name)
    is_folder = usual.suffix and (path.is_dir() or not path.suffix)
    return path / usual.name if is_folder else path


def model_of(given: ModelChoice, direction: Direction, folder: Path | None) -> ModelChoice:
    """The model that an export is made for: what was given, or the run's, or, without a checkpoint,
    the one that the direction names."""
    if not isinstance(given, ModelConfig):  # loading it says why not
        return given
    if folder is not None and given == ModelConfig(given.name):
        return ModelConfig(**read_run(folder)["identity"]["model"])
    if given.checkpoint is None and direction.checkpoint != MINI:
        return dataclasses.replace(
            given, checkpoint=direction.checkpoint, revision=direction.revision
        )
    return given


def push(repo: str, out: Path, card: str, direction: Direction, private: bool) -> str:
    """Put an export on the hub, its card as README.md; the address."""
    files: dict[str, Path | bytes] = {"README.md": model_card(card, direction.checkpoint)}
    if out.is_dir():
        files |= {p.name: p for p in sorted(out.iterdir()) if p.name != "README.md"}
    else:
        files[FILE if out.suffix == ".safetensors" else out.name] = out
    return push_to_hub(repo, files, private)
