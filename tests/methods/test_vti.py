"""VTI: the activation is turned towards a direction and keeps its norm."""

import numpy as np
import pytest
from by_hand import FormulaEdit, require_same, unit

from calib.config.method import Activation
from calib.methods.vti import method


def direction(world, layer):
    """unit(mean + first principal component) of the differences."""
    unsafe, safe = (world.plain.last(world.twins(s), layer) for s in ("unsafe", "safe"))
    differences = unsafe - safe
    mean = differences.mean(0)
    component = np.linalg.svd(differences - mean)[2][0]
    return unit(mean + component * np.sign(component @ mean))


@pytest.mark.parametrize("strength", [-0.3, 0.4])
@pytest.mark.parametrize("picture", [True, False])
def test_turned_at_all_layers_and_tokens(world, strength, picture):
    def change(layer):
        turned_to = direction(world, layer)

        def formula(hidden):
            return np.stack(
                [np.linalg.norm(h) * unit(unit(h) + strength * turned_to) for h in hidden]
            )

        return FormulaEdit(layer, "all", formula)

    config = Activation("vti", all_layers_at_once=True, positions="all")
    setting = method(world.fitting, config).setting(None, strength)
    require_same(world, setting, world.test_example(picture), [change(layer) for layer in range(6)])
