"""Metrics of any judged responses: bounded, in their intervals, blind to order and names."""

import dataclasses
import math

from hypothesis import given
from hypothesis import strategies as st
from property_profiles import share
from property_strategies import broken_texts, judged_rows

from calib.config.choose import ChooseConfig
from calib.scoring.intervals import wilson
from calib.scoring.results import read_results, rounded, write_results
from calib.scoring.score import score
from calib.scoring.tradeoff import (
    Point,
    choose_operating_point,
    hypervolume,
    pareto_front,
    sra_s_and_sra_u,
)

RATES = (
    "SRA", "SRA_u", "SRA_s", "warned_s", "irrelevant", "DAR_b", "DAR_h", "RR_b", "RR_h", "SCR",
    "ORR", "utility", "accuracy_plus", "truncated", "truncated_u", "truncated_s",
)  # fmt: skip
SLACK = 1e-9


def table(rows, mapping="calib"):
    found = score(rows, mapping)
    return {(r.dataset, r.variant, r.category, r.metric): r.interval for r in found}


def close(one, other):
    return all(
        math.isclose(a, b, abs_tol=1e-9) or (math.isnan(a) and math.isnan(b))
        for a, b in zip(one, other, strict=True)
    )


@given(judged_rows, st.sampled_from(["calib", "paper"]))
@share(2)
def test_rates_are_bounded_and_in_their_intervals(rows, mapping):
    for (*_, metric), (value, low, high, n, clusters) in table(rows, mapping).items():
        assert 1 <= clusters <= n
        assert math.isnan(low) == math.isnan(high)
        if not math.isnan(low):
            assert low - SLACK <= value <= high + SLACK
        name = metric.removeprefix("paper_")
        if name in RATES:
            assert 0 <= low <= high <= 1
        elif "delta_IR" in name or name.startswith("change_"):
            largest = 2 if name == "change_delta_IR" else 1
            assert -largest - SLACK <= value <= largest + SLACK
        else:
            assert name in ("KL", "KL_base", "unread") and value >= 0


@given(judged_rows)
def test_rates_are_related_as_the_papers_state(rows):
    values = {key: interval.value for key, interval in table(rows).items()}
    for (*slice_, metric), value in values.items():
        other = {name: values.get((*slice_, name), math.nan) for name in RATES}
        expected = {
            "SRA": (other["SRA_u"] + other["SRA_s"]) / 2,
            "ORR": other["RR_h"] - other["SCR"],
            "delta_IR": other["DAR_b"] - other["DAR_h"],
        }.get(metric, value)
        assert math.isclose(value, expected, abs_tol=1e-12)


@given(judged_rows, st.randoms(use_true_random=False))
def test_the_order_of_rows_is_no_matter(rows, random):
    before = table(rows)
    random.shuffle(rows)
    after = table(rows)
    assert before.keys() == after.keys()
    assert all(close(before[key], after[key]) for key in before)


@given(judged_rows)
def test_names_of_clusters_are_no_matter(rows):
    """New names in the same order: draws are by order of name."""
    renamed = [
        dataclasses.replace(
            row,
            pair=row.pair and f"{row.pair}!",
            concept=row.concept and f"{row.concept}!",
        )
        for row in rows
    ]
    before, after = table(rows), table(renamed)
    assert all(close(before[key], after[key]) for key in before)


@given(judged_rows, st.lists(broken_texts, min_size=2, max_size=2))
def test_results_are_read_as_they_were_written(tmp_path, rows, names):
    variant, category = names
    rows = [dataclasses.replace(row, variant=variant, category=category) for row in rows]
    if "all" in names:
        return
    results = score(rows)
    write_results(tmp_path / "results.csv", "run", "model", results)
    first = (tmp_path / "results.csv").read_bytes()
    (read,) = read_results(tmp_path / "results.csv")
    assert [r.interval.n for r in read.results] == [r.n for r in results]
    if all(name.isprintable() for name in names):
        assert [repr(r) for r in read.results] == [repr(r) for r in rounded(results)]
    write_results(tmp_path / "results.csv", "run", "model", read.results)
    assert (tmp_path / "results.csv").read_bytes() == first


counts = st.tuples(st.integers(0, 9), st.integers(0, 9))
points = st.lists(counts, min_size=1, max_size=8).map(
    lambda pairs: [
        Point("m", k, 1.0 + k, wilson(u, 9), wilson(u, 9), wilson(s, 9), None)
        for k, (u, s) in enumerate(pairs)
    ]
)


@given(points, st.randoms(use_true_random=False))
def test_a_front_dominates_all_points_and_its_area_does_not_depend_on_their_order(points, random):
    front = pareto_front(points, sra_s_and_sra_u)
    for point in points:
        assert any(
            kept.sra_s.value >= point.sra_s.value and kept.sra_u.value >= point.sra_u.value
            for kept in front
        )
    area = hypervolume(points[1:], points[0], sra_s_and_sra_u)
    assert area + 1e-12 >= 0 and area <= 1
    chosen = choose_operating_point(points[1:], points[0], lambda _: True, ChooseConfig()).point
    assert chosen.sra.value == max(point.sra.value for point in points)
    others = points[1:]
    random.shuffle(others)
    assert math.isclose(hypervolume(others, points[0], sra_s_and_sra_u), area, abs_tol=1e-12)
    assert choose_operating_point(others, points[0], lambda _: True, ChooseConfig()).point == chosen
