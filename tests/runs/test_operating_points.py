"""The selection of the layer and the operating point that a grid is reported at."""

import pytest
from raising import raises

from calib.runs.operating_points import select_operating_point
from calib.scoring.results import BASELINE, Result


def results(method, layer, strength, sra, utility=0.95, split="validation", metric="SRA"):
    place = (method, layer, strength, split)
    rates = [(("all", metric), sra), (("utility", "utility"), utility)]
    return [
        Result(*place, dataset, "all", "all", name, value, value - 0.1, value + 0.1, 50)
        for (dataset, name), value in rates
        if value is not None
    ]


BASE = results(BASELINE, None, 0.0, 0.6)


def test_the_layer_of_the_best_point_is_selected():
    found = [*BASE, *results("steer", 2, 1.0, 0.7), *results("steer", 4, 2.0, 0.8),
             *results("other", 6, 1.0, 0.99)]  # fmt: skip
    layer, choice = select_operating_point(found, "steer")
    assert (layer, choice.point.layer, choice.point.strength) == (4, 4, 2.0)


def test_a_layer_is_selected_even_if_no_setting_is_better():
    layer, choice = select_operating_point([*BASE, *results("steer", 2, 1.0, 0.5)], "steer")
    assert layer == 2 and choice.kept_baseline


def test_a_method_without_layers_has_no_layer():
    layer, choice = select_operating_point(
        [*BASE, *results("reminder", None, 1.0, 0.7)], "reminder"
    )
    assert layer is None and choice.point.method == "reminder"


def test_the_operating_point_is_selected_on_validation():
    better = results("reminder", None, 2.0, 0.9, split="test")
    _, choice = select_operating_point(
        [*BASE, *results("reminder", None, 1.0, 0.7), *better], "reminder"
    )
    assert choice.point.strength == 1.0


@pytest.mark.parametrize("side", ["SRA_u", "SRA_s"])
@pytest.mark.parametrize("utility", [0.95, None])
def test_the_rate_of_the_only_side_stands_for_sra(side, utility):
    found = [
        *results(BASELINE, None, 0.0, 0.6, utility, metric=side),
        *results("steer", 2, 1.0, 0.7, utility, metric=side),
        *results("steer", 3, 1.0, 0.8, utility, metric=side),
    ]
    layer, choice = select_operating_point(found, "steer")
    assert (layer, choice.point.sra.value) == (3, 0.8)


def test_results_without_the_uncalibrated_model_are_refused():
    with raises("missing-value", "'none'"):
        select_operating_point(results("steer", 2, 1.0, 0.7), "steer")
