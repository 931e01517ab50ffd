"""Settings of every calibration method, and of the methods that change the prompt.

There is one dataclass per kind; a method with more settings extends it.
"""

from dataclasses import dataclass, field

from calib.config.checks import finite, one_of, positive
from calib.config.choices import PROMPT_PLACES


@dataclass
class MethodConfig:
    name: str
    """Name of the method in tables and figures, and of its module in calib/methods."""
    file: str | None = None
    """Module in calib/methods, if it differs from the name: for two configurations of one method in
    one run."""


@dataclass
class NoneMethod(MethodConfig):
    name: str = "none"


@dataclass
class Calibration(MethodConfig):
    """Settings of every method that changes the model's behaviour."""

    strengths: list[float] = field(default_factory=lambda: [1.0])
    """Strengths to try. Their unit is defined by the method; 0 changes nothing."""
    kl: float | None = None
    """Budget in nats, instead of strengths: use the largest strength of each sign whose mean
    KL(base || calibrated) of the first response token, over utility questions, is at most this."""

    def __post_init__(self) -> None:
        finite("method.strengths", self.strengths)
        positive("method.kl", self.kl)


@dataclass
class Prompting(Calibration):
    """Methods that change the prompt."""


@dataclass
class Worded(Prompting):
    """Methods that add a text to the prompt."""

    text: str | None = None
    """Text to add; null means the one in texts."""
    texts: dict[str, dict[str, str]] = field(default_factory=dict)
    """Default texts by checkpoint; "any" is for all others."""
    place: str = "system"
    """Place of the text: system (prompt), before or after the query."""

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("method.place", self.place, PROMPT_PLACES)


@dataclass
class FewShot(Prompting):
    seed: int = 0
    """Seed of the draw of train examples that are shown."""


@dataclass
class PromptFlowMethod(Prompting):
    """Methods with several turns, in which the model sees its own earlier responses."""

    texts: dict[str, dict[str, str]] = field(default_factory=dict)
    """Default texts by checkpoint; "any" is for all others."""
    text: str | None = None
    """Wording of the last turn; null means the one in texts."""
    check: str | None = None
    """Wording of the question whether the response is harmful; null means the one in texts."""
    caption: str | None = None
    """Wording of the request for a caption; null means the one in texts."""
