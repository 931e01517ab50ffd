"""ASTRA beside ASTRAL-Group/ASTRA: the reference activation and the hook that removes a direction.

The authors' hook computes, for the last position h of every step, the product of (h - reference)
with the steering vector, divides it by both lengths, clamps it to [0, 1], and subtracts it times
|h| times alpha times the unit vector.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from fitting_world import answers, refused

from calib.config.method import Astra
from calib.methods.astra import method

LAYER = 2
QUESTION = "What can be seen here?"


@pytest.fixture(scope="module")
def fitted(random_fitting):
    config = Astra("astra", contrast="harmful_refusal", positions="response", question=QUESTION)
    return method(random_fitting, config)


def mean(fitting, examples, positions):
    return fitting.activations(examples, [LAYER], positions)[:, 0].double().numpy().mean(axis=0)


def reference(world, fitting):
    """Each answer about a benign picture is averaged over its tokens, then all are averaged."""
    asked = [replace(e, query=QUESTION) for e in world.twins("safe") if e.picture]
    texts = [answer.text for answer in answers(asked, "", False)]
    answered = [replace(e, response_prefix=t) for e, t in zip(asked, texts, strict=True)]
    return mean(fitting, answered, "response")


def steering_vector(world, fitting):
    sides = [[e for e in world.twins("unsafe") if refused(e) is r] for r in (False, True)]
    return mean(fitting, sides[0], "last_prompt") - mean(fitting, sides[1], "last_prompt")


@pytest.mark.parametrize("alpha", [5.0, 7.0, 10.0])
def test_the_edited_state(world, random_fitting, fitted, alpha):
    ref, v = reference(world, random_fitting), steering_vector(world, random_fitting)
    (edit,) = fitted.setting(LAYER, alpha).intervention.edits
    assert (edit.layer, edit.site, edit.positions) == (LAYER, "residual", "response")
    rng = np.random.default_rng(0)
    states = ref + rng.normal(size=(40, len(ref))) + rng.normal(size=(40, 1)) * v
    theirs, coefficients = [], []
    for h in states:
        projection = (h - ref).dot(v) / np.sqrt(((h - ref) ** 2).sum()) / np.sqrt((v**2).sum())
        coefficients.append(np.clip(projection, 0, 1))
        length = coefficients[-1] * np.sqrt((h**2).sum()) * alpha
        theirs.append(h - length * v / np.sqrt((v**2).sum()))
    tensors = [tensor.double()[None, None] for tensor in edit.operator.tensors()]
    ours = edit.operator.formula(torch.from_numpy(states)[None], *tensors)[0].numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert min(coefficients) == 0 < 0.3 < max(coefficients)
