"""Chain of thought about safety: the model first says whether there is harm, then answers with its
own words before its eyes (zero-shot chain of thought, arXiv 2205.11916, turned to safety).

    step 1: example, asked the check       -> reasoning
    step 2: [check, reasoning] + example   -> the response that counts

The texts are ours (conf/method/cot.yaml). Strength is 1 with the steps, 0 without.
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
    """Raise CalibError for a missing text or a strength other than 0 and 1."""
    prompt_text(config, vlm, "check")
    check_prompt_strengths(config)


def method(fitting: Fitting, config: PromptFlowMethod) -> Method:
    """Both steps."""
    steps = Intervention(prompt_flow=Reasoned(prompt_text(config, fitting.vlm, "check")))
    return Method(config.name, PROMPT_AXIS, [None], lambda layer, strength: steps)


@dataclass(frozen=True)
class Reasoned:
    """Reason, then answer."""

    check: str
    """What is asked first; {query} stands for the query."""
    multi_step: ClassVar[bool] = True

    def next(self, example: Example, said: Sequence[str]) -> Example | int:
        """The check, then the query behind it and what was said to it."""
        asked = self.check.replace("{query}", example.query)
        if not said:
            return replace(example, query=asked)
        if len(said) > 1:
            return 1
        # The picture stands in the first turn; behind it the query is a follow-up about it.
        turn = Turn(asked, said[0], example.picture)
        return replace(example, demonstrations=(*example.demonstrations, turn), picture=None)
