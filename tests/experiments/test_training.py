"""The training loop that the experiments share; their tests resume it with their own tasks."""

import pytest

from experiments.training import schedule


def test_the_learning_rate_warms_up_and_falls_to_a_fiftieth() -> None:
    assert schedule(0, 1000) == pytest.approx(0.01)
    assert schedule(99, 1000) == pytest.approx(1.0)
    assert schedule(550, 1000) == pytest.approx(0.51)
    assert schedule(1000, 1000) == pytest.approx(0.02)
