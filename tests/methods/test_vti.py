"""VTI: the MLPs' outputs are turned towards a direction and keep their norm."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from by_hand import FormulaEdit, require_same, unit
from raising import raises

from calib.config.method import Sampled
from calib.methods.vti import method, vti_directions

LAYERS, WIDTH = 6, 128


def query_differences(world, samples):
    """Refusals minus answers of each query, or unsafe minus safe. # [queries, layers x width]"""
    if samples == "safety":
        sides = world.twins("unsafe"), world.twins("safe")
        keys = [[e.pair for e in side] for side in sides]
    else:
        contrast = world.fitting.sides("responses")
        sides = contrast.positive, contrast.negative
        keys = [[e.id for e in side] for side in sides]
    means = []
    for side, of in zip(sides, keys, strict=True):
        rows = np.concatenate([world.plain.last(side, layer) for layer in range(LAYERS)], 1)
        means.append({k: rows[[key == k for key in of]].mean(0) for k in of})
    return np.stack([means[0][key] - means[1][key] for key in dict.fromkeys(keys[0])])


def directions(world, samples):
    """Mean plus first principal component over all layers; each layer at length 1."""
    differences = query_differences(world, samples)
    mean = differences.mean(0)
    component = np.linalg.svd(differences - mean, full_matrices=False)[2][0]
    scores = (differences - mean) @ component
    component = component * np.sign(scores[np.abs(scores).argmax()])
    return [unit(part) for part in (mean + component).reshape(LAYERS, WIDTH)]


@pytest.mark.parametrize("strength", [-0.3, 0.4])
@pytest.mark.parametrize(("samples", "picture"), [("safety", True), ("responses", False)])
def test_turned_at_all_layers_and_tokens(world, samples, strength, picture):
    turned_to = directions(world, samples)

    def change(layer):
        def formula(hidden):
            return np.stack(
                [np.linalg.norm(h) * unit(unit(h) + strength * turned_to[layer]) for h in hidden]
            )

        return FormulaEdit(layer, "all", formula, "mlp")

    config = Sampled("vti", samples=samples, all_layers_at_once=True, positions="all")
    setting = method(world.fitting, config).setting(None, strength)
    require_same(
        world, setting, world.test_example(picture), [change(layer) for layer in range(LAYERS)]
    )


def test_pictures_are_turned_away_from(world):
    config = Sampled("vti", samples="modality", all_layers_at_once=True, positions="all")
    edit = method(world.fitting, config).setting(None, 0.1).intervention.edits[3]
    pictured = [e for s in ("unsafe", "safe") for e in world.twins(s) if e.picture]
    plain = [replace(example, picture=None) for example in pictured]
    shift = (world.plain.last(pictured, 3) - world.plain.last(plain, 3)).mean(0)
    assert unit(shift) @ edit.operator.direction.numpy() < -0.5


def test_pairs_without_a_difference_are_refused():
    differences = torch.randn(5, 3, 8, generator=torch.Generator().manual_seed(0))
    differences[:, 1] = 0
    with raises("no-solution", "layer 1", "method.samples"):
        vti_directions(differences)
