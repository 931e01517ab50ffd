"""Settings of gated steering that no gate could use."""

import math

import pytest
from raising import raises

from calib.config.steering import Scans, Steer, TwoSided


@pytest.mark.parametrize("config", [Steer, Scans])
@pytest.mark.parametrize("threshold", [math.nan, math.inf])
def test_a_threshold_that_no_score_can_reach_is_an_error(config, threshold):
    assert config(name="gated", threshold=0.5).threshold == 0.5
    with raises("invalid-setting", "method.threshold", str(threshold)):
        config(name="gated", threshold=threshold)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("sides", "neither"), ("probe_prompt", "answer"), ("completion", -0.5), ("precision", 1.5)],
)
def test_settings_of_two_sided_out_of_range(setting, value):
    with raises("invalid-setting", f"method.{setting}", value):
        TwoSided(name="two_sided", **{setting: value})
