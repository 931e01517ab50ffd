"""Refusal Control beside RishabSA/interp-refusal-tokens, on random activations.

The authors take the difference of mean activations, keep its K largest channels, divide it by its
length, and add it at the last token of every step: +alpha for prompts that the probe finds harmful,
a larger negative strength for others. The probe's threshold has the best Youden index.
"""

import numpy as np
import pytest
from fitting_world import refused

from calib.config.steering import Steer
from calib.interventions.gates import fit_gate
from calib.methods.refusal_control import method

LAYER, CHANNELS = 3, 20


def config(**settings):
    return Steer(
        "refusal_control", contrast="refusal", positions="response", gate="probe",
        gate_layers=LAYER, gate_side="above", gate_criterion="youden", otherwise="opposite",
        opposite_ratio=1.5, top_channels=CHANNELS, **settings,
    )  # fmt: skip


def class_means(world, fitting):
    twins = [*world.twins("unsafe"), *world.twins("safe")]
    return [
        fitting.activations([e for e in twins if refused(e) is r], [LAYER])[:, 0]
        .double().numpy().mean(0)
        for r in (True, False)
    ]  # fmt: skip


def sparse(difference):
    kept = np.argsort(-np.abs(difference))[:CHANNELS]
    vector = np.zeros_like(difference)
    vector[kept] = difference[kept]
    return vector / np.linalg.norm(vector)


def test_the_sparse_vector_is_added_at_every_step_with_two_strengths(world, random_fitting):
    tested = [*world.twins("unsafe", "test"), *world.twins("safe", "test")]
    positive, negative = class_means(world, random_fitting)
    v = sparse(positive - negative)
    gap = (positive - negative) @ v
    gate = fit_gate(random_fitting, config())
    opened = gate.open(tested)
    assert 0 < sum(opened) < len(opened)
    setting = method(random_fitting, config()).setting(LAYER, 4.0)
    for (edit,), is_open in zip(setting.intervention.edits_for(tested), opened, strict=True):
        assert (edit.layer, edit.positions) == (LAYER, "response")
        added = edit.operator.vector.numpy()
        np.testing.assert_allclose(added, (4.0 if is_open else -6.0) * gap * v, atol=1e-4)
        assert np.count_nonzero(added) == CHANNELS


def test_the_threshold_has_the_best_youden_index(world, random_fitting):
    gate = fit_gate(random_fitting, config())
    shown = [*world.twins("unsafe", "validation"), *world.twins("safe", "validation")]
    unsafe = np.array([example.safety == "unsafe" for example in shown])
    scores = gate.scores(shown).double().numpy()

    def youden(threshold):
        return (scores[unsafe] >= threshold).mean() - (scores[~unsafe] >= threshold).mean()

    assert gate.above
    assert gate.trained
    assert youden(gate.threshold) == pytest.approx(max(map(youden, scores)))


def test_more_channels_than_the_width_keep_all(world, random_fitting):
    positive, negative = class_means(world, random_fitting)
    wide = Steer("refusal_control", contrast="refusal", top_channels=10_000)
    (edit,) = method(random_fitting, wide).setting(LAYER, 1.0).intervention.edits
    np.testing.assert_allclose(edit.operator.vector.numpy(), positive - negative, atol=1e-4)
