"""A setting: everything that is done to the model while it answers a row."""

from dataclasses import dataclass

from calib.engine.edit import Edit


@dataclass(frozen=True)
class Setting:
    """One point of a method's grid. The uncalibrated model is a setting too."""

    method: str
    layer: int | None
    """0-based decoder block, None where the method has no single layer."""
    strength: float
    edits: tuple[Edit, ...] = ()


BASELINE = Setting("none", None, 0.0)
"""The uncalibrated model."""
