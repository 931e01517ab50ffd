"""Settings of gated steering that no gate could use."""

import math

import pytest
from raising import raises

from calib.config.steering import Scans, Steer


@pytest.mark.parametrize("config", [Steer, Scans])
@pytest.mark.parametrize("threshold", [math.nan, math.inf])
def test_a_threshold_that_no_score_can_reach_is_an_error(config, threshold):
    assert config(name="gated", threshold=0.5).threshold == 0.5
    with raises("invalid-setting", "method.threshold", str(threshold)):
        config(name="gated", threshold=threshold)
