"""The direction of a finished run for export: at its selected layer, with its test results."""

import dataclasses
from pathlib import Path

from calib.config.method import Steer
from calib.config.model import MINI, ModelChoice, ModelConfig
from calib.config.named_model import model_name
from calib.directions.direction import Direction, read_direction
from calib.directions.estimators import estimator_name
from calib.interchange.formats import FORMATS
from calib.interchange.hub import FILE, model_card, push_to_hub
from calib.runs.checks.responses import require_responses
from calib.runs.operating_points import REPORTED_SPLIT
from calib.runs.run import Run
from calib.runs.run_files import DIRECTIONS
from calib.scoring.results import ALL, BASELINE, Result
from calib.util.errors import CalibError
from calib.util.files import home_expanded

EXPORTED = "steer"
"""The method (its file) whose edit is the direction alone."""


def chosen_direction(run: Run) -> Direction:
    """The run's steering direction at the selected layer, with the selected strength as default.

    Raises CalibError when the run has no such direction.
    """
    require_responses(run)
    method = _steering(run)
    point = run.operating_point(method.name) if method else None
    if method is None or point is None or point["layer"] is None:
        names = ", ".join(record["method"] for record in run.operating_points)
        raise CalibError(
            "unsupported",
            f"'{run.folder}' is a run of {names}, which has no direction to export. Give a run of "
            f"method={EXPORTED} with one layer at a time.",
        )
    if method.gate != "none":
        raise CalibError(
            "unsupported",
            f"'{run.folder}' steered behind a gate (method.gate={method.gate}), which a direction "
            "file cannot hold. Give a run without a gate.",
        )
    path = run.folder / DIRECTIONS / direction_file(method)
    direction = read_direction(path)
    if point["layer"] not in direction.layers:
        raise CalibError(
            "mismatch",
            f"'{run.folder}' selected layer {point['layer']}, but its {path.name} has layers "
            f"{direction.layers}: the file was replaced after the run. Run the sweep again with "
            "another out=FOLDER.",
        )
    return dataclasses.replace(
        direction.select_layers([point["layer"]]),
        strength=float(point["strength"]),
        chosen_layer=point["layer"],
        positions=method.positions,
        operator=method.operator,
    )


def exported_method(run: Run) -> str:
    """Name of the method whose direction chosen_direction returns; "" without one."""
    method = _steering(run)
    return method.name if method else ""


def direction_file(method: Steer) -> str:
    """Name of the direction file of a steering method."""
    if method.direction is not None:
        return f"{method.name}-given.safetensors"
    estimator = estimator_name(method.estimator, method.top_channels)
    parts = (method.contrast, estimator, method.read_positions, method.site)
    return "-".join(parts) + ".safetensors"


def _steering(run: Run) -> Steer | None:
    """Settings of the run's first method that edits along a direction file, if it has one."""
    for name, settings in run.method_settings.items():
        if (settings.get("file") or name) == EXPORTED:
            method = run.method_config(name)
            return method if isinstance(method, Steer) else None
    return None


def test_totals(run: Run) -> list[Result]:
    """The run's totals on the test split: of the uncalibrated model and of the steering method."""
    method = _steering(run)
    names = (BASELINE, method.name if method else None)
    return [
        result
        for result in run.results
        if (result.split, result.variant, result.category) == (REPORTED_SPLIT, ALL, ALL)
        and result.method in names
    ]


def default_path(folder: Path | None, name: str) -> Path:
    """The path of an export in format ``name`` without out=: in the run's folder, or here."""
    within = Path() if folder is None else folder / "export"
    if name == "native":
        return within / "direction.safetensors"
    if not FORMATS[name].suffix:
        return within / name
    return within / f"direction-{name}{FORMATS[name].suffix}"


def export_path(out: str, name: str) -> Path:
    """The path of an export with out=: ``out`` itself, or the default file name in that folder."""
    path = home_expanded(out)
    default = default_path(None, name)
    is_folder = default.suffix and (path.is_dir() or not path.suffix)
    return path / default.name if is_folder else path


def target_model(given: ModelChoice, direction: Direction, run: Run | None) -> ModelChoice:
    """The model that an export is made for.

    It is ``given`` if that has settings of its own, otherwise the run's model or, without a run,
    the checkpoint that the direction names.
    """
    if not isinstance(given, ModelConfig):  # loading a remote model explains the error
        return given
    accepted = given.accept_directions
    if run is not None and given == ModelConfig(given.name, accept_directions=accepted):
        model: ModelConfig = run.config("model")
        return dataclasses.replace(model, accept_directions=accepted)
    if given.checkpoint is None and direction.checkpoint != MINI:
        return dataclasses.replace(
            given, checkpoint=direction.checkpoint, revision=direction.revision
        )
    return given


def push(repo: str, out: Path, card: str, direction: Direction, private: bool) -> str:
    """Upload an export to the hub, with its card as README.md; returns the address."""
    front = model_card(card, model_name(direction.checkpoint))
    files: dict[str, Path | bytes] = {"README.md": front}
    if out.is_dir():
        files |= {p.name: p for p in sorted(out.iterdir()) if p.name != "README.md"}
    else:
        files[FILE if out.suffix == ".safetensors" else out.name] = out
    return push_to_hub(repo, files, private)
