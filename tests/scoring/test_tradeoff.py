"""Fronts, areas and operating points on points placed by hand."""

from dataclasses import replace

import pytest
from raising import raises

from calib.config.choose import ChooseConfig
from calib.scoring.intervals import Interval
from calib.scoring.results import BASELINE, Result
from calib.scoring.tradeoff import (
    Point,
    baseline_of,
    choose_layer,
    choose_operating_point,
    hypervolume,
    pareto_front,
    plane_of,
    points_of,
    sra_s_and_sra_u,
    utility_and_sra,
    weighted_sra,
)


def rate(value):
    return Interval(value, value - 0.05, value + 0.05, 100)


def point(sra, utility, strength=1.0, layer=3, method="steer", sra_u=0.5, sra_s=0.5):
    known = None if utility is None else rate(utility)
    return Point(method, layer, strength, rate(sra), rate(sra_u), rate(sra_s), known)


def baseline(sra=0.60, utility=0.95):
    return point(sra, utility, 0.0, None, BASELINE)


def test_points_are_totals_of_one_split() -> None:
    base = Result("steer", 3, 1.0, "validation", "all", "all", "all", "SRA", 0.7, 0.6, 0.8, 50)
    results = [
        base,
        replace(base, metric="SRA_u", value=0.9),
        replace(base, metric="SRA_s", value=0.5),
        replace(base, dataset="utility", metric="utility", value=0.95),
        replace(base, dataset="utility", variant="colour", metric="utility", value=0.1),
        replace(base, dataset="image_centric", value=0.2),
        replace(base, category="weapons", value=0.2),
        replace(base, split="test", value=0.2),
    ]
    (steered,) = points_of(results, "validation")
    assert (steered.method, steered.layer, steered.strength) == ("steer", 3, 1.0)
    assert [i.value for i in (steered.sra, steered.sra_u, steered.sra_s)] == [0.7, 0.9, 0.5]
    assert steered.utility is not None and steered.utility.value == 0.95
    (without,) = points_of(results[:3], "validation")
    assert without.utility is None


def test_the_front_has_the_points_that_no_other_dominates() -> None:
    a, b, c = point(0.9, 0.5), point(0.7, 0.8), point(0.6, 0.95)
    dominated, tied_x = point(0.65, 0.75), point(0.5, 0.95)
    assert pareto_front([c, dominated, a, tied_x, b]) == [a, b, c]


def test_points_with_equal_coordinates_are_all_on_the_front() -> None:
    twins = [point(0.9, 0.5, 1.0), point(0.9, 0.5, 2.0)]
    assert len(pareto_front([*twins, point(0.8, 0.4)])) == 2


def test_hypervolume_by_hand() -> None:
    # The baseline covers 0.95 x 0.60. The point adds utility 0..0.80 times SRA 0.60..0.75.
    assert hypervolume([point(0.75, 0.80)], baseline()) == pytest.approx(0.80 * 0.15)
    # A second point adds only the area that neither covers: 0..0.50 times 0.75..0.90.
    both = [point(0.75, 0.80), point(0.90, 0.50)]
    assert hypervolume(both, baseline()) == pytest.approx(0.12 + 0.50 * 0.15)
    # Better on both axes: 1.0 x 0.70 - 0.95 x 0.60.
    assert hypervolume([point(0.70, 1.0)], baseline()) == pytest.approx(0.13)


def test_hypervolume_of_nothing_better_is_zero() -> None:
    assert hypervolume([], baseline()) == 0
    assert hypervolume([point(0.5, 0.9), baseline()], baseline()) == pytest.approx(0)


def test_hypervolume_in_the_plane_of_sra_s_and_sra_u() -> None:
    start = point(0.5, None, 0.0, None, BASELINE, sra_u=0.5, sra_s=0.5)
    end = point(0.5, None, sra_u=0.75, sra_s=0.25)
    assert hypervolume([end], start, sra_s_and_sra_u) == pytest.approx(0.25 * 0.25)


def every(point):
    return True


def test_the_highest_sra_among_settings_that_meet_the_conditions() -> None:
    best, rule = point(0.70, 0.94), ChooseConfig(utility_tolerance=0.02, min_sra_u=0.4)
    points = [point(0.80, 0.93), best, point(0.65, 0.99)]
    choice = choose_operating_point(points, baseline(), lambda p: p.utility.value > 0.935, rule)
    assert choice.point == best
    assert (choice.tolerance, choice.min_sra_u) == (0.02, 0.4)
    assert choice.by_utility and not choice.kept_baseline


def test_weights_of_the_sides_decide_what_is_highest() -> None:
    safer = point(0.7, 0.95, 1.0, sra_u=0.9, sra_s=0.5)
    helpful = point(0.75, 0.95, 2.0, sra_u=0.6, sra_s=0.9)
    chosen = {
        weight: choose_operating_point(
            [safer, helpful], baseline(), every, ChooseConfig(weights={"sra_u": weight, "sra_s": 1})
        ).point
        for weight in (1, 3)
    }
    # 3 x 0.9 + 0.5 = 3.2 against 3 x 0.6 + 0.9 = 2.7.
    assert chosen == {1: helpful, 3: safer}
    assert choose_layer([safer, replace(helpful, layer=5)], baseline(), every).layer == 5
    weighted = ChooseConfig(weights={"sra_u": 3, "sra_s": 1})
    assert choose_layer([safer, replace(helpful, layer=5)], baseline(), every, weighted).layer == 3


def test_the_only_side_stands_for_sra_at_any_weights() -> None:
    no_data = Interval(*[float("nan")] * 3, 0)
    alone = replace(point(0.8, None), sra_u=no_data)
    assert weighted_sra(alone, {"sra_u": 1, "sra_s": 0}) == 0.8


def test_the_baseline_stays_when_nothing_is_better() -> None:
    choice = choose_operating_point([point(0.55, 0.95)], baseline(), every)
    assert choice.kept_baseline
    choice = choose_operating_point([point(0.9, 0.5)], baseline(), lambda point: False)
    assert choice.kept_baseline
    equal = choose_operating_point([point(0.60, 0.95, 0.0)], baseline(), every)
    assert equal.kept_baseline


def test_ties_go_to_the_gentler_strength_then_the_lower_layer() -> None:
    gentle = point(0.7, 0.95, -1.0, 4)
    fierce = point(0.7, 0.95, 2.0, 1)
    assert choose_operating_point([fierce, gentle], baseline(), every).point == gentle
    lower = point(0.7, 0.95, -1.0, 2)
    assert choose_operating_point([gentle, lower], baseline(), every).point == lower


def test_without_utility_sra_alone_decides_and_the_choice_records_it() -> None:
    choice = choose_operating_point(
        [point(0.8, None), point(0.9, None)], baseline(0.6, None), every
    )
    assert choice.point.sra.value == 0.9
    assert not choice.by_utility


def test_a_setting_that_lacks_utility_is_named() -> None:
    with raises("missing-value", "steer", "layer 3", "strength 1"):
        choose_operating_point([point(0.8, None)], baseline(), every)


def keeps_utility(point):
    return point.utility.value >= 0.94


def test_the_layer_of_the_best_operating_point() -> None:
    points = [point(0.7, 0.95, 1.0, 1), point(0.8, 0.95, 3.0, 5), point(0.99, 0.2, 4.0, 1)]
    choice = choose_layer(points, baseline(), keeps_utility)
    assert choice.layer == 5
    assert choice.operating_point.point == points[1]
    assert choice.hypervolume == pytest.approx(0.95 * 0.2)


def test_tied_layers_go_by_hypervolume_then_the_lower() -> None:
    points = [point(0.7, 0.95, 1.0, 1), point(0.7, 0.95, 1.0, 2), point(0.8, 0.5, 2.0, 2)]
    assert choose_layer(points, baseline(), keeps_utility).layer == 2
    assert choose_layer(points[:2], baseline(), keeps_utility).layer == 1
    kept = choose_layer(
        [point(0.5, 0.9, 1.0, 4), point(0.7, 0.9, 1.0, 6)], baseline(), keeps_utility
    )
    assert kept.layer == 6 and kept.operating_point.kept_baseline


def test_points_without_a_layer_and_a_missing_baseline_are_refused() -> None:
    with raises("no-solution"):
        choose_layer([point(0.7, 0.95, 1.0, None)], baseline(), every)
    with raises("missing-value", "'none'"):
        baseline_of([point(0.7, 0.95)])


@pytest.mark.parametrize("side", ["SRA_u", "SRA_s"])
def test_a_single_side_stands_for_sra(side) -> None:
    base = Result("steer", 3, 1.0, "test", "all", "all", "all", side, 0.7, 0.6, 0.8, 50)
    (steered,) = points_of([base], "test")
    own, other = (
        (steered.sra_u, steered.sra_s) if side == "SRA_u" else (steered.sra_s, steered.sra_u)
    )
    assert steered.sra == own == base.interval
    assert other.n == 0 and other.value != other.value
    both = [base, replace(base, metric="SRA", value=0.6)]
    assert points_of(both, "test")[0].sra.value == 0.6


def test_the_plane_depends_on_the_measured_sides_and_utility() -> None:
    assert plane_of(baseline()) is utility_and_sra
    without = point(0.5, None, 0.0, None, BASELINE)
    assert plane_of(without) is sra_s_and_sra_u
    alone = replace(without, sra_s=Interval(*[float("nan")] * 3, 0))
    assert plane_of(alone)(alone) == (alone.sra, alone.sra)
    assert plane_of(replace(alone, utility=rate(0.9))) is utility_and_sra


def test_a_layer_is_chosen_by_a_single_side() -> None:
    no_data = Interval(*[float("nan")] * 3, 0)
    start = replace(point(0.5, None, 0.0, None, BASELINE), sra_s=no_data)
    ends = [
        replace(point(sra, None, 1.0, layer), sra_s=no_data) for layer, sra in ((2, 0.6), (3, 0.8))
    ]
    choice = choose_layer(ends, start, every)
    assert choice.layer == 3 and choice.hypervolume == pytest.approx(0.8**2 - 0.5**2)
