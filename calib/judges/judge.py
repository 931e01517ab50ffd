"""The interface of a judge: its input, its verdict, and partial verdicts when it has to stop."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from calib.data.example import Example
from calib.scoring.judged import Label
from calib.util.errors import CalibError


@dataclass(frozen=True)
class JudgeInput:
    """A response and what it responds to."""

    example: Example
    response: str


@dataclass(frozen=True)
class Verdict:
    """What a judge says about one response."""

    label: Label | None
    """None where the judge's reply could not be read; it is then left out and counted."""
    replies: Mapping[str, str] = field(default_factory=dict)
    """What was said, word for word, by the model that said it (and the stage, if there are two)."""
    votes: Mapping[str, Label | None] = field(default_factory=dict)
    """The label of each of several models."""


class Judge(Protocol):
    """Gives labels to responses."""

    @property
    def id(self) -> str:
        """Name of the judge and of everything its labels depend on, e.g. model and prompt hash."""
        ...

    @property
    def keeps(self) -> bool:
        """Whether verdicts cost something, so that they are recorded and never asked for twice."""
        ...

    def __call__(
        self, said: Sequence[JudgeInput], tell: Callable[[int], None] = lambda n: None
    ) -> list[Verdict]:
        """A verdict on each response, in order; ``tell`` hears of every few that are done."""
        ...


class PartialVerdicts(CalibError):
    """A judge stopped in the middle of a batch: the budget is used up, the endpoint is gone.

    Whoever records verdicts records ``finished`` too, then lets the error go on to the user: the
    next run asks for the rest only. Verdicts of earlier calls have been returned already, so what
    a killed process can lose is one batch.
    """

    def __init__(self, message: str, finished: Mapping[int, Verdict]) -> None:
        super().__init__(message)
        self.finished = finished
        """Verdicts that were found before, by their place in the batch."""
