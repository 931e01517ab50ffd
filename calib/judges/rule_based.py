"""The judges that need neither a model nor a network: they look at the text alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from calib.data.example import Example
from calib.judges.judge import JudgeInput, Verdict
from calib.judges.rules import is_lost, judge_rules
from calib.judges.string import is_final, judge_string
from calib.scoring.judged import Label


@dataclass(frozen=True)
class RuleBased:
    """A judge that is a function of the example and the response."""

    id: str
    label_of: Callable[[Example, str], Label]
    is_final: Callable[[Example, str], bool]
    """Whether the label of a response that begins so is certain."""

    keeps = False

    def __call__(
        self, said: Sequence[JudgeInput], tell: Callable[[int], None] = lambda n: None
    ) -> list[Verdict]:
        verdicts = [Verdict(self.label_of(one.example, one.response)) for one in said]
        tell(len(verdicts))
        return verdicts


RULES = RuleBased("rules", judge_rules, is_lost)
STRING = RuleBased(
    "string",
    lambda example, response: judge_string(response),
    lambda example, response: is_final(response),
)
