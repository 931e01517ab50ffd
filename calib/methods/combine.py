"""Combination of a prompt-based and an activation-based method in one setting.

    prompt = prompt method(example),   edits = activation method(prompt)

The activation method is fitted to the train examples without the prompt. If its edits depend on the
example (a gate, a caption), they are computed from the prompt that the model sees. Strength is that
of the activation method, whose layers and strengths are the grid; the prompt method is used at its
first strength, which is one variant of its wording and place.

Authors: none (a combination of this toolkit).
Here: the prompt's one variant is in every setting of the activation method, so that the difference
to the activation method alone is the effect of the prompt.
Supervised: yes (as the activation method in it; by default steer).
Searched: layers and strengths of the activation method, on validation; one variant of the prompt.
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
    """Raise CalibError unless there is one method of each kind, and its KL can be measured."""
    if not isinstance(config.prompt, Prompting) or not isinstance(config.activation, Activation):
        raise CalibError(
            "invalid-setting",
            f"method=combine takes a prompt-based and an activation-based method, not "
            f"{config.prompt.name} and {config.activation.name}. Choose with "
            "method@method.prompt=NAME and method@method.activation=NAME.",
        )
    if config.prompt.kl is not None:
        raise CalibError(
            "conflicting-settings",
            "method.prompt.kl has no effect: the prompt method is used at its first strength. "
            "Give method.activation.kl, which limits the KL of both methods together.",
        )
    needs_kl = config.activation.kl is not None or config.activation.layers == "auto"
    if needs_kl and isinstance(config.prompt, PromptFlowMethod):
        raise CalibError(
            "conflicting-settings",
            "method.activation.kl and method.activation.layers=auto measure KL at the first token "
            f"of a single prompt, and {config.prompt.name} sends several. Give "
            "method.activation.strengths and method.activation.layers.",
        )


def method(fitting: Fitting, config: Combine) -> Method:
    """The activation method's grid, under the prompt of the prompt method."""
    assert isinstance(config.prompt, Prompting)
    prompt = methods.build(fitting, config.prompt)
    activation = methods.build(fitting, config.activation)
    number = config.prompt.strengths[0]
    prompt_flow = prompt.setting(None, number).intervention.prompt_flow

    def intervention(layer: int | None, strength: float) -> Intervention:
        edited = activation.intervention(layer, strength)
        return Intervention(edited.edits, edited.rule, prompt_flow)

    return Method(
        config.name,
        activation.axis,
        activation.layers,
        intervention,
        activation.direction,
        [*prompt.notes, *activation.notes],
        activation.supervision if activation.supervision != "none" else prompt.supervision,
        demonstrations={k: v for k, v in prompt.demonstrations.items() if k == number},
    )
