"""Methods of other packages, checked when they are built and in every part that is called later."""

from collections.abc import Sequence
from dataclasses import replace
from weakref import WeakValueDictionary

import torch

from calib.config.extensions import Extension
from calib.config.prompts import Calibration, MethodConfig, Prompting
from calib.data.example import Example
from calib.engine.edits import Edit, Edits
from calib.engine.operators import in_float32
from calib.interventions.fitting import Fitting
from calib.interventions.intervention import Intervention, Method, PromptFlow, Rule
from calib.models.load import VLM, AnyModel
from calib.util.field_types import shown, wrong_field


def extension_method(extension: Extension, fitting: Fitting, config: MethodConfig) -> Method:
    """The method that an extension fits, after a trial of its intervention at the first layer and
    on the first example.

    Raises CalibError (invalid-content), naming the extension: its function raises an error, or
    returns no Method, or one with a field of another type, another name than the configuration's,
    or layers that the model does not have. The method does so wherever its intervention, its rule
    or its prompt flow raises an error, or returns what it must not.
    """
    with extension.running("method"):
        method = extension.module.method(fitting, config)
    if not isinstance(method, Method):
        raise extension.wrong(
            f"method returned {shown(method)}, not a calib.interventions.intervention.Method"
        )
    if problem := wrong_field(method):
        raise extension.wrong(f"its Method: {problem}")
    if method.name != config.name:
        raise extension.wrong(
            f"its Method has the name '{method.name}', not that of its settings. Give config.name, "
            f"which is '{config.name}'"
        )
    blocks = fitting.vlm.num_layers if isinstance(fitting.vlm, VLM) else 0
    absent = [n for n in method.layers if n is not None and not 0 <= n < blocks]
    if absent or not method.layers:
        found = f"layer {absent[0]}" if absent else "no layers"
        raise extension.wrong(
            f"its Method has {found}. Give layers from 0 to {blocks - 1}, or [None] for a method "
            "without single layers"
        )
    parts = _Parts(extension, method, fitting.vlm)
    assert isinstance(config, Calibration), "extensions are of Prompting or Activation"
    strength = next((each for each in config.strengths if each), method.axis.default_scale)
    trial = parts.intervention(method.layers[0], strength)
    if isinstance(config, Prompting) and (trial.edits or trial.rule):
        raise extension.wrong(
            "its Intervention edits activations, and its settings are those of a method that "
            "changes the prompt only. Derive them from calib.config.steering.Activation"
        )
    parts.try_out(trial.edits)
    for example in fitting.examples[:1]:  # rather now than after hours of responses
        if trial.rule:
            parts.try_out(trial.rule([example])[0])
        if trial.prompt_flow:
            trial.prompt_flow.next(example, [])
    layers = [None if n is None else int(n) for n in method.layers]  # numpy's cannot be recorded
    return replace(method, layers=layers, intervention=parts.intervention)


class _Parts:
    """The parts of a method that are called later, each with checks of what it returns."""

    def __init__(self, extension: Extension, method: Method, vlm: AnyModel) -> None:
        self._extension, self._method = extension, method
        self._blocks, self._width = (vlm.num_layers, vlm.width) if isinstance(vlm, VLM) else (0, 0)
        self._flows: WeakValueDictionary[int, _CheckedFlow] = WeakValueDictionary()
        """By id() of the flow, which its checked form holds alive: one flow stays one, since its
        prompts are compared by it."""

    def intervention(self, layer: int | None, strength: float) -> Intervention:
        with self._extension.running(f"intervention({layer}, {strength:g})"):
            made = self._method.intervention(layer, strength)
        if not isinstance(made, Intervention):
            raise self._extension.wrong(
                f"intervention({layer}, {strength:g}) returned {shown(made)}, not a "
                "calib.interventions.intervention.Intervention"
            )
        edits = self._edits(made.edits, "its Intervention")
        if made.rule is not None and not callable(made.rule):
            raise self._extension.wrong(f"its Intervention has as rule {shown(made.rule)}")
        rule, flow = made.rule, made.prompt_flow
        multi_step = getattr(flow, "multi_step", None)
        if flow and not (callable(getattr(flow, "next", None)) and isinstance(multi_step, bool)):
            raise self._extension.wrong(
                f"its Intervention has as prompt_flow {shown(flow)}, not one with next(example, "
                "responses) and multi_step, such as SinglePrompt"
            )
        return Intervention(edits, rule and self._rule(rule), flow and self._flow(flow))

    def try_out(self, edits: Edits) -> None:
        """Apply the edits of the residual stream to activations of ones, one by one."""
        for edit in edits:
            if edit.site != "residual":
                continue
            what = f"the operator '{edit.operator.name}' of an Edit"
            with self._extension.running(what):
                tensors = [each.float().cpu() for each in edit.operator.tensors()]
                hidden = torch.ones(1, 1, self._width)
                edited = in_float32(edit.operator.formula, hidden, [t[None, None] for t in tensors])
            if edited.shape != hidden.shape:
                raise self._extension.wrong(
                    f"{what} turns activations {list(hidden.shape)} into {list(edited.shape)}"
                )
            if any(each.isnan().any() for each in tensors):
                raise self._extension.wrong(f"{what} has a tensor with nan")

    def _flow(self, flow: PromptFlow) -> "_CheckedFlow":
        return self._flows.setdefault(id(flow), _CheckedFlow(self._extension, flow))

    def _rule(self, rule: Rule) -> Rule:
        def checked(prompts: Sequence[Example]) -> list[Edits]:
            with self._extension.running("rule"):
                found = list(rule(prompts))
            if len(found) != len(prompts):
                raise self._extension.wrong(
                    f"rule returned the edits of {len(found)} prompts for {len(prompts)}"
                )
            return [self._edits(edits, "rule") for edits in found]

        return checked

    def _edits(self, edits: object, what: str) -> Edits:
        if not isinstance(edits, tuple | list):
            raise self._extension.wrong(f"{what} has as edits {shown(edits)}, not a tuple of Edit")
        for edit in edits:
            if not isinstance(edit, Edit):
                raise self._extension.wrong(f"{what} has as an edit {shown(edit)}, not an Edit")
            problem = wrong_field(edit)
            if problem is None and not 0 <= edit.layer < self._blocks:
                problem = f"layer is {edit.layer}, not one of 0 to {self._blocks - 1}"
            absent = [n for n in ("name", "tensors", "formula") if not hasattr(edit.operator, n)]
            if problem is None and absent:
                problem = f"operator is {shown(edit.operator)}, which has no '{absent[0]}'"
            if problem:
                raise self._extension.wrong(f"{what} has a wrong Edit: {problem}")
        return tuple(edits)


class _CheckedFlow:
    """A prompt flow, with a check of each of its steps."""

    def __init__(self, extension: Extension, flow: PromptFlow) -> None:
        self.multi_step = flow.multi_step
        self._extension, self._flow = extension, flow

    def next(self, example: Example, responses: Sequence[str]) -> Example | int:
        with self._extension.running("prompt_flow.next"):
            step = self._flow.next(example, responses)
        if isinstance(step, Example):
            problem = wrong_field(step)
            if problem is None and step.id != example.id:
                problem = f"id is '{step.id}', not '{example.id}'. Change the example with replace"
        elif isinstance(step, int) and not isinstance(step, bool):
            known = range(len(responses))
            problem = None if step in known else f"it ends with response {step} of {len(responses)}"
        else:
            problem = f"it is {shown(step)}, neither an Example nor the number of a response"
        if problem:
            raise self._extension.wrong(f"a prompt of its prompt_flow: {problem}")
        return step
