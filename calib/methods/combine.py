"""Combination: a prompt-based and an activation-based method in one row.

    shown = prompt method(example),   edits = activation method(shown)

The activation method is fitted to the plain train examples; what it looks at to decide on an
example (a gate, a caption) it sees in the prompt as it is shown. The prompt method stands at its
first strength, and the combination's layers and strengths are those of the activation method.
"""

from collections.abc import Sequence

from calib import methods
from calib.config.method import Activation, Combine
from calib.config.prompts import PromptFlowMethod, Prompting
from calib.data.example import Example
from calib.interventions.fitting import Fitting
from calib.interventions.intervention import Intervention, Method
from calib.models.load import VLM
from calib.util.errors import CalibError


def check(config: Combine, vlm: VLM, examples: Sequence[Example]) -> None:
    """Raise CalibError unless there is one method of each kind, and its cost can be measured."""
    if not isinstance(config.prompt, Prompting) or not isinstance(config.activation, Activation):
        raise CalibError(
            f"method=combine takes a prompt-based and an activation-based method, not "
            f"{config.prompt.name} and {config.activation.name}. Choose with "
            "method@method.prompt=NAME and method@method.activation=NAME."
        )
    if config.prompt.kl is not None:
        raise CalibError(
            "method.prompt.kl chooses nothing here: the prompt stands at its first strength. Give "
            "method.activation.kl, which counts what both cost."
        )
    by_cost = config.activation.kl is not None or config.activation.layers == "auto"
    if by_cost and isinstance(config.prompt, PromptFlowMethod):
        raise CalibError(
            f"method.activation.kl and layers=auto go by the first token of one prompt, and "
            f"{config.prompt.name} asks several times. Give method.activation.strengths and layers."
        )


def method(fitting: Fitting, config: Combine) -> Method:
    """The activation method's grid under the prompt method."""
    assert isinstance(config.prompt, Prompting)
    prompt = methods.build(fitting, config.prompt)
    activation = methods.build(fitting, config.activation)
    asked = prompt.setting(None, config.prompt.strengths[0]).intervention.prompt_flow

    def change(layer: int | None, strength: float) -> Intervention:
        edited = activation.intervention(layer, strength)
        return Intervention(edited.edits, edited.rule, asked)

    return Method(
        config.name,
        activation.axis,
        activation.layers,
        change,
        activation.direction,
        [*prompt.notes, *activation.notes],
    )
