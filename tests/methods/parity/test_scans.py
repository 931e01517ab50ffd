"""SCANS beside zouyingcao/SCANS, on random activations.

The authors steer along the unit vector of mean harmful minus mean harmless activations, and choose
its sign by the mean cosine, over layers, of h(closing tag) - h(appended word) with the mean of that
over harmful prompts.
"""

from dataclasses import replace

import numpy as np
from by_hand import unit

from calib.config.steering import Scans
from calib.methods.scans import method, transition_gate

GATE_LAYERS, WORD = [3, 4, 5], "You"


def config(**settings):
    return Scans(
        "scans", layers=[1, 2], all_layers_at_once=True, positions="after_instruction",
        gate_layers=GATE_LAYERS, continuation=WORD, **settings,
    )  # fmt: skip


def read(fitting, examples, layers):
    return fitting.activations(examples, layers).double().numpy()


def similarity(world, fitting, examples):
    def transitions(those):  # [examples, layers, width]
        longer = [replace(example, response_prefix=WORD) for example in those]
        return read(fitting, those, GATE_LAYERS) - read(fitting, longer, GATE_LAYERS)

    reference = transitions(world.twins("unsafe")).mean(0)
    return np.array(
        [
            np.mean([unit(t) @ unit(r) for t, r in zip(transition, reference, strict=True)])
            for transition in transitions(examples)
        ]
    )


def test_the_sign_is_that_of_the_authors_similarity(world, random_fitting):
    tested = [*world.twins("unsafe", "test"), *world.twins("safe", "test")]
    expected = similarity(world, random_fitting, tested)
    threshold = float(np.median(expected))
    settings = config(threshold=threshold)
    gate = transition_gate(random_fitting, settings)
    np.testing.assert_allclose(gate.scores(tested).numpy(), expected, atol=1e-5)
    setting = method(random_fitting, settings).setting(None, 3.5)
    for edits, value in zip(setting.intervention.edits_for(tested), expected, strict=True):
        assert [(edit.layer, edit.positions) for edit in edits] == [
            (1, "after_instruction"), (2, "after_instruction"),
        ]  # fmt: skip
        for edit in edits:
            means = [
                read(random_fitting, world.twins(s), [edit.layer])[:, 0].mean(0)
                for s in ("unsafe", "safe")
            ]
            v, gap = unit(means[0] - means[1]), np.linalg.norm(means[0] - means[1])
            sign = 1 if value >= threshold else -1
            added = sign * 3.5 * gap * v
            np.testing.assert_allclose(edit.operator.vector.numpy(), added, atol=1e-4)
