"""Internal Activation Revision beside the recipe of ITI that it builds on (likenneth/honest_llama).

The direction is the mean of one side minus the mean of the other at unit length; sigma is the
standard deviation of all activations' projections on it; alpha sigma theta is added.
"""

import numpy as np
import pytest

from calib.config.method import Revision
from calib.methods import iar_head, iar_layer

LAYERS, HEADS = 6, 4


def revision(unsafe, safe):
    """sigma x theta."""
    theta = unsafe.mean(axis=0) - safe.mean(axis=0)
    theta = theta / np.sqrt((theta**2).sum())
    return np.std(np.concatenate([unsafe, safe]) @ theta) * theta


def states(world, fitting, layer, site):
    return [
        fitting.activations(world.twins(s), [layer], site=site)[:, 0].double().numpy()
        for s in ("unsafe", "safe")
    ]


@pytest.mark.parametrize("alpha", [15.0, -2.0])
def test_a_layer(world, random_fitting, alpha):
    config = Revision("iar_layer", samples="safety", positions="response")
    (edit,) = iar_layer.method(random_fitting, config).setting(3, alpha).intervention.edits
    assert (edit.layer, edit.site, edit.positions) == (3, "residual", "response")
    theirs = alpha * revision(*states(world, random_fitting, 3, "residual"))
    np.testing.assert_allclose(edit.operator.vector.numpy(), theirs, rtol=1e-4, atol=1e-5)


def test_all_heads(world, random_fitting):
    """Each head has a direction and a deviation of its own."""
    config = Revision("iar_head", samples="safety", positions="response", heads=LAYERS * HEADS)
    edits = iar_head.method(random_fitting, config).setting(None, 15.0).intervention.edits
    assert [(e.layer, e.site, e.positions) for e in edits] == [
        (layer, "heads", "response") for layer in range(LAYERS)
    ]
    for edit in edits:
        sides = states(world, random_fitting, edit.layer, "heads")
        per_head = [np.split(side, HEADS, axis=1) for side in sides]
        theirs = np.concatenate([15 * revision(u, s) for u, s in zip(*per_head, strict=True)])
        np.testing.assert_allclose(edit.operator.vector.numpy(), theirs, rtol=1e-4, atol=1e-5)
