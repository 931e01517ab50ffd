"""Settings of every calibration method, and of the methods that change the prompt.

There is one dataclass per kind; a method with more settings extends it.
"""

from dataclasses import dataclass, field
from typing import Any

from calib.config.checks import finite, one_of, positive
from calib.config.choices import PROMPT_PLACES, REASONING_PLACES, VERDICTS


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
    """Methods that add a text to the prompt. Strength is the number of a variant: of a wording and
    a place."""

    text: str | None = None
    """Text to add; null means those in texts."""
    texts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Default texts by checkpoint, each a text or a list of wordings; "any" is for all others."""
    place: str = "system"
    """Place of the text in variant 1: system (prompt), before, after or around the query."""

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("method.place", self.place, PROMPT_PLACES)


@dataclass
class FewShot(Prompting):
    """Strength is the number of demonstrations, plus 100 for each further draw: 2 and 102 are two
    demonstrations of the first and of the second draw."""

    seed: int = 0
    """Seed of the draw of train examples that are shown; the next draw has the next seed."""


@dataclass
class PromptFlowMethod(Prompting):
    """Methods with several turns, in which the model sees its own earlier responses. Strength is
    the number of a variant: of a wording of each text and, where there is one, a place."""

    texts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Default texts by checkpoint, each a text or a list of wordings; "any" is for all others."""
    text: str | None = None
    """Wording of the last turn; null means those in texts."""
    check: str | None = None
    """Wording of the question about harm; null means those in texts."""
    caption: str | None = None
    """Wording of the request for a caption; null means those in texts."""
    place: str = "turn"
    """Place of the reasoning in variant 1 (cot): an earlier turn, system (prompt), before or after
    the query."""
    verdict: str | None = None
    """Condition for a yes to the question about harm (ecso, self_check): reply (the whole reply is
    "yes" or "yes.") or first_word (its first word is yes); null means the one in texts."""

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("method.place", self.place, self._places)
        if self.verdict is not None:
            one_of("method.verdict", self.verdict, VERDICTS)

    @property
    def _places(self) -> tuple[str, ...]:
        return REASONING_PLACES


@dataclass
class SelfCheck(PromptFlowMethod):
    request_check: str | None = None
    """Wording of the question for a query of a mini world that contains its request in words,
    with {request}; null means the one in texts, or check where that is given. Empty: the check."""
    answer: str | None = None
    """Text to add to the prompt after a no; null means those in texts, of which the first is empty
    and adds nothing, as an empty one of your own does."""
    place: str = "system"
    """Place of text and answer in variant 1: system (prompt), before, after or around the query."""

    @property
    def _places(self) -> tuple[str, ...]:
        return PROMPT_PLACES
