"""Steering along one direction per layer, with a choice of operator, layers, site and gate."""

from dataclasses import replace

from calib.config.method import Directed, Steer
from calib.directions.direction import Direction, read_direction, write_direction
from calib.directions.estimators import estimator_name
from calib.directions.fit import require_match
from calib.engine.edits import Edits
from calib.engine.operators import (
    Ablate,
    Add,
    AddByNorm,
    AddByNormKeepingNorm,
    AddKeepingNorm,
    Clamp,
    LowRank,
    Operator,
)
from calib.interchange.importing import IMPORTED
from calib.interventions.fitting import Fitting
from calib.interventions.gates import fit_gate
from calib.interventions.grid import edits_at, resolve_layers
from calib.interventions.intervention import Axis, Intervention, Method, Supervision
from calib.models.load import VLM
from calib.util.errors import CalibError
from calib.util.files import home_expanded

AXES = {
    "add": Axis("in gap units"),
    "add_keeping_norm": Axis("in gap units"),
    "add_by_norm": Axis("as a share of the activation's norm", default_scale=0.2),
    "add_by_norm_keeping_norm": Axis("as a share of the activation's norm", default_scale=0.2),
    "ablate": Axis("share of the component that is removed"),
    "linear": Axis(
        "as a share of the projection's distance from between the classes", default_scale=0.5
    ),
    "clamp": Axis("bound on the projection, in gap units from between the classes"),
}
"""The meaning of strength, by the name of the operator."""
_AS_STORED = Axis("times the stored vector")
"""The meaning for an imported direction, which has no classes and so no gap between them."""


def axis_of(operator: str, direction: Direction) -> Axis:
    """The meaning of the strength of an operator along ``direction``."""
    axis = AXES[operator]
    return _AS_STORED if direction.estimator == IMPORTED and axis == AXES["add"] else axis


def operator_at(name: str, direction: Direction, layer: int, strength: float) -> Operator:
    """The operator ``name`` along a direction at one layer.

    "linear" moves the projection away from the midpoint between the class means, by ``strength``
    times its distance from the midpoint. "clamp" keeps the projection at or above midpoint +
    strength x gap for positive strengths, and at or below it for negative strengths: the positive
    class mean lies at 0.5.

    Raises CalibError if there is no such operator (unknown-name), or the direction has no such
    layer.
    """
    row = direction.row(layer)
    unit = direction.vectors[row]
    match name:
        case "add":
            return Add(direction.at(layer, strength))
        case "add_keeping_norm":
            return AddKeepingNorm(direction.at(layer, strength))
        case "add_by_norm":
            return AddByNorm(unit, strength)
        case "add_by_norm_keeping_norm":
            return AddByNormKeepingNorm(unit, strength)
        case "ablate":
            return Ablate(unit, strength)
        case "linear":
            offset = -strength * float(direction.midpoint[row])
            return LowRank(strength * unit[None], unit[None], offset)
        case "clamp":
            bound = float(direction.midpoint[row] + strength * direction.gap[row])
            return Clamp(unit, low=bound) if strength > 0 else Clamp(unit, high=bound)
    raise CalibError(
        "unknown-name", f"There is no operator '{name}'. Choose from {', '.join(AXES)}."
    )


def load_or_fit_direction(fitting: Fitting, config: Directed) -> Direction:
    """The direction in the file ``config.direction``, or else one fitted to the run's pairs.

    A direction from a file is copied to the run's folder.
    """
    path = config.direction if isinstance(config, Steer) else None
    site = config.site if isinstance(config, Steer) else "residual"
    channels = config.top_channels if isinstance(config, Steer) else None
    estimator = estimator_name(config.estimator, channels)
    if path is None:
        return fitting.direction(config.contrast, estimator, config.read_positions, site)
    direction = load_direction(path, fitting.vlm)
    copy = fitting.folder / "directions" / f"{config.name}-given.safetensors"
    write_direction(copy, direction)
    return direction


def load_direction(path: str, vlm: VLM) -> Direction:
    """The direction in a file. Raises CalibError if it was not read from this model."""
    direction = read_direction(home_expanded(path))
    require_match(direction, vlm, path)
    return direction


def check_direction(config: Steer, vlm: VLM) -> None:
    """Raise CalibError for a direction file that does not fit the model or the configuration."""
    if config.direction is None:
        return
    direction = load_direction(config.direction, vlm)
    if direction.operator not in ("add", config.operator):
        raise CalibError(
            "conflicting-settings",
            f"method.direction={config.direction} was made for the operator "
            f"'{direction.operator}', not for method.operator={config.operator}. Give "
            f"method.operator={direction.operator}.",
        )
    if direction.estimator == IMPORTED and config.operator in ("linear", "clamp"):
        raise CalibError(
            "conflicting-settings",
            f"method.operator={config.operator} needs the positions of the class means, which the "
            f"imported direction method.direction={config.direction} does not have. Give another "
            "operator, or fit a direction with calib.extract.",
        )
    layers = resolve_layers(vlm, config.layers, direction.site)
    if not isinstance(config.layers, str):
        for layer in layers:
            direction.row(layer)
    elif not set(layers) & set(direction.layers):
        raise CalibError(
            "conflicting-settings",
            f"method.layers={config.layers} stands for layers {layers}, and method.direction="
            f"{config.direction} has layers {direction.layers} only. Give method.layers=all.",
        )


def steering_method(fitting: Fitting, config: Steer) -> Method:
    """The method of a Steer configuration: its direction, operator, layers, site and gate."""
    direction = load_or_fit_direction(fitting, config)
    grid = fitting.layer_grid(config, fitting.layers_of(direction, config.layers))
    gate = fit_gate(fitting, config)
    notes = [gate.note] if gate else []
    if config.direction is not None:
        notes += require_match(direction, fitting.vlm, config.direction)

    def intervention(layer: int | None, strength: float) -> Intervention:
        def edits(signed_strength: float) -> Edits:
            return edits_at(
                grid.edited(layer),
                lambda number: operator_at(config.operator, direction, number, signed_strength),
                config.positions,
                direction.site,
            )

        if gate is None:
            return Intervention(edits(strength))
        opposite = config.otherwise == "opposite"
        otherwise = edits(-config.opposite_ratio * strength) if opposite else ()
        return Intervention(rule=gate.rule(edits(strength), otherwise))

    axis = axis_of(config.operator, direction)
    return Method(
        config.name,
        replace(axis, signed=gate is None),
        grid.layers,
        intervention,
        direction,
        notes,
        _supervision(config),
    )


def _supervision(config: Steer) -> Supervision:
    if config.gate != "none":
        return "gate" if config.gate == "probe" else "threshold"
    return "none" if config.contrast == "modality" else "direction"
