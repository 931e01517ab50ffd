"""Settings: strength 0 leaves the model alone, and rules see what is shown."""

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
SHOWN = [Example(str(k), "utility", "any", "any", "test", f"{k}?") for k in range(4)]


def test_strength_0_is_the_uncalibrated_model():
    made = []

    def change(layer, strength):
        made.append((layer, strength))
        return Intervention(ALWAYS)

    method = Method("steer", Axis("gap units"), [3], change)
    zero = method.setting(3, 0)
    assert (zero.method, zero.layer, zero.strength) == ("steer", 3, 0.0)
    assert zero.intervention is NO_INTERVENTION and made == []
    other = method.setting(3, -2)
    assert (other.method, other.layer, other.strength) == ("steer", 3, -2.0)
    assert type(other.strength) is float
    assert other.intervention.edits == ALWAYS and made == [(3, -2)]
    assert BASELINE.intervention == NO_INTERVENTION and NO_INTERVENTION.edits_for(SHOWN) == [()] * 4


def test_edits_of_a_rule_come_after_those_of_every_example():
    seen = []

    def rule(examples):
        seen.append(list(examples))
        return [SOMETIMES if int(one.id) % 2 else () for one in examples]

    assert Intervention(ALWAYS).edits_for(SHOWN) == [ALWAYS] * 4
    assert Intervention(rule=rule).edits_for(SHOWN) == [(), SOMETIMES, (), SOMETIMES]
    both = Intervention(ALWAYS, rule).edits_for(SHOWN)
    assert both == [ALWAYS, ALWAYS + SOMETIMES, ALWAYS, ALWAYS + SOMETIMES]
    assert seen == [SHOWN, SHOWN]  # asked once, with all of them


def test_a_dialogue_of_one_step_shows_another_form_and_counts_its_response():
    dialogue = SinglePrompt(lambda example: SHOWN[int(example.id) + 1])
    assert not dialogue.multi_step
    assert dialogue.next(SHOWN[0], ()) is SHOWN[1]
    assert dialogue.next(SHOWN[0], ("said",)) == 0
