"""Chain of thought about safety: the model first reasons about harm, then answers with its
reasoning in the context (zero-shot chain of thought, arXiv 2205.11916, applied to safety).

    step 1: example with the check as its query  -> reasoning
    step 2: [check, reasoning] + example         -> the response that is judged

Strength is 1 with both steps, 0 without them. The texts are ours (conf/method/cot.yaml).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from calib.config.prompts import PromptFlowMethod
from calib.data.example import Example, Turn
from calib.interventions.fitting import Fitting
from calib.interventions.intervention import Intervention, Method
from calib.interventions.prompting import PROMPT_AXIS, check_prompt_strengths, prompt_text
from calib.models.load import AnyModel


def check(config: PromptFlowMethod, vlm: AnyModel, examples: Sequence[Example]) -> None:
    """Raise CalibError for a missing text, or a strength other than 0 and 1."""
    prompt_text(config, vlm, "check")
    check_prompt_strengths(config)


def method(fitting: Fitting, config: PromptFlowMethod) -> Method:
    """Both steps."""
    flow = ReasonThenAnswer(prompt_text(config, fitting.vlm, "check"))
    return Method(config.name, PROMPT_AXIS, [None], lambda *_: Intervention(prompt_flow=flow))


@dataclass(frozen=True)
class ReasonThenAnswer:
    """Reasoning about harm, then the answer."""

    check: str
    """The question about harm; {query} stands for the query."""
    multi_step: ClassVar[bool] = True

    def next(self, example: Example, responses: Sequence[str]) -> Example | int:
        """The check, then the query with check and reasoning as an earlier turn."""
        check = self.check.replace("{query}", example.query)
        if not responses:
            return replace(example, query=check)
        if len(responses) > 1:
            return 1
        # The picture belongs to the first turn; the query is then a follow-up about it.
        turn = Turn(check, responses[0], example.picture)
        return replace(example, demonstrations=(*example.demonstrations, turn), picture=None)
