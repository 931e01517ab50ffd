"""A calibration method, fitted to a model: what it does at any layer and strength."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from calib.directions.direction import Direction
from calib.settings.setting import NOTHING, Change, Setting


@dataclass(frozen=True)
class Axis:
    """What a method's strength means. 0 always changes nothing."""

    meaning: str
    """In words and units, as figures and summaries say it behind "strength"."""
    signed: bool = True
    """Whether negative strengths are meant too: they push the other way."""
    whole: bool = False
    """Whether it counts something: demonstrations, or 1 for a prompt that is shown."""
    usual: float = 1.0
    """A usual strength: where a search for another one begins."""


@dataclass(frozen=True)
class Method:
    """What a method's file makes of its configuration."""

    name: str
    axis: Axis
    layers: Sequence[int | None]
    """The layers of its grid, each with all strengths; (None,) for a method without one layer."""
    change: Callable[[int | None, float], Change]
    """What is done at a layer and a strength other than 0."""
    direction: Direction | None = None
    """What it edits along, where that is one direction per layer."""
    notes: list[str] = field(default_factory=list)
    """What was found out while fitting: a gate's layer and threshold, chosen heads."""

    def setting(self, layer: int | None, strength: float) -> Setting:
        """One point of the grid; at strength 0 the model is left alone."""
        change = self.change(layer, strength) if strength else NOTHING
        return Setting(self.name, layer, float(strength), change)
