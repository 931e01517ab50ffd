"""What every calibration method has, and what can be configured about those that change the prompt.

One dataclass per kind, extended where a method has settings of its own. Nothing here imports torch.
"""

from dataclasses import dataclass, field

from calib.config.checks import finite, one_of, positive
from calib.config.choices import PROMPT_PLACES


@dataclass
class MethodConfig:
    name: str
    """Name of the method in tables and figures, and of its file in calib/methods."""
    file: str | None = None
    """The file, where the method goes by another name: two settings of one method in one run."""


@dataclass
class NoneMethod(MethodConfig):
    name: str = "none"


@dataclass
class Calibration(MethodConfig):
    """What every method has."""

    strengths: list[float] = field(default_factory=lambda: [1.0])
    """What each means is said by the method's file; 0 changes nothing."""
    kl: float | None = None
    """In place of strengths: the largest strength of each sign whose mean KL(calibrated || base) of
    the first response token over utility questions is at most this, in nats."""

    def __post_init__(self) -> None:
        finite("method.strengths", self.strengths)
        positive("method.kl", self.kl)


@dataclass
class Prompting(Calibration):
    """Methods that change the prompt."""


@dataclass
class Worded(Prompting):
    """Methods that put a text into the prompt."""

    text: str | None = None
    """Your own words; null takes ours from texts."""
    texts: dict[str, dict[str, str]] = field(default_factory=dict)
    """Our words, by checkpoint; "any" is for all others."""
    place: str = "system"
    """Where the text stands: system (prompt), before or after the query."""

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("method.place", self.place, PROMPT_PLACES)


@dataclass
class FewShot(Prompting):
    seed: int = 0
    """Which train examples are shown."""


@dataclass
class PromptFlowMethod(Prompting):
    """Methods that ask the model more than once."""

    texts: dict[str, dict[str, str]] = field(default_factory=dict)
    """Our words, by checkpoint; "any" is for all others."""
    text: str | None = None
    """How the last question is asked; null takes it from texts."""

    check: str | None = None
    """How the model is asked whether there is harm; null takes it from texts."""
    caption: str | None = None
    """How the model is asked for a caption; null takes it from texts."""
