"""The fixture ``random_fitting``: examples of the mini world with random activations."""

import pytest
from fitting_world import answers, world
from random_fitting import RandomFitting

__all__ = ["random_fitting", "world"]


@pytest.fixture(scope="module")
def random_fitting(world, tmp_path_factory):
    """Fitting data with random activations, in a folder of its own."""
    return RandomFitting(
        world.vlm, world.examples, [], answers, tmp_path_factory.mktemp("random_fitting")
    )
