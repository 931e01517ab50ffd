"""CAA beside nrimsky/CAA, and RepE beside andyzoujm/representation-engineering, on random
activations.

CAA adds multiplier x (mean h_positive - mean h_negative) of one layer to the output of that layer
at every position from the last prompt token on. RepE centres the differences of pairs whose order
is random, takes their first principal component, orients it so that most pairs are separated the
right way round, and adds coefficient x sign x component at every token of a band of layers.
"""

import numpy as np
import pytest
import torch
from composing import composed

from calib.engine.edits import REACH
from calib.methods.steer import method

MULTIPLIERS = [-1.5, -1.0, 0.5, 2.0]


def read(fitting, examples, layer):
    return fitting.activations(examples, [layer])[:, 0].double().numpy()


def edited(intervention, hidden):
    """The activations of one token after each edit, with the edited layers."""
    states = []
    for edit in intervention.edits:
        tensors = [tensor.double()[None, None] for tensor in edit.operator.tensors()]
        state = edit.operator.formula(torch.from_numpy(hidden)[None, None], *tensors)[0, 0]
        states.append((edit.layer, state.numpy()))
    return states


@pytest.mark.parametrize("multiplier", MULTIPLIERS)
def test_caa_adds_the_multiplied_mean_difference(world, random_fitting, multiplier):
    steered = method(random_fitting, composed("sweep", "method=steer").method)
    layer = 3
    unsafe, safe = (read(random_fitting, world.twins(s), layer) for s in ("unsafe", "safe"))
    hidden = np.random.default_rng(0).normal(size=unsafe.shape[1])
    expected = hidden + multiplier * (unsafe.mean(0) - safe.mean(0))
    ((changed, state),) = edited(steered.setting(layer, multiplier).intervention, hidden)
    assert changed == layer
    np.testing.assert_allclose(state, expected, rtol=1e-4, atol=1e-4)


def test_caa_edits_the_last_prompt_token_and_the_response(random_fitting):
    """A mask of position_ids >= the last position of the prompt."""
    steered = method(random_fitting, composed("sweep", "method=steer").method)
    (edit,) = steered.setting(2, 1.0).intervention.edits
    before_the_last, last, generated = REACH[edit.positions]
    assert (before_the_last, last, generated) == (False, True, True)


def test_repe_adds_the_oriented_component_at_all_tokens(world, random_fitting):
    config = composed("sweep", "method=steer_pca").method
    intervention = method(random_fitting, config).setting(None, 0.5).intervention
    assert {edit.positions for edit in intervention.edits} == {"all"}
    width = random_fitting.vlm.width
    hidden = np.random.default_rng(0).normal(size=width)
    states = edited(intervention, hidden)
    assert [layer for layer, _ in states] == [1, 2, 3]
    for layer, state in states:
        unsafe, safe = (read(random_fitting, world.twins(s), layer) for s in ("unsafe", "safe"))
        # Both orders of each pair, which centres the differences exactly.
        differences = np.concatenate([unsafe - safe, safe - unsafe])
        component = np.linalg.svd(differences - differences.mean(0))[2][0]
        right = np.mean(unsafe @ component > safe @ component)
        # Within chance of half of the pairs, the authors' vote and the mean disagree at random.
        vote = np.sign(right - 0.5) if abs(right - 0.5) > 0.1 else None
        added = state - hidden
        assert abs(added @ component) == pytest.approx(np.linalg.norm(added), rel=1e-4)
        gap = abs((unsafe - safe).mean(0) @ component)
        assert np.linalg.norm(added) == pytest.approx(0.5 * gap, rel=1e-3)
        if vote is not None:
            assert np.sign(added @ component) == vote
