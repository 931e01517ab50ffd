"""Methods, their settings, and the interventions that a setting makes.

A ``Method`` is a calibration method fitted to one model. It spans a grid of layers and strengths; a
``Setting`` is one point of that grid, and its ``Intervention`` says which prompt the model sees and
which activations are edited while it responds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from calib.config.method import SettingKey
from calib.data.example import Example
from calib.directions.direction import Direction
from calib.engine.edits import Edits

Rule = Callable[[Sequence[Example]], Sequence[Edits]]
"""Computes the edits of each example from its prompt, in the order of the examples. It is called
with many examples at once so that their activations can be read in large batches."""


class PromptFlow(Protocol):
    """The prompts that a prompt-based method sends for one example, in one step or several."""

    @property
    def multi_step(self) -> bool:
        """Whether the flow may send more than one prompt."""
        ...

    def next(self, example: Example, responses: Sequence[str]) -> Example | int:
        """The next prompt, given the responses to the earlier ones, without their thoughts.

        When the flow has ended, the index in ``responses`` of the response that is judged.
        """
        ...


@dataclass(frozen=True)
class SinglePrompt:
    """A flow of one step: a rewritten prompt, whose response is judged."""

    rewrite: Callable[[Example], Example]
    multi_step: bool = False

    def next(self, example: Example, responses: Sequence[str]) -> Example | int:
        return 0 if responses else self.rewrite(example)


@dataclass(frozen=True)
class Intervention:
    """The prompt flow and the activation edits of one setting. The default changes nothing."""

    edits: Edits = ()
    """Edits made for every example."""
    rule: Rule | None = None
    """Edits that depend on the example; they are applied after ``edits``."""
    prompt_flow: PromptFlow | None = None
    """The prompts sent for an example; None sends the example itself."""

    def edits_for(self, prompts: Sequence[Example]) -> list[Edits]:
        """The edits of each prompt. ``prompts`` are the examples as the prompt flow wrote them."""
        if self.rule is None:
            return [self.edits] * len(prompts)
        return [(*self.edits, *edits) for edits in self.rule(prompts)]


NO_INTERVENTION = Intervention()


@dataclass(frozen=True)
class Setting(SettingKey):
    """One point of a method's grid. The uncalibrated model is a setting too: BASELINE."""

    intervention: Intervention = NO_INTERVENTION


BASELINE = Setting("none", None, 0.0)
"""The uncalibrated model."""


@dataclass(frozen=True)
class Axis:
    """The meaning of a method's strength. Strength 0 always changes nothing."""

    meaning: str
    """Unit or meaning, as figures and summaries print it after the word "strength"."""
    signed: bool = True
    """Whether negative strengths are useful: they push the other way."""
    integer: bool = False
    """Whether the strength is a count (of demonstrations) or the number of a variant."""
    default_scale: float = 1.0
    """A typical strength, from which the search for a strength within a KL budget starts."""


Supervision = Literal["none", "direction", "threshold", "gate", "demonstrations"]
"""Where a method uses labels of examples (safe or unsafe, or the judge's label of the uncalibrated
response): nowhere; for a direction that all prompts share; also for the reference and the threshold
of a gate that is not trained (cosine, transition); for a decision per prompt that is trained on
them (a probe, a regression); or to select demonstrations."""


@dataclass(frozen=True)
class Demonstrations:
    """The demonstrations before a query, as a run records them."""

    ids: Sequence[str]
    """Ids of the train examples, in the order in which they are shown."""
    checksum: str
    """First 16 hexadecimal digits of the SHA-256 of their queries and responses."""


@dataclass(frozen=True)
class Method:
    """A calibration method, fitted to one model."""

    name: str
    axis: Axis
    layers: Sequence[int | None]
    """Layers of the grid, each combined with all strengths; [None] for a method that has no single
    layer."""
    intervention: Callable[[int | None, float], Intervention]
    """The intervention at a layer and a strength other than 0."""
    direction: Direction | None = None
    """The direction that is edited along, for methods with one direction per layer."""
    notes: list[str] = field(default_factory=list)
    """Results of the fit that the run reports: a gate's layer and threshold, selected heads."""
    supervision: Supervision = "direction"
    variants: Mapping[int, str] = field(default_factory=dict)
    """Names of the strengths that are numbers of variants, and not amounts; empty for others."""
    demonstrations: "Mapping[int, Mapping[str, Demonstrations]]" = field(default_factory=dict)
    """By strength and by part of the benchmark; empty for methods that show none."""

    def setting(self, layer: int | None, strength: float) -> Setting:
        """One point of the grid. At strength 0 it leaves the model unchanged."""
        intervention = self.intervention(layer, strength) if strength else NO_INTERVENTION
        return Setting(self.name, layer, float(strength), intervention)
