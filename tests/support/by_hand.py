"""A method's formula by hand: plain hooks on one row read and edit activations.

Formulas are numpy in float64, from activations to activations. No code of the engine, the
estimators or the operators is involved.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from naive_loop import NaiveResponse, divergence, hook_at_site, inputs, position_mask

from calib.engine.request import Request

TOKENS = 8
MIN_KL = 1e-4
"""Smallest KL in nats that a test may compare; float32 has too few digits below."""


@dataclass(frozen=True)
class FormulaEdit:
    """A formula for the activations at a site of a layer."""

    layer: int
    positions: str
    formula: Callable[[np.ndarray], np.ndarray]
    """# [tokens, width] -> [tokens, width] float64"""
    site: str = "residual"


class PlainModel:
    """The model without the engine: plain forward passes and transformers' own ``generate``."""

    def __init__(self, vlm):
        self.vlm = vlm
        self._read = {}  # by id() and site; keeps the examples alive

    @torch.no_grad()
    def read(self, example, site="residual"):
        """Activations of every layer and prompt token. # [layers, tokens, width] float64"""
        if (id(example), site) not in self._read:
            prompt, hidden_states = inputs(self.vlm, replace(example, response_prefix="")), []
            if example.response_prefix:
                prefix = self.vlm.processor.tokenizer(
                    example.response_prefix, add_special_tokens=False
                )
                tokens = torch.tensor([prefix["input_ids"]])
                prompt["input_ids"] = torch.cat([prompt["input_ids"], tokens], 1)
                prompt["attention_mask"] = torch.ones_like(prompt["input_ids"])
            hooks = [
                hook_at_site(self.vlm, layer, site, lambda hidden: hidden_states.append(hidden[0]))
                for layer in range(self.vlm.num_layers)
            ]
            self.vlm.model(**prompt)
            for hook in hooks:
                hook.remove()
            self._read[id(example), site] = example, torch.stack(hidden_states).double().numpy()
        return self._read[id(example), site][1]

    def last(self, examples, layer, site="residual"):
        """Activations of a layer at the last prompt token. # [examples, width] float64"""
        return np.stack([self.read(example, site)[layer, -1] for example in examples])

    @torch.no_grad()
    def respond(self, example, edits: Sequence[FormulaEdit] = ()) -> NaiveResponse:
        """Greedy response while formulas edit activations, in order within a site."""
        prompt = inputs(self.vlm, example)
        tokens = prompt["input_ids"][0]

        def edit_at(layer, site, hidden):
            activations = hidden[0].double().numpy()
            for edit in edits:
                if (edit.layer, edit.site) == (layer, site):
                    mask = np.array(edit.positions in ("all", "response", "after_instruction"))
                    if len(activations) == len(tokens):
                        mask = position_mask(self.vlm, tokens, edit.positions).numpy()[:, None]
                    activations = np.where(mask, edit.formula(activations), activations)
            return torch.from_numpy(activations)[None].to(hidden)

        hooks = [
            hook_at_site(self.vlm, *at, lambda hidden, at=at: edit_at(*at, hidden))
            for at in {(edit.layer, edit.site) for edit in edits}
        ]
        output = self.vlm.model.generate(
            **prompt,
            max_new_tokens=TOKENS,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
        for hook in hooks:
            hook.remove()
        response = output.sequences[0, len(tokens) :].tolist()
        return NaiveResponse(response, output.logits[0][0].float())


def unit(vector):
    """The vector at length 1."""
    return vector / np.linalg.norm(vector)


def require_same(
    world, setting, example, formulas: Sequence[FormulaEdit], relative_tolerance: float = 1e-5
):
    """Require that a setting's edits equal the formulas: same activations, response and KL.

    Activations may differ by ``relative_tolerance`` times the largest of them. The default allows
    for the float32 tensors of operators.
    """
    edits = setting.intervention.edits_for([example])[0]
    assert [(edit.layer, edit.site, edit.positions) for edit in edits] == [
        (formula.layer, formula.site, formula.positions) for formula in formulas
    ]
    for edit, formula in zip(edits, formulas, strict=True):
        hidden = world.plain.read(example, edit.site)[edit.layer]
        tensors = [tensor.double()[None, None] for tensor in edit.operator.tensors()]
        edited = edit.operator.formula(torch.from_numpy(hidden)[None], *tensors)[0]
        expected = formula.formula(hidden)
        tolerance = relative_tolerance * np.abs(expected).max()
        np.testing.assert_allclose(edited.numpy(), expected, atol=tolerance)
    response = world.engine.answer([Request(example, edits)])[0]
    by_hand = world.plain.respond(example, formulas)
    kl = divergence(by_hand, world.plain.respond(example))
    assert kl > MIN_KL, "the formula has almost no effect, so this comparison proves nothing"
    np.testing.assert_allclose(response.kl, kl, rtol=1e-3, atol=1e-7)
    assert list(response.tokens) == by_hand.tokens
