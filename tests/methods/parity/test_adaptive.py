"""AdaSteer beside MuyuenLP/AdaSteer, on random activations.

The authors' code puts class a at 0 and class b at 100: p = (h - mean a) . u / |mean b - mean a| x
100 with u the unit vector from a to b. It adds alpha x (mean a - mean b) of the refusal classes
(a: answered, b: refused) and beta x the harm difference projected onto that vector (a: harmful,
b: harmless), with alpha = clip(slope x (p + offset)), and beta likewise.
"""

import numpy as np
import pytest
from by_hand import unit

from calib.config.steering import Adaptive
from calib.methods.adaptive import method

REFUSAL_LAYER, HARM_LAYER = 1, 4


def percent(hidden, a, b):
    """The authors' projection: 0 at the mean of class a, 100 at that of class b."""
    return 100 * (hidden - a) @ unit(b - a) / np.linalg.norm(b - a)


def means(world, fitting, layer):
    """Means of answered and refused unsafe queries, and of unsafe and safe ones."""

    def mean(examples):
        return fitting.activations(examples, [layer])[:, 0].double().numpy().mean(0)

    answered, refused = (mean(world.twins("unsafe", "train", r)) for r in (False, True))
    return answered, refused, mean(world.twins("unsafe")), mean(world.twins("safe"))


RELEASED = {
    # alpha = clip(0.02 (p + 60), -0.22, -0.08); beta = max(-0.05 (p + 5) - 0.5, -0.75)
    "llama31": (
        lambda p: np.clip(0.02 * (p + 60), -0.22, -0.08),
        lambda p: np.maximum(-0.05 * (p + 5) - 0.5, -0.75),
        {
            "refusal_slope": -2.0, "refusal_offset": -1.1, "refusal_limits": [0.08, 0.22],
            "harm_slope": 5.0, "harm_offset": 0.65, "harm_limits": [-0.75, 1e6],
        },
    ),
    # alpha = clip(0.1 (p - 140), -0.2, 0); beta = clip(-0.06 (p - 50), -0.6, 0.4)
    "qwen25": (
        lambda p: np.clip(0.1 * (p - 140), -0.2, 0.0),
        lambda p: np.clip(-0.06 * (p - 50), -0.6, 0.4),
        {
            "refusal_slope": -10.0, "refusal_offset": 0.9, "refusal_limits": [0.0, 0.2],
            "harm_slope": 6.0, "harm_offset": 0.0, "harm_limits": [-0.6, 0.4],
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("released", RELEASED)
def test_the_released_coefficients_add_the_same_vectors(world, random_fitting, released):
    alpha_of, beta_of, settings = RELEASED[released]
    config = Adaptive(
        "adaptive", all_layers_at_once=True, positions="prompt",
        coefficient_layer=[REFUSAL_LAYER, HARM_LAYER], **settings,
    )  # fmt: skip
    intervention = method(random_fitting, config).setting(None, 1.0).intervention
    tested = [*world.twins("unsafe")[:8], *world.twins("safe")[:8]]
    hidden = random_fitting.activations(tested, [REFUSAL_LAYER, HARM_LAYER]).double().numpy()
    answered, refused, _, _ = means(world, random_fitting, REFUSAL_LAYER)
    alphas = alpha_of(percent(hidden[:, 0], answered, refused))
    _, _, unsafe, safe = means(world, random_fitting, HARM_LAYER)
    betas = beta_of(percent(hidden[:, 1], unsafe, safe))
    assert np.ptp(betas) > 0.1, "all coefficients are clipped"
    for edits, alpha, beta in zip(intervention.edits_for(tested), alphas, betas, strict=True):
        assert [edit.layer for edit in edits] == list(range(6))
        assert {edit.positions for edit in edits} == {"prompt"}
        for edit in edits:
            answered, refused, unsafe, safe = means(world, random_fitting, edit.layer)
            v = answered - refused
            projected = ((unsafe - safe) @ unit(v)) * unit(v)
            assert abs(unit(projected) @ unit(v)) == pytest.approx(1)
            added = alpha * v + beta * projected
            np.testing.assert_allclose(edit.operator.vector.numpy(), added, atol=1e-4)
