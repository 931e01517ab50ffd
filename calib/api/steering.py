"""The edits of steering along a direction, from the arguments as people give them."""

import warnings
from collections.abc import Sequence
from typing import Any

from calib.config.checks import finite_number, one_of
from calib.config.choices import OPERATORS, POSITIONS
from calib.config.steering import Steer
from calib.directions.direction import Direction
from calib.directions.separation import best_layer, chance_note
from calib.directions.validation import problem_of
from calib.engine.edits import Edits
from calib.interventions.grid import edits_at, resolve_layers
from calib.interventions.steering import operator_at
from calib.models.layers import layer_numbers
from calib.models.load import VLM
from calib.util.errors import CalibError
from calib.util.field_types import wrong_field

DEFAULT_POSITIONS = Steer.positions
"""Tokens to edit if neither the direction nor the caller names them, as in calib.sweep."""


def steering_edits(
    vlm: VLM,
    direction: Direction,
    strength: float | None,
    layers: int | Sequence[int] | None,
    positions: str | None,
    operator: str | None,
) -> Edits:
    """The edits of Model.steer, whose arguments these are; none at strength 0."""
    if positions is not None:
        one_of("positions", positions, POSITIONS)
    if operator is not None:
        one_of("operator", operator, OPERATORS)
    if strength is not None:
        finite_number("strength", strength)
    requested = _default_layer(direction) if layers is None else layer_numbers(layers)
    at = resolve_layers(vlm, requested, direction.site)
    scale = direction.strength if strength is None else float(strength)
    name = operator or direction.operator
    edits = edits_at(
        at,
        lambda layer: operator_at(name, direction, layer, scale),
        positions or direction.positions or DEFAULT_POSITIONS,
        direction.site,
    )
    return edits if scale else ()


def require_direction(value: Any) -> None:
    """Raise CalibError (invalid-value) for what is no direction."""
    if not isinstance(value, Direction):
        raise CalibError(
            "invalid-value",
            f"The direction is of type {type(value).__name__}. Give a calib.Direction, as "
            "calib.fit returns it and calib.read_direction reads it from a file.",
        )
    if problem := wrong_field(value) or problem_of(value):
        raise CalibError(
            "invalid-value",
            f"The direction is not valid: {problem}. calib.fit makes one of activations that you "
            "have: calib.fit(vlm, positive, negative).",
        )


def _default_layer(direction: Direction) -> int | list[int]:
    if direction.chosen_layer is not None:
        return direction.chosen_layer
    if len(direction.layers) == 1:
        return direction.layers
    if not direction.auroc:
        raise CalibError(
            "missing-setting",
            f"The direction has layers {direction.layers}, and none is selected or has an AUROC. "
            "Give the layer, e.g. layers=3.",
        )
    best = best_layer(direction)
    if note := chance_note(direction, best):
        warnings.warn(note, stacklevel=4)
    return best
