"""Self-reminder: a system prompt that reminds the model to be responsible (Xie et al. 2023, Nature
Machine Intelligence 5). VSCBench's released code names a method like it (arXiv 2505.20362).

    prompt = [system: text] + example

Strength is 1 with the text, 0 without it. The text is ours (conf/method/reminder.yaml).
"""

from collections.abc import Sequence

from calib.config.prompts import Worded
from calib.data.example import Example
from calib.interventions.fitting import Fitting
from calib.interventions.intervention import Intervention, Method, SinglePrompt
from calib.interventions.prompting import (
    PROMPT_AXIS,
    add_text,
    check_prompt_strengths,
    prompt_text,
)
from calib.models.load import AnyModel


def check(config: Worded, vlm: AnyModel, examples: Sequence[Example]) -> None:
    """Raise CalibError for a missing text, or a strength other than 0 and 1."""
    prompt_text(config, vlm)
    check_prompt_strengths(config)


def method(fitting: Fitting, config: Worded) -> Method:
    """The text, at ``config.place`` in the prompt."""
    text = prompt_text(config, fitting.vlm)
    flow = SinglePrompt(lambda example: add_text(example, text, config.place))
    return Method(config.name, PROMPT_AXIS, [None], lambda *_: Intervention(prompt_flow=flow))
