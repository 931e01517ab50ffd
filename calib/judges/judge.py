"""The interface of a judge: its input, its verdict, and partial verdicts when it has to stop."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from calib.config.choices import Label
from calib.data.example import Example
from calib.util.errors import CalibError
from calib.util.thoughts import after_thoughts


@dataclass(frozen=True)
class JudgeInput:
    """A response and the example it answers."""

    example: Example
    response: str

    def without_thoughts(self) -> "JudgeInput | None":
        """The same input without a reasoning model's thoughts; None if a thought was cut off."""
        response = after_thoughts(self.response)
        if response == self.response:
            return self
        return None if response is None else replace(self, response=response)


@dataclass(frozen=True)
class Verdict:
    """A judge's label of one response, with the evidence for it."""

    label: Label | None
    """None if the judge's reply could not be read, or if the response is a thought that was cut
    off; such responses are excluded and counted."""
    replies: Mapping[str, str] = field(default_factory=dict)
    """Verbatim replies by judge model, and by stage if there are two."""
    votes: Mapping[str, Label | None] = field(default_factory=dict)
    """The label of each model, if several models vote."""


CUT_OFF = "[a thought that was cut off]"
"""The evidence for a verdict without a label on a response that never left its thought."""
Report = Callable[[int], None]
"""Receives the number of responses judged since its last call, for a progress bar."""


class Judge(Protocol):
    """A callable that labels responses."""

    @property
    def id(self) -> str:
        """Name of the judge and of everything its labels depend on, e.g. model and prompt hash."""
        ...

    @property
    def costly(self) -> bool:
        """Whether verdicts take time or money, so that they are stored and reused."""
        ...

    def __call__(
        self, inputs: Sequence[JudgeInput], report: Report = lambda n: None, /
    ) -> list[Verdict]:
        """Return a verdict on each response, in order; call ``report`` after each batch."""
        ...


def _never(example: Example, response: str) -> bool:
    return False


@dataclass(frozen=True)
class RuleBased:
    """A judge that is a function of the example and the response, without a model or a network."""

    id: str
    label_of: Callable[[Example, str], Label | None]
    is_final: Callable[[Example, str], bool] = _never
    """Whether every continuation of a partial response would get the same label, so that
    generation may stop there (generation.early_stop)."""

    costly = False

    def __call__(
        self, inputs: Sequence[JudgeInput], report: Report = lambda n: None
    ) -> list[Verdict]:
        """Return a verdict on each response, in order; ``report`` is called once."""
        verdicts = [Verdict(self.label_of(each.example, each.response)) for each in inputs]
        report(len(verdicts))
        return verdicts


class PartialVerdicts(CalibError):
    """Raised when a judge stops within a batch, e.g. at its budget or when its endpoint fails.

    The caller stores ``finished`` and re-raises, so that the next run judges the rest only. Earlier
    batches were returned already: a killed process loses at most one batch.
    """

    def __init__(self, code: str, message: str, finished: Mapping[int, Verdict]) -> None:
        super().__init__(code, message)
        self.finished = finished
        """Verdicts reached before the stop, by position in the batch."""
