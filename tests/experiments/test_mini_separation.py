"""The separation of held-out concepts on the second model's card, from made-up activations."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from calib.data.example import Example
from calib.data.mini.second.world import SECOND
from experiments.mini_internvl import separation


def read_made_up(vlm: Any, examples: Sequence[Example]) -> torch.Tensor:
    """Noise, but for block 1, where the parts hold the truth in opposite directions."""
    activations = torch.randn(len(examples), 3, 4, generator=torch.Generator().manual_seed(0))
    for row, example in enumerate(examples):
        sign = 1 if example.dataset == "image_centric" else -1
        activations[row, 1, 0] += 20 * sign * (example.safety == "unsafe")
    return activations


def test_a_part_is_separated_at_the_layer_that_validation_chooses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(separation, "read_activations", read_made_up)
    monkeypatch.setattr(separation, "LIMIT", 40)
    found: Any = separation.separations(None, SECOND)  # type: ignore[arg-type]
    for estimator in separation.ESTIMATORS:
        for fitted_on in separation.PARTS:
            for part in separation.PARTS:
                for kind in ("seen concepts", "held-out concepts"):
                    figure = found.pop(f"AUROC {estimator}, {fitted_on} -> {part} | {kind}")
                    if part == fitted_on:
                        assert figure.value == 1 and figure.low < 1
                    else:  # 0 at block 1, so another one is chosen
                        assert 0.2 < figure.value < 0.8
                    assert figure.n == 40 and 1 < figure.clusters <= 16
    assert not found
