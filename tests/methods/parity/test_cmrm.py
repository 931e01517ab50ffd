"""CMRM beside its paper (arXiv 2410.09047): the shift of the data set, and of one input."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from calib.config.method import Modality
from calib.methods.cmrm import method

BAND = [1, 2, 3]


def shift(fitting, example):
    """State with a grey picture minus state of the text alone. # [layers, width]"""
    grey = replace(example, picture=lambda: Image.new("RGB", example.picture().size, (127,) * 3))
    states = fitting.activations([grey, replace(example, picture=None)], BAND).double().numpy()
    return states[0] - states[1]


@pytest.mark.parametrize("per_example", [True, False])
def test_the_shift_is_subtracted(world, random_fitting, per_example):
    config = Modality("cmrm", layers="middle", all_layers_at_once=True, per_example=per_example)
    example, alpha = world.test_example(), 1.0
    fitted = method(random_fitting, config).setting(None, alpha).intervention
    train = [e for s in ("unsafe", "safe") for e in world.twins(s) if e.picture]
    averaged = [example] if per_example else train
    theirs = -alpha * np.mean([shift(random_fitting, e) for e in averaged], axis=0)
    (edits,) = fitted.edits_for([example])
    assert [edit.layer for edit in edits] == BAND
    for k, edit in enumerate(edits):
        np.testing.assert_allclose(edit.operator.vector.numpy(), theirs[k], atol=1e-5)
