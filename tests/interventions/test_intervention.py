"""Settings and interventions: strength 0 changes nothing, and rules get the prompts."""

import torch

from calib.data.example import Example
from calib.engine.edits import Edit
from calib.engine.operators import Add
from calib.interventions.intervention import (
    BASELINE,
    NO_INTERVENTION,
    Axis,
    Intervention,
    Method,
    SinglePrompt,
)

ALWAYS, SOMETIMES = (Edit(1, Add(torch.ones(4))),), (Edit(2, Add(torch.ones(4))),)
PROMPTS = [Example(str(k), "utility", "any", "any", "test", f"{k}?") for k in range(4)]


def test_strength_0_is_the_uncalibrated_model():
    calls = []

    def intervention(layer, strength):
        calls.append((layer, strength))
        return Intervention(ALWAYS)

    method = Method("steer", Axis("gap units"), [3], intervention)
    zero = method.setting(3, 0)
    assert (zero.method, zero.layer, zero.strength) == ("steer", 3, 0.0)
    assert zero.intervention is NO_INTERVENTION and calls == []
    other = method.setting(3, -2)
    assert (other.method, other.layer, other.strength) == ("steer", 3, -2.0)
    assert type(other.strength) is float
    assert other.intervention.edits == ALWAYS and calls == [(3, -2)]
    assert BASELINE.intervention == NO_INTERVENTION
    assert NO_INTERVENTION.edits_for(PROMPTS) == [()] * 4


def test_edits_of_a_rule_follow_the_edits_of_every_example():
    calls = []

    def rule(examples):
        calls.append(list(examples))
        return [SOMETIMES if int(example.id) % 2 else () for example in examples]

    assert Intervention(ALWAYS).edits_for(PROMPTS) == [ALWAYS] * 4
    assert Intervention(rule=rule).edits_for(PROMPTS) == [(), SOMETIMES, (), SOMETIMES]
    both = Intervention(ALWAYS, rule).edits_for(PROMPTS)
    assert both == [ALWAYS, ALWAYS + SOMETIMES, ALWAYS, ALWAYS + SOMETIMES]
    assert calls == [PROMPTS, PROMPTS]  # one call with all prompts


def test_a_single_prompt_is_rewritten_and_its_response_judged():
    flow = SinglePrompt(lambda example: PROMPTS[int(example.id) + 1])
    assert not flow.multi_step
    assert flow.next(PROMPTS[0], ()) is PROMPTS[1]
    assert flow.next(PROMPTS[0], ("response",)) == 0
