"""CAST beside IBM/activation-steering, on random activations.

The authors centre each pair of suffixes or prompts (pca_pairwise), take the first principal
component, and turn it so that more positive than negative examples lie on its far side. The
condition is cos(h, tanh(c c^T / (c . c) h)) with h the mean over the prompt, and the behaviour
vector is added to all tokens.
"""

from dataclasses import replace

import numpy as np
import pytest
from by_hand import unit
from fitting_world import answers

from calib.config.steering import Steer
from calib.interventions.gates import fit_gate
from calib.methods.conditional import method

CONDITION, BEHAVIOUR = 4, [1, 2]


def pca_pairwise(positive, negative):
    """The authors' direction of pairs. # [pairs, width] twice"""
    centre = (positive + negative) / 2
    both = np.concatenate([positive - centre, negative - centre])
    first = np.linalg.svd(both - both.mean(0))[2][0]
    larger = (positive @ first > negative @ first).mean()
    return first if larger >= 0.5 else -first


@pytest.fixture(scope="module")
def config():
    return Steer(
        "conditional", contrast="responses", estimator="pca", read_positions="response",
        positions="all", gate="cosine", gate_positions="prompt", gate_layers=CONDITION,
        layers=BEHAVIOUR, all_layers_at_once=True,
    )  # fmt: skip


def read(fitting, examples, layer, positions):
    return fitting.activations(examples, [layer], positions)[:, 0].double().numpy()


def similarity(world, fitting, examples):
    pairs = (read(fitting, world.twins(s), CONDITION, "prompt") for s in ("unsafe", "safe"))
    c = pca_pairwise(*pairs)
    hidden = read(fitting, examples, CONDITION, "prompt")
    return np.array([unit(h) @ unit(np.tanh(np.outer(c, c) / (c @ c) @ h)) for h in hidden])


def test_the_condition_is_the_authors_similarity(world, random_fitting, config):
    tested = [*world.twins("unsafe", "test"), *world.twins("safe", "test")]
    gate = fit_gate(random_fitting, config)
    expected = similarity(world, random_fitting, tested)
    np.testing.assert_allclose(gate.scores(tested).numpy(), expected, atol=1e-5)
    assert not gate.trained


def test_threshold_and_side_are_those_of_a_grid_search(world, random_fitting, config):
    """The authors' grid: both sides of thresholds in steps; here in steps of 0.001."""
    shown = [*world.twins("unsafe", "validation"), *world.twins("safe", "validation")]
    unsafe = np.array([example.safety == "unsafe" for example in shown])
    values = similarity(world, random_fitting, shown)

    def f1(opened):
        return 2 * (opened & unsafe).sum() / (opened.sum() + unsafe.sum())

    best = max(
        f1((values > threshold) == smaller)
        for threshold in np.arange(-1, 1, 0.001)
        for smaller in (True, False)
    )
    gate = fit_gate(random_fitting, config)
    assert f1((values >= gate.threshold) == gate.above) >= best - 1e-9


def test_the_behaviour_is_added_to_all_tokens_where_the_condition_is_met(
    world, random_fitting, config
):
    tested = [*world.twins("unsafe", "test"), *world.twins("safe", "test")]
    gate = fit_gate(random_fitting, config)
    met = (similarity(world, random_fitting, tested) >= gate.threshold) == gate.above
    setting = method(random_fitting, config).setting(None, 1.5)
    for edits, is_met in zip(setting.intervention.edits_for(tested), met, strict=True):
        assert [edit.layer for edit in edits] == (BEHAVIOUR if is_met else [])
        for edit in edits:
            assert edit.positions == "all"
            refusing, complying = suffixes(world, random_fitting, edit.layer)
            v = pca_pairwise(refusing, complying)
            gap = np.subtract(*class_means(random_fitting, edit.layer)) @ v
            np.testing.assert_allclose(edit.operator.vector.numpy(), 1.5 * gap * v, atol=1e-4)


def suffixes(world, fitting, layer):
    """Mean activations over refusing and over complying suffixes of each query.

    # [queries, width] twice
    """
    sides = fitting.sides("responses")
    means = []
    for examples, groups in (
        (sides.positive, sides.positive_groups), (sides.negative, sides.negative_groups),
    ):  # fmt: skip
        hidden = read(fitting, examples, layer, "response")
        rows = {g: [k for k, other in enumerate(groups) if other == g] for g in groups}
        means.append(np.stack([hidden[rows[g]].mean(0) for g in dict.fromkeys(groups)]))
    return means


def class_means(fitting, layer):
    """Means over all refusing and over all complying suffixes, which give the unit of strength."""
    sides = fitting.sides("responses")
    return [
        read(fitting, examples, layer, "response").mean(0)
        for examples in (sides.positive, sides.negative)
    ]


def test_suffixes_are_refusals_and_answers_to_the_same_queries(world, random_fitting):
    sides = random_fitting.sides("responses")
    assert set(sides.positive_groups) == set(sides.negative_groups)
    plain = {replace(e, response_prefix="").id for e in sides.positive}
    assert plain <= {example.id for example in world.twins("unsafe")}
    texts = {answer.text for answer in answers(world.twins("unsafe"), "")}
    assert {e.response_prefix for e in sides.positive} & texts
