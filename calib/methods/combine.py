"""Combination: a prompt-based and an activation-based method in one row.

    shown = prompt method(example),   edits = activation method(shown)

The activation method is fitted to the plain train examples; what it looks at to decide on an
example (a gate, a caption) it sees in the prompt as it is shown. The prompt method stands at its
first strength, and the combination's layers and strengths are those of the activation method.
"""

from collections.abc import Sequence

from calib import methods
from calib.config_methods import Activation, Combine, Prompting
from calib.data.example import Example
from calib.errors import CalibError
from calib.settings.fitting import Fitting
from calib.settings.method import Method
from calib.settings.setting import Change
from calib.vlm.load import VLM


def check(config: Combine, vlm: VLM, examples: Sequence[Example]) -> None:
    """Raise CalibError unless there is one method of each kind."""
    if not isinstance(config.prompt, Prompting) or not isinstance(config.activation, Activation):
        raise CalibError(
            f"method=combine takes a prompt-based and an activation-based method, not "
            f"{config.prompt.name} and {config.activation.name}. Choose with "
            "method@method.prompt=NAME and method@method.activation=NAME."
        )


def method(fitting: Fitting, config: Combine) -> Method:
    """The activation method's grid under the prompt method."""
    assert isinstance(config.prompt, Prompting)
    prompt = methods.build(fitting, config.prompt)
    activation = methods.build(fitting, config.activation)
    asked = prompt.change(None, config.prompt.strengths[0]).dialogue

    def change(layer: int | None, strength: float) -> Change:
        edited = activation.change(layer, strength)
        return Change(edited.edits, edited.rule, asked)

    return Method(
        config.name,
        activation.axis,
        activation.layers,
        change,
        activation.direction,
        [*prompt.notes, *activation.notes],
    )
