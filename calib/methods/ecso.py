"""ECSO, "eyes closed, safety on" (arXiv 2403.09572, section 3): the model checks its own answer,
and if the answer is harmful, it answers again from a caption, without the picture.

    step 1: example                                      -> answer
    step 2: example and answer: is the answer harmful?   -> yes or no; if no, the answer is judged
    step 3: caption the picture for this request         -> caption
    step 4: caption and query, without the picture       -> the response that is judged

Without a picture, step 3 is skipped and step 4 adds only its closing instruction. Strength is 1
with the steps, 0 without them. The texts are ours (conf/method/ecso.yaml).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from calib.config.prompts import PromptFlowMethod
from calib.data.example import Example, words_of
from calib.interventions.fitting import Fitting
from calib.interventions.intervention import Intervention, Method
from calib.interventions.prompting import PROMPT_AXIS, check_prompt_strengths, fill, prompt_text
from calib.models.load import AnyModel

NO_CAPTION = "nothing, there is none."
TEXTS = ("check", "caption", "text")


def check(config: PromptFlowMethod, vlm: AnyModel, examples: Sequence[Example]) -> None:
    """Raise CalibError for a missing text, or a strength other than 0 and 1."""
    for name in TEXTS:
        prompt_text(config, vlm, name)
    check_prompt_strengths(config)


def method(fitting: Fitting, config: PromptFlowMethod) -> Method:
    """All four steps."""
    flow = EyesClosed(*(prompt_text(config, fitting.vlm, name) for name in TEXTS))
    return Method(config.name, PROMPT_AXIS, [None], lambda *_: Intervention(prompt_flow=flow))


@dataclass(frozen=True)
class EyesClosed:
    """Answer, check, caption, answer without the picture."""

    check: str
    """The yes-or-no question whether an answer is harmful; with {query} and {answer}."""
    caption: str
    """The request for a caption; with {query}."""
    closing: str
    """The query of the last step, without the picture; with {query} and {caption}."""
    multi_step: ClassVar[bool] = True

    def next(self, example: Example, responses: Sequence[str]) -> Example | int:
        """The prompt of the next step. The answer stands unless the check's first word is yes."""
        match len(responses):
            case 0:
                return example
            case 1:
                check = self._fill(self.check, example, answer=responses[0])
                return replace(example, query=check)
            case 2 if words_of(responses[1])[:1] != ["yes"]:
                return 0
            case 2 if example.picture is not None:
                return replace(example, query=self._fill(self.caption, example))
        if len(responses) == (4 if example.picture is not None else 3):
            return len(responses) - 1
        caption = responses[2] if example.picture is not None else NO_CAPTION
        query = self._fill(self.closing, example, caption=caption).strip()
        return replace(example, query=query, picture=None)

    @staticmethod
    def _fill(text: str, example: Example, **values: str) -> str:
        return fill(text, **{"query": example.query, **values})
