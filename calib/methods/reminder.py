"""Self-reminder: a prompt that reminds the model to be responsible (Xie et al. 2023, Nature Machine
Intelligence 5). VSCBench's released code names a method like it (arXiv 2505.20362).

    prompt = [system: text] + example

Strength is the number of a variant: of a wording in conf/method/reminder.yaml, and of a place
(system prompt, before, after or around the query). 1 is the first wording in the system prompt.

Authors: one sentence before the query and a shorter one after it, both in the user's turn.
Here: one text, by default in the system prompt, where every chat template has a place for it and
mini-internvl was trained to read it; method.place=around repeats it on both sides of the query. The
wordings are ours.
Supervised: no (nothing is fitted).
Searched: wordings and places, on validation.
"""

from collections.abc import Sequence

from calib.config.choices import PROMPT_PLACES
from calib.config.prompts import Worded
from calib.data.example import Example
from calib.interventions.fitting import Fitting
from calib.interventions.intervention import Method, SinglePrompt
from calib.interventions.prompting import (
    VARIANT_AXIS,
    Variant,
    add_text,
    check_variants,
    variant_method,
    variants,
)
from calib.models.load import AnyModel

AXIS = VARIANT_AXIS


def check(config: Worded, vlm: AnyModel, examples: Sequence[Example]) -> None:
    """Raise CalibError for a missing text, a strength that is not the number of a variant, or a
    place whose text the chat template leaves out."""
    check_variants(config, variants(config, vlm, ["text"], PROMPT_PLACES), vlm, examples)


def method(fitting: Fitting, config: Worded) -> Method:
    """The text, in each wording at each place."""

    def flow(variant: Variant) -> SinglePrompt:
        text = variant.texts["text"]
        return SinglePrompt(lambda example: add_text(example, text, variant.place))

    available = variants(config, fitting.vlm, ["text"], PROMPT_PLACES)
    return variant_method(config, available, flow)
