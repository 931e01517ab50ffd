"""Load the model and the method to serve, from a finished run or from settings."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from calib.config.commands import ALL, ServeConfig
from calib.config.method import Combine, Steer
from calib.config.model import ModelChoice, ModelConfig
from calib.config.prompts import Calibration, MethodConfig, NoneMethod
from calib.directions.direction import Direction, read_direction
from calib.directions.origin import require_same_origin
from calib.interventions.intervention import Method
from calib.models.load import VLM, load
from calib.report.sentences import verdict_note
from calib.runs.checks.responses import require_responses
from calib.runs.run import Run
from calib.serving.refit import build_without_examples, needs_examples, refit_from_run
from calib.serving.served_model import UNCALIBRATED, ServedModel
from calib.util.errors import CalibError, did_you_mean
from calib.util.files import home_expanded


def load_served(config: ServeConfig, run: Run | None = None) -> ServedModel:
    """The model and the method that ``config`` describes; ``run`` is that of config.run, and keeps
    what is read of it.

    Raises CalibError if the folder is not a finished run, or if the method cannot be served.
    """
    if config.run:
        run = run or Run.load(config.run)
        require_responses(run)
        return _from_run(config, run)
    return _from_settings(config)


def _from_run(config: ServeConfig, run: Run) -> ServedModel:
    if not isinstance(config.method, NoneMethod):
        raise CalibError(
            "conflicting-settings",
            f"method={config.method.name} cannot be given with run={config.run}, which has its own "
            f"methods. Omit method, and select one of the run's with pick={config.method.name}.",
        )
    points = {point["method"]: point for point in run.operating_points}
    own = [name for name, point in points.items() if not point.get("reference")]
    if config.pick == ALL and ALL not in points:
        return _all_of(config, run, own)
    if config.pick is None and len(own) > 1:
        raise CalibError(
            "missing-setting",
            f"'{run.folder}' has several methods: {', '.join(points)}. Select one with pick=NAME, "
            f"or all with pick={ALL}.",
        )
    name = config.pick or own[0]
    if name not in points:
        raise CalibError(
            "unknown-name",
            f"pick={name}: '{run.folder}' has no method of this name.{did_you_mean(name, points)} "
            f"Choose from {', '.join(points)}.",
        )
    vlm = load(_model(config.model, run))
    return _of_run(config, run, name, vlm, _require_model_of(run, vlm))


def _all_of(config: ServeConfig, run: Run, names: Sequence[str]) -> ServedModel:
    """The first of a run's methods with the others, under the names of their methods.

    A method that cannot be served is left out, with a note.
    """
    if config.strength is not None or config.layer is not None:
        raise CalibError(
            "conflicting-settings",
            f"strength and layer cannot be given with pick={ALL}: each method has its own. Omit "
            "them; requests may set others.",
        )
    vlm = load(_model(config.model, run))
    notes = _require_model_of(run, vlm)
    served: list[ServedModel] = []
    for name in names:
        # A given name is that of the model, to which each method adds its own.
        of_method = dataclasses.replace(config, name=config.name and f"{config.name}-{name}")
        try:
            served.append(_of_run(of_method, run, name, vlm, []))
        except CalibError as error:
            notes.append(f"method={name} is not served: {error}")
            failed = error
    if not served:
        raise failed
    first, *others = served
    for each in others:
        notes += [f"{each.name}: {note}" for note in each.notes]
    return dataclasses.replace(first, notes=[*first.notes, *notes], others=others)


def _of_run(config: ServeConfig, run: Run, name: str, vlm: VLM, notes: list[str]) -> ServedModel:
    """One method of a run, at its operating point."""
    points = {point["method"]: point for point in run.operating_points}
    chosen = run.method_config(name)
    if chosen is None or isinstance(chosen, NoneMethod):
        return _served(config, vlm, None, notes=notes)
    method = refit_from_run(vlm, chosen, run)
    layer, strength = points[name]["layer"], float(points[name]["strength"])
    verdict = verdict_note(run, name)
    if points[name].get("kept_uncalibrated"):
        notes.append(
            "no setting of the run was better than the uncalibrated model, so the run chose that: "
            "both model names give the same answers unless a request sets a strength"
        )
    return _served(config, vlm, method, layer, strength, _strengths(chosen), notes, verdict)


def _require_model_of(run: Run, vlm: VLM) -> list[str]:
    """Check that a model is the run's, and return a note if accepted settings differ.

    Raises CalibError (mismatch) if it is another model. A run of an earlier version, which records
    no settings, is of a model of the same fingerprint only.
    """
    fingerprint = run.manifest["identity"].get("fingerprint")
    same, what = vlm.fingerprint == fingerprint, f"the run '{run.folder}'"
    if origin := run.manifest.get("model"):
        return require_same_origin(what, origin, run.checkpoint, same, vlm)
    if same:
        return []
    raise CalibError(
        "mismatch",
        f"{what} calibrated {run.checkpoint} with fingerprint {fingerprint}, but the model loaded "
        f"now has {vlm.fingerprint}: its weights, its dtype or the version of transformers differ. "
        "Load the run's model, or run the sweep again.",
    )


def _model(given: ModelChoice, run: Run) -> ModelChoice:
    """The run's model, unless the command configures a model."""
    of_run = run.config("model")
    if not isinstance(of_run, ModelConfig):
        raise CalibError(
            "unsupported",
            f"'{run.folder}' is a run of a remote model, which has an endpoint already. Give a run "
            "of a model with local weights.",
        )
    accepted = getattr(given, "accept_directions", "same_settings")
    if given == ModelConfig(given.name, accept_directions=accepted):
        return dataclasses.replace(of_run, accept_directions=accepted)
    return given


def _from_settings(config: ServeConfig) -> ServedModel:
    if config.pick is not None:
        raise CalibError(
            "conflicting-settings",
            f"pick={config.pick} selects a method of a run. Give run=FOLDER too, or use "
            "method=NAME instead.",
        )
    method_config = config.method
    notes: list[str] = []
    if isinstance(method_config, NoneMethod):
        return _served(config, load(config.model), None)
    if needs_examples(method_config):
        also = " or method.direction=FILE" if isinstance(method_config, Steer) else ""
        raise CalibError(
            "unsupported",
            f"method={method_config.name} is fitted to a benchmark, which calib.serve does not "
            f"load. Run calib.sweep with it and give run=FOLDER{also}.",
        )
    for part in _parts(method_config):
        if getattr(part, "kl", None) is not None or getattr(part, "layers", None) == "auto":
            raise CalibError(
                "unsupported",
                f"method={part.name}: only a sweep can measure kl and layers=auto. Give "
                "run=FOLDER, or method.strengths=[1] and method.layers=[3].",
            )
    verdict = ""
    if isinstance(method_config, Steer):
        method_config, notes, verdict = _with_exported_point(method_config)
    vlm = load(config.model)
    method = build_without_examples(vlm, method_config)
    strengths, layer = _strengths(method_config), config.layer
    if len(strengths) != 1 and config.strength is None:
        raise CalibError(
            "missing-setting",
            f"method.strengths={strengths}: the server needs one default. Give strength=1 or "
            "method.strengths=[1]; requests may set others.",
        )
    if len(method.layers) != 1 and layer is None:
        raise CalibError(
            "missing-setting",
            f"method={method.name} has the layers {list(method.layers)}: the server needs one "
            "default. Give layer=3 or method.layers=[3]; requests may set others.",
        )
    layer = method.layers[0] if layer is None else layer
    strength = strengths[0] if config.strength is None else config.strength
    return _served(config, vlm, method, layer, strength, strengths, notes, verdict)


def _parts(config: MethodConfig) -> list[MethodConfig]:
    return [config.prompt, config.activation] if isinstance(config, Combine) else [config]


def _strengths(config: MethodConfig) -> list[float]:
    calibration = config.activation if isinstance(config, Combine) else config
    return list(calibration.strengths) if isinstance(calibration, Calibration) else []


def _with_exported_point(config: Steer) -> tuple[Steer, list[str], str]:
    """The configuration with the exported direction's layer and strength in place of defaults,
    notes about the direction, and the verdict of its run if that is not yes."""
    direction: Direction = read_direction(home_expanded(str(config.direction)))
    notes = []
    if direction.chosen_layer is not None:
        if config.layers == "all":
            config = dataclasses.replace(config, layers=[direction.chosen_layer])
        if config.strengths == Steer().strengths:
            config = dataclasses.replace(config, strengths=[direction.strength])
    if direction.positions not in ("", config.positions):
        notes.append(
            f"the direction was measured at positions={direction.positions} but is served at "
            f"positions={config.positions}; set method.positions={direction.positions} to match"
        )
    return config, notes, direction.verdict


def _served(
    config: ServeConfig,
    vlm: VLM,
    method: Method | None,
    layer: int | None = None,
    strength: float = 0.0,
    strengths: list[float] | None = None,
    notes: list[str] | None = None,
    verdict: str = "",
) -> ServedModel:
    if method is None and (config.strength is not None or config.layer is not None):
        raise CalibError(
            "conflicting-settings",
            "strength and layer need a method, and none is given. Omit them, or give method=NAME.",
        )
    if method is not None and config.layer is not None and config.layer not in method.layers:
        raise CalibError(
            "invalid-setting",
            f"layer={config.layer}: {method.name} has the layers "
            f"{[layer for layer in method.layers if layer is not None]}.",
        )
    checkpoint = re.sub(r"[^A-Za-z0-9_.]+", "-", Path(vlm.checkpoint).name).strip("-.") or "model"
    return ServedModel(
        vlm,
        config.name or checkpoint + (UNCALIBRATED if method is None else f"-{method.name}"),
        method,
        layer if config.layer is None else config.layer,
        strength if config.strength is None else config.strength,
        strengths or [],
        [*(notes or []), *(method.notes if method else [])],
        verdict,
    )
