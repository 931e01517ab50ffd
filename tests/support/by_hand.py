"""A method's formula by hand: activations read, and answers edited, by plain hooks on one row.

Formulas are numpy in float64, from activations to activations. Nothing of the engine, of the
estimators or of the operators takes part.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from naive_loop import Answer, chosen, divergence, hooked, inputs

from calib.engine.request import Request

TOKENS = 8
FAINT = 1e-4
"""KL, in nats, below which nothing is shown: float32 leaves few digits of less."""


@dataclass(frozen=True)
class By:
    """What a formula makes of the activations at a site of a layer."""

    layer: int
    positions: str
    formula: Callable[[np.ndarray], np.ndarray]
    """# [tokens, width] -> [tokens, width] float64"""
    site: str = "residual"


class Plain:
    """The model without the engine: plain forward passes and transformers' own generate."""

    def __init__(self, vlm):
        self.vlm = vlm
        self._read = {}  # by id() and site; holds the examples alive

    @torch.no_grad()
    def read(self, example, site="residual"):
        """The activations of every layer and prompt token. # [layers, tokens, width] float64"""
        if (id(example), site) not in self._read:
            given, found = inputs(self.vlm, replace(example, response_prefix="")), []
            if example.response_prefix:
                words = self.vlm.processor.tokenizer(
                    example.response_prefix, add_special_tokens=False
                )
                begun = torch.tensor([words["input_ids"]])
                given["input_ids"] = torch.cat([given["input_ids"], begun], 1)
                given["attention_mask"] = torch.ones_like(given["input_ids"])
            hooks = [
                hooked(self.vlm, layer, site, lambda hidden: found.append(hidden[0]))
                for layer in range(self.vlm.num_layers)
            ]
            self.vlm.model(**given)
            for hook in hooks:
                hook.remove()
            self._read[id(example), site] = example, torch.stack(found).double().numpy()
        return self._read[id(example), site][1]

    def last(self, examples, layer, site="residual"):
        """The activations of a layer at the last token. # [examples, width]"""
        return np.stack([self.read(example, site)[layer, -1] for example in examples])

    @torch.no_grad()
    def answer(self, example, changes: Sequence[By] = ()) -> Answer:
        """What is said greedily while formulas change activations; those of one site in order."""
        given = inputs(self.vlm, example)
        prompt = given["input_ids"][0]

        def changed(layer, site, hidden):
            found = hidden[0].double().numpy()
            for change in changes:
                if (change.layer, change.site) == (layer, site):
                    where = np.array(change.positions in ("all", "response"))
                    if len(found) == len(prompt):
                        where = chosen(self.vlm, prompt, change.positions).numpy()[:, None]
                    found = np.where(where, change.formula(found), found)
            return torch.from_numpy(found)[None].to(hidden)

        hooks = [
            hooked(self.vlm, *at, lambda hidden, at=at: changed(*at, hidden))
            for at in {(change.layer, change.site) for change in changes}
        ]
        found = self.vlm.model.generate(
            **given,
            max_new_tokens=TOKENS,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
        for hook in hooks:
            hook.remove()
        return Answer(found.sequences[0, len(prompt) :].tolist(), found.logits[0][0].float())


def unit(vector):
    return vector / np.linalg.norm(vector)


def require_same(world, setting, example, changes: Sequence[By]):
    """The setting edits what the formulas change, to the same activations, answer and KL."""
    edits = setting.intervention.edits_for([example])[0]
    assert [(edit.layer, edit.site, edit.positions) for edit in edits] == [
        (change.layer, change.site, change.positions) for change in changes
    ]
    for edit, change in zip(edits, changes, strict=True):
        hidden = world.plain.read(example, edit.site)[edit.layer]
        tensors = [tensor.double()[None, None] for tensor in edit.operator.tensors()]
        found = edit.operator.formula(torch.from_numpy(hidden)[None], *tensors)[0]
        expected = change.formula(hidden)
        near = 1e-5 * np.abs(expected).max()  # tensors of operators are float32
        np.testing.assert_allclose(found.numpy(), expected, atol=near)
    response = world.engine.answer([Request(example, edits)])[0]
    by_hand = world.plain.answer(example, changes)
    apart = divergence(by_hand, world.plain.answer(example))
    assert apart > FAINT, "the formula does next to nothing: a test of it would say nothing"
    np.testing.assert_allclose(response.kl, apart, rtol=1e-3, atol=1e-7)
    assert list(response.tokens) == by_hand.tokens
