"""Activations read through vLLM are those of transformers."""

import pytest
import torch

POSITIONS = ("last_prompt", "last_prompt-1", "instruction_end", "all", "text", "image")


@pytest.mark.parametrize("positions", POSITIONS)
def test_activations_are_equal(world, positions):
    examples = [e for e in world.examples if e.picture or positions != "image"]
    ours, theirs = (reader.read_activations(examples, positions) for reader in world.readers())
    assert theirs.shape == ours.shape == (len(examples), world.vlm.num_layers, world.vlm.width)
    assert (theirs - ours).norm(dim=-1).max() < 1e-4 * ours.norm(dim=-1).min()


def test_activations_of_some_layers(world):
    layers = [world.vlm.num_layers - 1, 1]
    ours, theirs = (
        reader.read_activations(world.examples, layers=layers) for reader in world.readers()
    )
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-3)
