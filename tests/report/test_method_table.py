"""The file methods.csv: numbers by hand, empty cells, and names that a spreadsheet would run."""

import csv
from dataclasses import replace

import pytest
from judged_runs import UNCALIBRATED, judged_run, query_rows, question_rows

from calib.report.method_table import COLUMNS, write_methods
from calib.report.ranking import rank_methods
from calib.report.verdict import Effect


def table(tmp_path, judged, settings, **options):
    run = judged_run(judged, settings, **options)
    write_methods(tmp_path / "methods.csv", rank_methods(run))
    with (tmp_path / "methods.csv").open(newline="", encoding="utf-8") as file:
        return {row["method"]: row for row in csv.DictReader(file)}


def test_the_shares_of_responses_that_were_cut(tmp_path):
    key = ("up", 1, 2.0)
    rows = [
        replace(row, truncated=k < 8) for k, row in enumerate(query_rows(key, 36, 36))
    ] + question_rows(key, 40)  # fmt: skip
    judged = [*query_rows(UNCALIBRATED, 20, 36), *question_rows(UNCALIBRATED, 40), *rows]
    up = table(tmp_path, judged, {"up": (1, 2.0)})["up"]
    assert (up["truncated"], up["truncated_utility"]) == ("0.100000", "0.000000")


def test_rows_are_in_order_with_the_numbers_of_the_run(tmp_path):
    judged = [*query_rows(UNCALIBRATED, 20, 36), *question_rows(UNCALIBRATED, 40)]
    for name, unsafe in (("up", 36), ("down", 2), ("=kept", 40)):
        key = (name, 1, -1e-7 if name == "down" else 2.0)
        judged += [*query_rows(key, unsafe, 36), *question_rows(key, 30)]
    settings = {"down": (1, -1e-7), "=kept": (1, 0.0), "up": (1, 2.0)}
    rows = table(tmp_path, judged, settings, prompts=["up"])
    assert list(rows) == ["up", "down", "'=kept"]
    up, down, kept = rows.values()
    assert tuple(up) == COLUMNS
    assert [up[name] for name in ("rank", "rank_low", "rank_high")] == ["1", "1", "1"]
    assert up["verdict"] == Effect.HELPED and down["verdict"] == Effect.LESS_SAFE
    assert float(up["SRA_change"]) == pytest.approx(0.2) and up["SRA_s_change"] == "0.000000"
    assert 0 < float(up["SRA_u_change_low"]) < 0.4 < float(up["SRA_u_change_high"])
    assert (up["strength"], down["strength"], kept["strength"]) == ("2.0", "-1e-07", "0.0")
    assert float(up["utility_change"]) == -0.25 and up["knowledge_change"] == ""
    assert float(up["p_holm"]) < 0.001 and (up["n"], up["clusters"]) == ("80", "40")
    assert (up["settings_searched"], up["settings_tested"]) == ("1", "1")
    assert float(up["best_of_k_by_chance"]) > 0
    assert (up["prompt_only"], down["prompt_only"], up["supervision"]) == ("true", "false", "")
    names = ("rank", "SRA_change", "p_holm", "p_unadjusted", "unclear")
    assert [kept[name] for name in names] == [""] * 5
    assert 0 < float(up["p_unadjusted"]) <= float(up["p_holm"]) and up["unclear"] == ""


def test_rates_that_too_few_clusters_changed_in_are_named(tmp_path):
    judged = [*query_rows(UNCALIBRATED, 20, 36)]
    for name, unsafe, safe in (("few", 20, 32), ("same", 20, 36)):
        judged += query_rows((name, 1, 2.0), unsafe, safe)
    rows = table(tmp_path, judged, dict.fromkeys(("few", "same"), (1, 2.0)))
    assert rows["few"]["verdict"] == Effect.FEW_CHANGED and rows["few"]["unclear"] == "SRA SRA_s"
    assert (rows["few"]["p_unadjusted"], rows["few"]["p_holm"]) == ("0.125000", "0.250000")
    assert rows["same"]["verdict"] == Effect.NO_CHANGE and rows["same"]["unclear"] == ""
