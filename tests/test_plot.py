"""calib.plot: which folders it takes, and where it writes."""

import json

import pytest

from calib import plot
from calib.config import PlotConfig
from calib.errors import CalibError
from calib.runs.tables import OPERATING_POINTS_FILE
from calib.scoring.results import BASELINE, Result, write_results


def test_a_folder_without_results_is_no_finished_run(tmp_path) -> None:
    with pytest.raises(CalibError, match="not a finished run of calib.sweep.*run's folder"):
        plot.main(PlotConfig([str(tmp_path)]))


def test_the_home_folder_is_found(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    results = [
        Result(method, layer, strength, split, dataset, "all", "all", metric, 0.5, 0.4, 0.6, 10)
        for method, layer, strength in ((BASELINE, None, 0.0), ("steer", 1, 1.0))
        for split in ("validation", "test")
        for dataset in ("image_centric", "all", "utility")
        for metric in (("utility",) if dataset == "utility" else ("SRA", "SRA_u", "SRA_s"))
    ]  # fmt: skip
    write_results(tmp_path / "run" / "results.csv", "run", "model", results)
    point = {"method": "steer", "layer": 1, "strength": 1.0, "strength_means": "in gap units"}
    (tmp_path / "run" / OPERATING_POINTS_FILE).write_text(json.dumps([point]))
    plot.main(PlotConfig(["~/run"], out="~/figures"))
    assert list((tmp_path / "figures").glob("calibration_against_utility*"))
