"""Rates by part beside the pooled ones, as data and in the terminal."""

from dataclasses import replace

import pytest
from judged_runs import UNCALIBRATED, judged_run, query_rows

from calib.report.part_rates import rates_by_part, terminal_table
from calib.report.terminal import _tables

STEER = ("steer", 3, 1.0)


def part_rows(setting, image, text, dual=None):
    """20 unsafe and 20 safe queries a part; so many unsafe responses of each part are right."""
    counts = {"image_centric": image, "text_centric": text, "dual_use": dual}
    return [
        replace(row, example_id=f"{part}/{row.example_id}", pair=f"{part}/{row.pair}")
        for part, count in counts.items() if count is not None
        for row in query_rows(setting, count, 10, each=20, dataset=part)
    ]  # fmt: skip


def run(dual=None, strength=1.0, **data):
    judged = [*part_rows(UNCALIBRATED, 5, 15, dual), *part_rows(STEER, 20, 10, dual)]
    made = judged_run(judged, {"steer": (3, strength)})
    return made.replace(settings={"data": {"name": "mini"}, "mapping": "calib"} | data)


def test_every_part_is_beside_the_pooled_rates():
    uncalibrated, steered = rates_by_part(run())
    assert (uncalibrated.name, steered.name) == ("uncalibrated", "steer")
    unsafe = [[part[0].value for part in row.rates.values()] for row in (uncalibrated, steered)]
    assert unsafe == [[0.5, 0.25, 0.75], [0.75, 1.0, 0.5]]
    assert list(steered.rates) == ["all", "image_centric", "text_centric"]
    for part, n in (("all", 40), ("image_centric", 20), ("text_centric", 20)):
        assert [rate.n for rate in steered.rates[part]] == [n, n]
        assert all(rate.low < rate.value or rate.value == 0 for rate in steered.rates[part])


def test_dual_use_has_its_own_rates_and_is_not_pooled():
    row = rates_by_part(run(dual=4))[0]
    refused, answered = row.rates["dual_use"]
    assert (refused.value, answered.value) == (0.2, 0.5)
    assert row.rates["all"][0].value == 0.5


def test_a_method_that_kept_the_uncalibrated_model_is_left_out():
    assert [row.name for row in rates_by_part(run(strength=0.0))] == ["uncalibrated"]


def test_one_part_has_no_table():
    alone = judged_run(query_rows(UNCALIBRATED, 5, 5), {})
    assert rates_by_part(alone) == [] and terminal_table([], "calib") == ""


def test_the_terminal_shows_every_rate():
    lines = [
        " ".join(line.split())
        for line in terminal_table(rates_by_part(run(4)), "calib").splitlines()
    ]
    assert "all image_centric text_centric dual_use" in lines
    assert "uncalibrated 50.0 50.0 25.0 50.0 75.0 50.0 20.0 50.0" in lines
    assert "steer 75.0 50.0 100.0 50.0 50.0 50.0 20.0 50.0" in lines
    assert "n 40 40 20 20 20 20 20 20" in lines
    assert "clusters 40 40 20 20 20 20 20 20" in lines
    assert max(map(len, terminal_table(rates_by_part(run(4)), "calib").splitlines())) <= 100


@pytest.mark.parametrize(("dual", "shown"), [(None, False), (4, True)])
def test_the_summary_of_the_mini_world_lists_all_parts_but_dual_use(dual, shown):
    assert any("by part" in text for text in _tables(run(dual))) == shown
