"""VTI beside shengliu66/VTI: the direction from two responses per demonstration, and its use.

The authors stack the last-token states of all layers of a demonstration into one row, fit a PCA
with one component to the rows of (truthful minus hallucinated), add the component to the mean row,
cut the sum into layers, and normalise each of them where it is added.
"""

import numpy as np
import torch

from calib.config.method import Sampled
from calib.directions.samples import Samples
from calib.engine.operators import AddByNormKeepingNorm
from calib.methods.vti import method, query_differences, vti_directions

DEMONSTRATIONS, LAYERS, WIDTH = 12, 5, 16


def states(seed, shift=0.0):
    rng = np.random.default_rng(seed)
    return rng.normal(shift, 1.0, (DEMONSTRATIONS, LAYERS, WIDTH)).astype(np.float32)


def their_directions(good, bad):
    """[layers, width] of length 1, by an eigenvector of the covariance instead of an SVD."""
    rows = (good - bad).astype(float).reshape(DEMONSTRATIONS, -1)
    mean = rows.mean(axis=0)
    component = np.linalg.eigh(np.cov(rows, rowvar=False))[1][:, -1]
    scores = (rows - mean) @ component
    if scores[np.argmax(np.abs(scores))] < 0:
        component = -component
    layers = (mean + component).reshape(LAYERS, WIDTH)
    return layers / np.sqrt((layers**2).sum(axis=1, keepdims=True))


def test_the_directions():
    good, bad = states(0, 0.1), states(1)
    ids = [f"demonstration {k}" for k in range(DEMONSTRATIONS)]
    samples = Samples(torch.from_numpy(good), torch.from_numpy(bad), ids, ids, paired=False)
    ours = vti_directions(query_differences(samples)).numpy()
    np.testing.assert_allclose(ours, their_directions(good, bad), atol=1e-5)


def test_the_component_belongs_to_all_layers_together():
    """A component of each layer by itself would have length 1 at every layer."""
    differences = torch.from_numpy(states(2)) * torch.tensor([9.0, 1, 1, 1, 1])[:, None]
    centred = differences - differences.mean(0)  # the mean is 0: only the component is left
    component = their_directions(centred.numpy(), np.zeros_like(centred.numpy()))
    np.testing.assert_allclose(vti_directions(centred).numpy(), component, atol=1e-5)


def test_the_edited_state():
    """alpha 0.8 in their code is strength 0.08 here."""
    alpha, x = 0.8, states(3)[0].astype(float)
    direction = their_directions(states(4), states(5))[2]
    moved = x / np.linalg.norm(x, axis=1, keepdims=True) + 0.1 * alpha * direction
    theirs = moved / np.linalg.norm(moved, axis=1, keepdims=True)
    theirs *= np.linalg.norm(x, axis=1, keepdims=True)
    operator = AddByNormKeepingNorm(torch.from_numpy(direction), 0.1 * alpha)
    tensors = [tensor.double()[None, None] for tensor in operator.tensors()]
    ours = operator.formula(torch.from_numpy(x)[None], *tensors)[0].numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_the_site(random_fitting):
    """A module behind the MLP of every layer, at all tokens."""
    config = Sampled("vti", all_layers_at_once=True, positions="all")
    edits = method(random_fitting, config).setting(None, 0.08).intervention.edits
    assert [(e.layer, e.site, e.positions) for e in edits] == [(k, "mlp", "all") for k in range(6)]
