"""Chain of thought about safety: the model first reasons about harm, then answers with its
reasoning in the context (zero-shot chain of thought, arXiv 2205.11916, applied to safety).

    step 1: example with the check as its query  -> reasoning
    step 2: [check, reasoning] + example         -> the response that is judged

Strength is the number of a variant: of a wording of the check in conf/method/cot.yaml, and of a
place of the reasoning in step 2 (an earlier turn, the system prompt, before or after the query).

Authors: the request to think step by step follows the question; a second prompt, which repeats
question and reasoning, extracts the answer. The tasks are arithmetic and logic, not safety.
Here: the request to think is about harm and comes first; the second prompt asks the query itself,
by default as a follow-up to the turn with the reasoning. The wordings are ours.
Supervised: no (nothing is fitted).
Searched: wordings and places, on validation.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from calib.config.choices import REASONING_PLACES
from calib.config.prompts import PromptFlowMethod
from calib.data.example import Example, Turn, with_pictures
from calib.interventions.fitting import Fitting
from calib.interventions.intervention import Method
from calib.interventions.prompting import (
    VARIANT_AXIS,
    add_text,
    check_variants,
    fill,
    variant_method,
    variants,
)
from calib.models.load import AnyModel

AXIS = VARIANT_AXIS


def check(config: PromptFlowMethod, vlm: AnyModel, examples: Sequence[Example]) -> None:
    """Raise CalibError for a missing text, a strength that is not the number of a variant, or a
    place whose text the chat template leaves out."""
    check_variants(config, variants(config, vlm, ["check"], REASONING_PLACES), vlm, examples)


def method(fitting: Fitting, config: PromptFlowMethod) -> Method:
    """Both steps, in each wording with the reasoning at each place."""
    available = variants(config, fitting.vlm, ["check"], REASONING_PLACES)
    return variant_method(
        config, available, lambda variant: ReasonThenAnswer(variant.texts["check"], variant.place)
    )


@dataclass(frozen=True)
class ReasonThenAnswer:
    """Reasoning about harm, then the answer."""

    check: str
    """The question about harm; {query} stands for the query."""
    place: str = "turn"
    """Place of the reasoning: an earlier turn, or in the prompt with the query."""
    multi_step: ClassVar[bool] = True

    def next(self, example: Example, responses: Sequence[str]) -> Example | int:
        """The check, then the query with the reasoning."""
        check = fill(self.check, query=example.query)
        if not responses:
            return replace(example, query=check)
        if len(responses) > 1:
            return 1
        if self.place != "turn":
            return add_text(example, responses[0], self.place)
        # The picture belongs to the first turn; the query is then a follow-up about it.
        turn = Turn(check, responses[0], example.picture, example.more_pictures)
        return replace(with_pictures(example, ()), demonstrations=(*example.demonstrations, turn))
