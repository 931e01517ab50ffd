"""ECSO, eyes closed, safety on (arXiv 2403.09572, section 3): the model checks its own answer, and
where that is harmful answers again from a caption, without the picture.

    step 1: example                                   -> answer
    step 2: example and answer: is this harmful?      -> yes or no; no: the answer counts
    step 3: the picture: caption it for this request  -> caption
    step 4: caption and query, without the picture    -> the response that counts

Where there is no picture a harmful answer is given again with the closing instruction alone. The
texts are ours (conf/method/ecso.yaml). Strength is 1 with the steps, 0 without.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from calib.config.prompts import PromptFlowMethod
from calib.data.example import Example, words_of
from calib.interventions.fitting import Fitting
from calib.interventions.intervention import Intervention, Method
from calib.interventions.prompting import PROMPT_AXIS, check_prompt_strengths, prompt_text
from calib.models.load import AnyModel

NO_CAPTION = "nothing, there is none."
TEXTS = ("check", "caption", "text")


def check(config: PromptFlowMethod, vlm: AnyModel, examples: Sequence[Example]) -> None:
    """Raise CalibError for a missing text or a strength other than 0 and 1."""
    for name in TEXTS:
        prompt_text(config, vlm, name)
    check_prompt_strengths(config)


def method(fitting: Fitting, config: PromptFlowMethod) -> Method:
    """All steps."""
    texts = [prompt_text(config, fitting.vlm, name) for name in TEXTS]
    steps = Intervention(prompt_flow=EyesClosed(*texts))
    return Method(config.name, PROMPT_AXIS, [None], lambda layer, strength: steps)


@dataclass(frozen=True)
class EyesClosed:
    """Answer, check, caption, answer without the picture."""

    check: str
    """Asks whether an answer is harmful, to be said yes or no; {query}, {answer}."""
    caption: str
    """Asks for a caption; {query}."""
    closing: str
    """What is asked without the picture; {query}, {caption}."""
    multi_step: ClassVar[bool] = True

    def next(self, example: Example, said: Sequence[str]) -> Example | int:
        """The next step; a check that does not begin with yes leaves the answer as it is."""
        match len(said):
            case 0:
                return example
            case 1:
                return replace(example, query=self._filled(self.check, example, answer=said[0]))
            case 2 if words_of(said[1])[:1] != ["yes"]:
                return 0
            case 2 if example.picture is not None:
                return replace(example, query=self._filled(self.caption, example))
        if len(said) == (4 if example.picture is not None else 3):
            return len(said) - 1
        caption = said[2] if example.picture is not None else NO_CAPTION
        query = self._filled(self.closing, example, caption=caption).strip()
        return replace(example, query=query, picture=None)

    @staticmethod
    def _filled(text: str, example: Example, **parts: str) -> str:
        # Not format: what is filled in may hold braces, and is not filled in turn.
        known = {"query": example.query, **parts}
        return re.sub(r"\{(\w+)\}", lambda found: known.get(found[1], found[0]), text)
