"""The first principal component of the pairs' differences, over a band."""

import numpy as np
import pytest
from by_hand import FormulaEdit, require_same

from calib.config.method import Steer
from calib.methods.steer_pca import method


@pytest.mark.parametrize("strength", [-1.0, 1.5])
def test_the_component_is_added_at_every_layer_of_the_band(world, strength):
    config = Steer(
        "steer_pca", estimator="pca", layers="middle", all_layers_at_once=True, positions="all"
    )

    def change(layer):
        unsafe, safe = (world.plain.last(world.twins(s), layer) for s in ("unsafe", "safe"))
        both_signs = np.r_[unsafe - safe, safe - unsafe]
        component = np.linalg.eigh(both_signs.T @ both_signs)[1][:, -1]
        difference = (unsafe - safe).mean(0)
        # gap x direction: the component of the difference of means along the principal component.
        return FormulaEdit(
            layer, "all", lambda h: h + strength * (difference @ component) * component
        )

    setting = method(world.fitting, config).setting(None, strength)
    require_same(world, setting, world.test_example(), [change(layer) for layer in (1, 2, 3)])
