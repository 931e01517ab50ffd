"""Directions of length 0 are refused before anything is divided by their length."""

import torch
from raising import raises

from calib.directions.samples import require_length


def test_a_layer_without_a_direction_is_named():
    vectors = torch.ones(3, 4)
    require_length(vectors, [2, 5, 7], "the shift", "Choose others.")
    vectors[1] = 0
    with raises("no-solution", "the shift", "layer 5", "Choose others."):
        require_length(vectors, [2, 5, 7], "the shift", "Choose others.")
