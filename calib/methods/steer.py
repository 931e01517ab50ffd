"""Steering: contrastive activation addition (CAA, arXiv 2312.06681).

Adds a direction to the residual stream after one decoder block l, at the chosen positions:

    h_l  <-  h_l + strength x gap_l x direction_l

Strength is in gap units: 1.0 moves the activation by the distance between the two class means, so
that strengths compare across layers and models. Positive strengths steer towards the positive class
of the contrast (unsafe, or refused), negative ones away from it.
"""

from collections.abc import Sequence

from calib.directions.direction import Direction
from calib.engine.edit import Edit
from calib.engine.operators import Add
from calib.methods.setting import Setting
from calib.vlm.prompts import Positions


def steer_settings(
    direction: Direction,
    layers: Sequence[int],
    strengths: Sequence[float],
    positions: Positions = "all",
) -> list[Setting]:
    """One setting per layer and strength; strength 0 carries no edit at all.

    Raises CalibError when the direction lacks one of the layers.
    """
    return [
        Setting("steer", layer, float(strength), _edits(direction, layer, strength, positions))
        for layer in layers
        for strength in sorted(set(strengths))
    ]


def _edits(
    direction: Direction, layer: int, strength: float, positions: Positions
) -> tuple[Edit, ...]:
    added = direction.at(layer, strength)
    return (Edit(layer, Add(added), positions),) if strength else ()
