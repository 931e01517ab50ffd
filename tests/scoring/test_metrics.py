"""The registry of metrics: every metric is declared once, and tables and docs follow from it."""

import csv
from dataclasses import replace
from pathlib import Path

import metric_tables
import pytest
from raising import raises

from calib.scoring.intervals import NO_DATA
from calib.scoring.metrics import (
    DISPLAYS,
    KINDS,
    Metric,
    measure,
    metrics_by_file,
    metrics_of,
    shown_metrics,
    shown_names,
)

ROOT = Path(__file__).parents[2]
METRICS = [metric for metrics in metrics_by_file().values() for metric in metrics]


def test_metrics_have_unique_names_a_definition_and_a_source():
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    assert all(metric.definition and metric.source and metric.measured_on for metric in METRICS)


def test_a_results_file_has_declared_metrics_only():
    with (ROOT / "experiments/all_methods/results.csv").open(encoding="utf-8") as file:
        names = {row["metric"] for row in csv.DictReader(file)}
    declared = {metric.name for metric in METRICS}
    assert {name.removeprefix("paper_").removeprefix("change_") for name in names} <= declared


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_examples_has_its_metrics(kind):
    names = {metric.name for metric in metrics_of(kind)}
    mapped = {f"paper_{metric.name}" for metric in metrics_of(kind) if metric.per_mapping}
    assert names and set(measure(kind, [])) == names | mapped


@pytest.mark.parametrize("display", DISPLAYS)
def test_positions_in_a_table_are_distinct(display):
    for kind in KINDS:
        positions = [metric.shown_in[display] for metric in shown_metrics(display, kind)]
        assert len(set(positions)) == len(positions)
    assert shown_names(display)


def test_tables_show_metrics_in_the_order_of_their_positions():
    assert shown_names("breakdown")[:3] == ("SRA_u", "SRA_s", "SRA")
    assert shown_names("report_parts")[:3] == ("SRA", "SRA_u", "SRA_s")
    assert shown_names("trade_off", "dual_use")[:3] == ("RR_h", "SCR", "DAR_b")


def test_unknown_kinds_and_places_are_refused():
    metric = Metric("M", "share", "calib", ("queries",), lambda slice_: NO_DATA)
    with raises("unknown-name", "'query'", "queries"):
        replace(metric, measured_on=("query",))
    with raises("unknown-name", "'tradeoff'", "trade_off"):
        replace(metric, shown_in={"tradeoff": 1})


def test_the_page_of_metrics_is_up_to_date():
    page = metric_tables.PAGE.read_text(encoding="utf-8")
    assert metric_tables.updated(page) == page, "run python tests/support/metric_tables.py"
