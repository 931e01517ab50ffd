"""A setting: everything that is done to the model, and to what it is shown, while it answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from calib.data.example import Example
from calib.engine.edit import Edits

Rule = Callable[[Sequence[Example]], Sequence[Edits]]
"""Edits that depend on what is shown: one tuple per example, in their order. Called with many
examples at once, so that what it looks at is read in large batches."""


class Dialogue(Protocol):
    """How a prompt-based method asks, in one step or several."""

    @property
    def several(self) -> bool:
        """Whether it may ask more than once."""
        ...

    def next(self, example: Example, said: Sequence[str]) -> Example | int:
        """What is shown next, given the responses so far; or the place among them of the one that
        counts, when there is nothing left to ask."""
        ...


@dataclass(frozen=True)
class Prompted:
    """A dialogue of one step: the example is shown in another form."""

    rewrite: Callable[[Example], Example]
    several: bool = False

    def next(self, example: Example, said: Sequence[str]) -> Example | int:
        return 0 if said else self.rewrite(example)


@dataclass(frozen=True)
class Change:
    """What a method does at one strength; nothing at all by default."""

    edits: Edits = ()
    """The same for every example."""
    rule: Rule | None = None
    """Edits that depend on the example, after those."""
    dialogue: Dialogue | None = None
    """How the example is asked; None shows it as it is."""

    def edits_for(self, shown: Sequence[Example]) -> list[Edits]:
        """The edits of each example, given in the form in which it is shown."""
        if self.rule is None:
            return [self.edits] * len(shown)
        return [(*self.edits, *found) for found in self.rule(shown)]


NOTHING = Change()


@dataclass(frozen=True)
class Setting:
    """One point of a method's grid. The uncalibrated model is a setting too."""

    method: str
    layer: int | None
    """0-based decoder block, None where the method has no single layer."""
    strength: float
    change: Change = NOTHING


BASELINE = Setting("none", None, 0.0)
"""The uncalibrated model."""
