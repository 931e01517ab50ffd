"""Directional ablation: the refusal direction of one layer is removed at every layer and token."""

import numpy as np
import pytest
from by_hand import FormulaEdit, require_same, unit

from calib.config.method import Ablation
from calib.methods.ablate import method


@pytest.mark.parametrize("strength", [-0.75, 1.0])
@pytest.mark.parametrize("edited", ["all", "upper"])
def test_the_component_is_removed_everywhere(world, strength, edited):
    config = Ablation("ablate", contrast="refusal", positions="all", edited_layers=edited)
    ablated = method(world.fitting, config)
    assert list(ablated.layers) == [0, 1, 2, 3, 4, 5]  # source layers
    direction = unit(world.refusal(2))

    def formula(h):
        return h - strength * np.outer(h @ direction, direction)

    changes = [
        FormulaEdit(layer, "all", formula) for layer in range(0 if edited == "all" else 3, 6)
    ]
    require_same(world, ablated.setting(2, strength), world.test_example(), changes)
