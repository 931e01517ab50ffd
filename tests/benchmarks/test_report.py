"""Results of a benchmark as CSV."""

import csv

from benchmarks import report


def rows(path):
    with path.open(encoding="utf-8") as file:
        return [tuple(row.values()) for row in csv.DictReader(file)]


def test_an_update_replaces_lines_and_keeps_the_others(tmp_path):
    first = [{"time": "idle", "CPU": 1.1}, {"time": "prompts", "CPU": 1.2}]
    path = report.save("speed", first, {"date": "monday"}, tmp_path)
    second = [{"time": "prompts", "CPU": 1.0}, {"time": "real", "CPU": 5.0}]
    assert report.update("speed", second, {"date": "friday"}, tmp_path) == path
    assert rows(path) == [
        ("idle", "1.100", "monday"),
        ("prompts", "1.000", "friday"),
        ("real", "5.000", "friday"),
    ]
