"""ShiftDC beside Renovamen/ShiftDC: prompts with captions, the safety vector and the correction.

The authors ask for a caption in view of the request, put it after the request, and subtract
alpha (m . s / s . s) s, with m the state with the picture minus the state with the caption, from
the last prompt token and every generated token.
"""

from dataclasses import replace

import numpy as np
import pytest
from fitting_world import answers

from calib.config.method import Captioned
from calib.methods.shiftdc import method

BAND = [3, 4, 5]


def captioned(example):
    if example.picture is None:
        return example
    asked = replace(example, query=f"For {example.query} describe this.")
    (caption,) = answers([asked], "caption", False)
    return replace(example, query=f"{example.query} Caption: {caption.text}", picture=None)


def read(fitting, examples):
    return fitting.activations(examples, BAND).double().numpy()


@pytest.mark.parametrize("alpha", [1.0, -0.5])
def test_the_correction(world, random_fitting, alpha):
    config = Captioned(
        "shiftdc",
        layers="upper",
        all_layers_at_once=True,
        positions="response",
        question="For {query} describe this.",
        captioned="{query} Caption: {caption}",
    )
    setting = method(random_fitting, config).setting(None, alpha)
    sides = [list(map(captioned, world.twins(safety))) for safety in ("safe", "unsafe")]
    s = read(random_fitting, sides[0]).mean(axis=0) - read(random_fitting, sides[1]).mean(axis=0)
    tested = [e for e in world.twins("unsafe", "test") if e.picture][:5]
    m = read(random_fitting, tested) - read(random_fitting, list(map(captioned, tested)))
    for example, shift in zip(tested, m, strict=True):
        (edits,) = setting.intervention.edits_for([example])
        assert [(e.layer, e.positions) for e in edits] == [(k, "response") for k in BAND]
        for k, edit in enumerate(edits):
            theirs = -alpha * np.dot(shift[k], s[k]) / np.dot(s[k], s[k]) * s[k]
            np.testing.assert_allclose(edit.operator.vector.numpy(), theirs, atol=1e-5)
