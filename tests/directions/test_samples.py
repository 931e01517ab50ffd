"""Layers without a direction: refused by name, or left out."""

from dataclasses import replace

import torch
from raising import raises
from random_contrasts import unpaired

from calib.directions.samples import at_layers, require_length, separated


def test_a_layer_without_a_direction_is_named():
    vectors = torch.ones(3, 4)
    require_length(vectors, [2, 5, 7], "the shift", "Choose others.")
    vectors[1] = 0
    with raises("no-solution", "the shift", "layer 5", "Choose others."):
        require_length(vectors, [2, 5, 7], "the shift", "Choose others.")


def test_layers_where_the_means_differ_by_rounding_only_are_not_separated():
    both = unpaired()
    positive = both.positive.clone()
    positive[:, 1] += both.negative[:, 1].mean(0) - positive[:, 1].mean(0)
    assert separated(both) == [0, 1]
    assert separated(replace(both, positive=positive)) == [0]
    kept = at_layers(both, [1])
    assert torch.equal(kept.positive, both.positive[:, 1:])
    assert torch.equal(kept.negative, both.negative[:, 1:])
