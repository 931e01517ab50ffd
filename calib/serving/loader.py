"""Load what is served: from a finished run or from settings, warmed up before traffic."""

import dataclasses
import re
from pathlib import Path
from typing import Any

from PIL import Image

from calib.config.commands import ServeConfig
from calib.config.method import Combine, Steer
from calib.config.model import ModelChoice, ModelConfig
from calib.config.prompts import Calibration, MethodConfig, NoneMethod
from calib.data.example import Example
from calib.directions.direction import Direction, read_direction
from calib.interventions.intervention import Method
from calib.models.load import VLM, load
from calib.runs.manifest import read_run
from calib.runs.run_files import method_of, read_operating_points, settings_of, typed
from calib.serving.calibrated import Calibrated
from calib.serving.refit import needs_data, of_run, without_data
from calib.util.errors import CalibError, did_you_mean


def _blank() -> Image.Image:
    return Image.new("RGB", (64, 64), "white")


def _probe(name: str, pictured: bool) -> Example:
    return Example(
        id=name,
        dataset="probe",
        variant="probe",
        category="probe",
        split="test",
        query="What is this?",
        picture=_blank if pictured else None,
    )


PROBES = (_probe("a request without a picture", False), _probe("a request with a picture", True))


def calibrated(config: ServeConfig) -> Calibrated:
    """The model and the method that ``config`` asks for.

    Raises CalibError for a folder that is no finished run, and for a method that cannot be served.
    """
    return _of_run(config, Path(config.run).expanduser()) if config.run else _of_settings(config)


def _of_run(config: ServeConfig, folder: Path) -> Calibrated:
    if not isinstance(config.method, NoneMethod):
        raise CalibError(
            f"method={config.method.name} with run={config.run}: the run has its methods with all "
            f"their settings. Leave method away; pick={config.method.name} picks one of several."
        )
    points = {point["method"]: point for point in read_operating_points(folder)}
    own = [name for name, point in points.items() if not point.get("reference")]
    if config.pick is None and len(own) > 1:
        raise CalibError(
            f"'{folder}' is a run of {', '.join(points)}. Give pick=NAME to serve one of them."
        )
    name = config.pick or own[0]
    if name not in points:
        raise CalibError(
            f"pick={name}: '{folder}' is a run of {', '.join(points)}.{did_you_mean(name, points)}"
        )
    settings = settings_of(folder)
    identity = read_run(folder)["identity"]
    fingerprint = identity.get("fingerprint")
    vlm = load(_model(config.model, settings["model"], folder))
    if vlm.fingerprint != fingerprint:
        raise CalibError(
            f"'{folder}' calibrated {identity.get('checkpoint')} as it was then (fingerprint "
            f"{fingerprint}, now {vlm.fingerprint}): other weights, another type or another "
            "version of transformers. Give the model as the run had it, or run the sweep again."
        )
    chosen = method_of(settings, name)
    if chosen is None or isinstance(chosen, NoneMethod):
        return _served(config, vlm, None)
    method = of_run(vlm, chosen, folder, settings)
    layer, strength, notes = points[name]["layer"], float(points[name]["strength"]), []
    if points[name].get("kept_uncalibrated"):
        notes.append(
            "no setting of the run was better than the uncalibrated model, which it chose: both "
            "names answer alike unless a request gives a strength"
        )
    return _served(config, vlm, method, layer, strength, _strengths(chosen), notes)


def _model(given: ModelChoice, of_run: Any, folder: Path) -> ModelChoice:
    """The run's model, unless another configuration of it was given."""
    if not isinstance(of_run, dict) or "checkpoint" not in of_run:
        raise CalibError(
            f"'{folder}' is a run of a model behind an endpoint, served already. Give a run "
            "of a model with weights."
        )
    if isinstance(given, ModelConfig) and given == ModelConfig(given.name):
        found = typed([ModelConfig], of_run)
        assert isinstance(found, ModelConfig)
        return found
    return given


def _of_settings(config: ServeConfig) -> Calibrated:
    if config.pick is not None:
        raise CalibError("pick names a method of a run. Give run=FOLDER, or method=NAME instead.")
    wanted = config.method
    notes: list[str] = []
    if isinstance(wanted, NoneMethod):
        return _served(config, load(config.model), None)
    if needs_data(wanted):
        also = " or method.direction=FILE" if isinstance(wanted, Steer) else ""
        raise CalibError(
            f"method={wanted.name} is fitted to a benchmark, and none is read here. Run "
            f"calib.sweep with it and give run=FOLDER{also}."
        )
    for part in _parts(wanted):
        if getattr(part, "kl", None) is not None or getattr(part, "layers", None) == "auto":
            raise CalibError(
                f"method={part.name}: a budget of KL and layers=auto are for a sweep, which "
                "measures them. Give run=FOLDER, or method.strengths=[1] and method.layers=[3]."
            )
    if isinstance(wanted, Steer):
        wanted, notes = _as_exported(wanted)
    vlm = load(config.model)
    method = without_data(vlm, wanted)
    strengths, layer = _strengths(wanted), config.layer
    if len(strengths) != 1 and config.strength is None:
        raise CalibError(
            f"method.strengths={strengths}: a model is served at one. Give strength=1, or "
            "method.strengths=[1]; a request may ask for others."
        )
    if len(method.layers) != 1 and layer is None:
        raise CalibError(
            f"method={method.name} has layers {list(method.layers)}, and a model is served at one. "
            "Give layer=3, or method.layers=[3]; a request may ask for others."
        )
    at = method.layers[0] if layer is None else layer
    strength = strengths[0] if config.strength is None else config.strength
    return _served(config, vlm, method, at, strength, strengths, notes)


def _parts(config: MethodConfig) -> list[MethodConfig]:
    return [config.prompt, config.activation] if isinstance(config, Combine) else [config]


def _strengths(config: MethodConfig) -> list[float]:
    calibration = config.activation if isinstance(config, Combine) else config
    return list(calibration.strengths) if isinstance(calibration, Calibration) else []


def _as_exported(config: Steer) -> tuple[Steer, list[str]]:
    """The configuration with the layer and the strength that an exported direction was chosen at,
    where they were left as they are."""
    direction: Direction = read_direction(Path(str(config.direction)).expanduser())
    notes = []
    if direction.chosen_layer is not None:
        if config.layers == "all":
            config = dataclasses.replace(config, layers=[direction.chosen_layer])
        if config.strengths == Steer().strengths:
            config = dataclasses.replace(config, strengths=[direction.strength])
    if direction.positions not in ("", config.positions):
        notes.append(
            f"the direction was chosen at positions={direction.positions}, and is served at "
            f"{config.positions}: give method.positions={direction.positions} for what was measured"
        )
    return config, notes


def _served(
    config: ServeConfig,
    vlm: VLM,
    method: Method | None,
    layer: int | None = None,
    strength: float = 0.0,
    strengths: list[float] | None = None,
    notes: list[str] | None = None,
) -> Calibrated:
    if method is None and (config.strength is not None or config.layer is not None):
        raise CalibError(
            "strength and layer are those of a method, and there is none. Leave them away."
        )
    if method is not None and config.layer is not None and config.layer not in method.layers:
        raise CalibError(
            f"layer={config.layer}: {method.name} has layers "
            f"{[one for one in method.layers if one is not None]}."
        )
    plain = re.sub(r"[^A-Za-z0-9_.]+", "-", Path(vlm.checkpoint).name).strip("-.") or "model"
    return Calibrated(
        vlm,
        config.name or (plain if method is None else f"{plain}-{method.name}"),
        method,
        layer if config.layer is None else config.layer,
        strength if config.strength is None else config.strength,
        strengths or [],
        [*(notes or []), *(method.notes if method else [])],
    )
