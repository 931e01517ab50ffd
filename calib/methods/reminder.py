"""Self-reminder: a system prompt reminds the model to be responsible (Xie et al. 2023, Nature
Machine Intelligence 5; VSCBench's released code names a method so, arXiv 2505.20362).

    shown = [system: text] + example

The text is ours (conf/method/reminder.yaml). Strength is 1 with the text, 0 without.
"""

from collections.abc import Sequence

from calib.config_prompts import Worded
from calib.data.example import Example
from calib.settings.fitting import Fitting
from calib.settings.method import Method
from calib.settings.prompting import SHOWN, check_shown, with_text, words
from calib.settings.setting import Change, Prompted
from calib.vlm.load import Model


def check(config: Worded, vlm: Model, examples: Sequence[Example]) -> None:
    """Raise CalibError for a missing text or a strength other than 0 and 1."""
    words(config, vlm)
    check_shown(config)


def method(fitting: Fitting, config: Worded) -> Method:
    """The text, shown where the configuration says."""
    text = words(config, fitting.vlm)
    shown = Change(dialogue=Prompted(lambda example: with_text(example, text, config.place)))
    return Method(config.name, SHOWN, [None], lambda layer, strength: shown)
