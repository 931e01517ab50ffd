"""What the method of an extension returns, checked before any response."""

import gc
import weakref
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from raising import raises

from calib.config.extensions import Extension
from calib.config.steering import Activation
from calib.engine.edits import Edit
from calib.engine.operators import Add
from calib.interventions.extension_methods import extension_method
from calib.interventions.fitting import Fitting
from calib.interventions.intervention import Axis, Intervention, Method, SinglePrompt


@dataclass(frozen=True)
class LastHalf:
    """Leaves out half of the width."""

    name = "last_half"

    def tensors(self):
        return ()

    @staticmethod
    def formula(hidden):
        return hidden[..., : hidden.shape[-1] // 2]


def fitted(vlm, operator, layer=1):
    def method(fitting, config):
        edits = (Edit(1, operator, "response"),)
        return Method("push", Axis("in units"), [layer], lambda *_: Intervention(edits))

    module = ModuleType("my_package.push")
    module.method = method
    extension = Extension("push", module, Activation, "The entry point push")
    return extension_method(extension, Fitting(vlm, [], [], None, Path()), Activation("push"))


@pytest.mark.parametrize("operator, value", [
    (Add(torch.zeros(5)), "size"),
    (Add(np.zeros(5)), "float"),
    (Add, "tensors"),
    (Add(torch.tensor([torch.nan])), "nan"),
    (LastHalf(), "last_half"),
])  # fmt: skip
def test_an_operator_that_the_model_cannot_apply(vlm, operator, value):
    with raises("invalid-content", "The entry point push", value):
        fitted(vlm, operator)


def test_numbers_of_numpy_as_layers_are_recorded_as_plain_ones(vlm):
    assert [type(layer) for layer in fitted(vlm, Add(torch.zeros(1)), np.int64(1)).layers] == [int]


def test_the_prompts_of_settings_that_are_no_longer_used_are_forgotten(vlm):
    """A server builds a setting for each strength that requests give."""
    made = []

    def intervention(layer, strength):
        flow = SinglePrompt(lambda example: example)
        made.append(weakref.ref(flow))
        return Intervention(prompt_flow=flow)

    module = ModuleType("my_package.push")
    module.method = lambda *_: Method("push", Axis("in units"), [None], intervention)
    extension = Extension("push", module, Activation, "The entry point push")
    method = extension_method(extension, Fitting(vlm, [], [], None, Path()), Activation("push"))
    used = method.intervention(None, 1.0)
    for strength in range(2, 5):
        method.intervention(None, strength)
    gc.collect()
    assert [flow() is not None for flow in made[-4:]] == [True, False, False, False]
    assert used.prompt_flow is not None
