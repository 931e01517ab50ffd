"""AlphaSteer beside AlphaLab-USTC/AlphaSteer, on random activations.

The authors build P from the last right singular vectors of H_b^T H_b, solve
(P^T H_m^T H_m P + lambda P^T P) Delta = P^T H_m^T R with a pseudo-inverse, and add
strength x h_last P Delta to every prompt token.
"""

import numpy as np
import pytest
from fitting_world import refused

from calib.config.steering import Nullspace
from calib.methods.nullspace import benign_examples, method

SHARE, RIDGE, LAYERS = 0.6, 10.0, [2, 4]


def read(fitting, examples, layer):
    return fitting.activations(examples, [layer])[:, 0].double().numpy()


def steering_matrix(world, fitting, benign, layer):
    benign_rows = read(fitting, benign, layer)
    width = benign_rows.shape[1]
    _, sizes, rows = np.linalg.svd(benign_rows.T @ benign_rows)
    kept = max(int(width * SHARE), int((sizes < 1e-9 * sizes[0]).sum()))
    null = rows[-kept:].T
    projector = null @ null.T
    harmful = read(fitting, world.twins("unsafe"), layer)
    projected = harmful @ projector
    twins = [*world.twins("unsafe"), *world.twins("safe")]
    r = np.subtract(
        *(read(fitting, [e for e in twins if refused(e) is side], layer).mean(0)
          for side in (True, False))
    )  # fmt: skip
    system = projected.T @ projected + RIDGE * projector.T @ projector
    delta = np.linalg.pinv(system) @ projected.T @ np.tile(r, (len(harmful), 1))
    return projector @ delta


@pytest.mark.parametrize("benign", ["varied", "twins"])
def test_the_last_token_decides_what_all_prompt_tokens_get(world, random_fitting, benign):
    config = Nullspace(
        "nullspace", contrast="refusal", layers=LAYERS, all_layers_at_once=True,
        positions="prompt", benign=benign, null_share=SHARE, ridge=RIDGE,
    )  # fmt: skip
    unchanged = benign_examples(random_fitting, benign)
    setting = method(random_fitting, config).setting(None, 0.4)
    tested = [*world.twins("unsafe", "test")[:3], *world.twins("safe", "test")[:3]]
    matrices = {layer: steering_matrix(world, random_fitting, unchanged, layer) for layer in LAYERS}
    for example, edits in zip(tested, setting.intervention.edits_for(tested), strict=True):
        assert [(edit.layer, edit.positions) for edit in edits] == [
            (layer, "prompt") for layer in LAYERS
        ]
        for edit in edits:
            last = read(random_fitting, [example], edit.layer)[0]
            added = 0.4 * last @ matrices[edit.layer]
            np.testing.assert_allclose(edit.operator.vector.numpy(), added, atol=2e-4)
