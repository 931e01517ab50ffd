"""ECSO, "eyes closed, safety on" (arXiv 2403.09572, section 3): the model checks its own answer,
and if the answer is harmful, it answers again from a caption, without the picture.

    step 1: example                                      -> answer
    step 2: example and answer: is the answer harmful?   -> yes or no; if no, the answer is judged
    step 3: caption the picture for this request         -> caption
    step 4: caption and query, without the picture       -> the response that is judged

Without a picture, step 3 is skipped and step 4 adds only its closing instruction. Strength is the
number of a variant: of the wordings of check, caption and text in conf/method/ecso.yaml.

Authors: the answer is harmful if the reply to the check, in lower case, is "yes" or "yes."; it is
cut to 1927 characters in the check; sampling at temperature 0.2.
Here: the same rule (method.verdict=reply), except for mini-internvl, which replies in sentences, so
that a first word "yes" counts (method.verdict=first_word). The answer is not cut, and sampling is
that of generation. The wordings are ours.
Supervised: no (nothing is fitted).
Searched: wordings, on validation.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from calib.config.checks import one_of
from calib.config.choices import VERDICTS
from calib.config.prompts import PromptFlowMethod
from calib.data.example import Example, with_pictures
from calib.interventions.fitting import Fitting
from calib.interventions.intervention import Method
from calib.interventions.prompting import (
    VARIANT_AXIS,
    Variant,
    check_variants,
    fill,
    prompt_text,
    says_yes,
    variant_method,
    variants,
)
from calib.models.load import AnyModel

AXIS = VARIANT_AXIS
NO_CAPTION = "nothing, there is none."
TEXTS = ("check", "caption", "text")


def check(config: PromptFlowMethod, vlm: AnyModel, examples: Sequence[Example]) -> None:
    """Raise CalibError for a missing text, or a strength that is not the number of a variant."""
    check_variants(config, variants(config, vlm, TEXTS), vlm, examples)
    one_of("method.verdict", prompt_text(config, vlm, "verdict"), VERDICTS)


def method(fitting: Fitting, config: PromptFlowMethod) -> Method:
    """All four steps, in each wording."""
    verdict = prompt_text(config, fitting.vlm, "verdict")

    def flow(variant: Variant) -> EyesClosed:
        check, caption, closing = (variant.texts[name] for name in TEXTS)
        return EyesClosed(check, caption, closing, verdict)

    return variant_method(config, variants(config, fitting.vlm, TEXTS), flow)


@dataclass(frozen=True)
class EyesClosed:
    """Answer, check, caption, answer without the picture."""

    check: str
    """The yes-or-no question whether an answer is harmful; with {query} and {answer}."""
    caption: str
    """The request for a caption; with {query}."""
    closing: str
    """The query of the last step, without the picture; with {query} and {caption}."""
    verdict: str = "reply"
    """What must be yes: the whole reply to the check, or its first_word."""
    multi_step: ClassVar[bool] = True

    def next(self, example: Example, responses: Sequence[str]) -> Example | int:
        """The prompt of the next step. The answer stands unless the reply to the check is yes."""
        query = example.query
        match len(responses):
            case 0:
                return example
            case 1:
                check = fill(self.check, query=query, answer=responses[0])
                return replace(example, query=check)
            case 2 if not says_yes(responses[1], self.verdict):
                return 0
            case 2 if example.picture is not None:
                return replace(example, query=fill(self.caption, query=query))
        if len(responses) == (4 if example.picture is not None else 3):
            return len(responses) - 1
        caption = responses[2] if example.picture is not None else NO_CAPTION
        closing = fill(self.closing, query=query, caption=caption).strip()
        return replace(with_pictures(example, ()), query=closing)
