"""Self-check: the model says whether the request about this picture is dangerous, and then answers
or declines by its own word (after LLM Self Defense, arXiv 2308.07308, which checks a response).

    step 1: example with the check as its query   -> yes or no
    step 2: if yes, example + text that asks to decline; if no, example (+ text that asks to answer)
                                                  -> the response that is judged

A reply other than yes counts as no. Strength is the number of a variant: of the wordings of the
check and of both texts in conf/method/self_check.yaml, and of the place of these texts (system
prompt, before, after or around the query).

The model declines in its own words, because a fixed refusal would be judged in place of a response
of the model, in one language, and for some judges by construction. A model that does not decline
when it is told to shows this in SRA_u.

Authors: Self Defense shows the finished response, without the query, to a second model or to the
same one, and withholds it on a yes.
Here: the query and its picture are checked before anything is answered, as a guard does; a second
prompt declines. mini-internvl is asked the questions that it was taught: about the picture, or
about the request where the query has one in words ({request}).
Supervised: no (the model's own word decides; nothing is fitted).
Searched: wordings and places, on validation.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from calib.config.checks import one_of
from calib.config.choices import PROMPT_PLACES, VERDICTS
from calib.config.prompts import SelfCheck
from calib.data.example import Example
from calib.interventions.fitting import Fitting
from calib.interventions.intervention import Method
from calib.interventions.prompting import (
    VARIANT_AXIS,
    Variant,
    add_text,
    check_query,
    check_variants,
    prompt_text,
    request_check_text,
    says_yes,
    variant_method,
    variants,
)
from calib.models.load import AnyModel

AXIS = VARIANT_AXIS
TEXTS = ("check", "text", "answer")


def check(config: SelfCheck, vlm: AnyModel, examples: Sequence[Example]) -> None:
    """Raise CalibError for a missing text, a strength that is not the number of a variant, or a
    place whose text the chat template leaves out."""
    check_variants(config, variants(config, vlm, TEXTS, PROMPT_PLACES), vlm, examples)
    one_of("method.verdict", prompt_text(config, vlm, "verdict"), VERDICTS)
    request_check_text(config, vlm)


def method(fitting: Fitting, config: SelfCheck) -> Method:
    """Both steps, in each wording with the texts at each place."""
    verdict = prompt_text(config, fitting.vlm, "verdict")
    request_check = request_check_text(config, fitting.vlm)

    def flow(variant: Variant) -> CheckThenRespond:
        check, declining, answering = (variant.texts[name] for name in TEXTS)
        return CheckThenRespond(check, declining, answering, variant.place, request_check, verdict)

    available = variants(config, fitting.vlm, TEXTS, PROMPT_PLACES)
    return variant_method(config, available, flow)


@dataclass(frozen=True)
class CheckThenRespond:
    """The check, then a response according to its reply."""

    check: str
    """The yes-or-no question whether it is dangerous; {query} stands for the query."""
    declining: str
    """Text added to the prompt after a yes."""
    answering: str = ""
    """Text added to the prompt after a no; empty for none."""
    place: str = "system"
    """Place of these texts."""
    request_check: str = ""
    """The question for a query of the mini world that contains its request in words, with {query}
    and {request}; empty for ``check``."""
    verdict: str = "first_word"
    """What must be yes: the whole reply to the check, or its first_word."""
    multi_step: ClassVar[bool] = True

    def next(self, example: Example, responses: Sequence[str]) -> Example | int:
        """The check, then the query with the text for a yes or for a no."""
        if not responses:
            return replace(
                example, query=check_query(example.query, self.check, self.request_check)
            )
        if len(responses) > 1:
            return 1
        text = self.declining if says_yes(responses[0], self.verdict) else self.answering
        return add_text(example, text, self.place) if text else example
