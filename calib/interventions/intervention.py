"""A setting of a method: the intervention it makes at one layer and strength."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from calib.data.example import Example
from calib.directions.direction import Direction
from calib.engine.edits import Edits

Rule = Callable[[Sequence[Example]], Sequence[Edits]]
"""Edits that depend on what is shown: one tuple per example, in their order. Called with many
examples at once, so that what it looks at is read in large batches."""


class PromptFlow(Protocol):
    """How a prompt-based method asks, in one step or several."""

    @property
    def multi_step(self) -> bool:
        """Whether it may ask more than once."""
        ...

    def next(self, example: Example, said: Sequence[str]) -> Example | int:
        """What is shown next, given the responses so far; or the place among them of the one that
        counts, when there is nothing left to ask."""
        ...


@dataclass(frozen=True)
class SinglePrompt:
    """A dialogue of one step: the example is shown in another form."""

    rewrite: Callable[[Example], Example]
    multi_step: bool = False

    def next(self, example: Example, said: Sequence[str]) -> Example | int:
        return 0 if said else self.rewrite(example)


@dataclass(frozen=True)
class Intervention:
    """What a method does at one strength; nothing at all by default."""

    edits: Edits = ()
    """The same for every example."""
    rule: Rule | None = None
    """Edits that depend on the example, after those."""
    prompt_flow: PromptFlow | None = None
    """How the example is asked; None shows it as it is."""

    def edits_for(self, shown: Sequence[Example]) -> list[Edits]:
        """The edits of each example, given in the form in which it is shown."""
        if self.rule is None:
            return [self.edits] * len(shown)
        return [(*self.edits, *found) for found in self.rule(shown)]


NO_INTERVENTION = Intervention()


@dataclass(frozen=True)
class Setting:
    """One point of a method's grid. The uncalibrated model is a setting too."""

    method: str
    layer: int | None
    """0-based decoder block, None where the method has no single layer."""
    strength: float
    intervention: Intervention = NO_INTERVENTION


BASELINE = Setting("none", None, 0.0)
"""The uncalibrated model."""


@dataclass(frozen=True)
class Axis:
    """What a method's strength means. 0 always changes nothing."""

    meaning: str
    """In words and units, as figures and summaries say it behind "strength"."""
    signed: bool = True
    """Whether negative strengths are meant too: they push the other way."""
    integer: bool = False
    """Whether it counts something: demonstrations, or 1 for a prompt that is shown."""
    default_scale: float = 1.0
    """A usual strength: where a search for another one begins."""


@dataclass(frozen=True)
class Method:
    """What a method's file makes of its configuration."""

    name: str
    axis: Axis
    layers: Sequence[int | None]
    """The layers of its grid, each with all strengths; (None,) for a method without one layer."""
    intervention: Callable[[int | None, float], Intervention]
    """What is done at a layer and a strength other than 0."""
    direction: Direction | None = None
    """What it edits along, where that is one direction per layer."""
    notes: list[str] = field(default_factory=list)
    """What was found out while fitting: a gate's layer and threshold, chosen heads."""

    def setting(self, layer: int | None, strength: float) -> Setting:
        """One point of the grid; at strength 0 the model is left alone."""
        intervention = self.intervention(layer, strength) if strength else NO_INTERVENTION
        return Setting(self.name, layer, float(strength), intervention)
