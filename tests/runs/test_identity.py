"""One configuration, one folder; one folder, one configuration."""

import dataclasses
import json

import pytest

from calib.config.data import MiniData, UtilityConfig
from calib.config.judge import JudgeConfig
from calib.config.method import Steer
from calib.config.model import ModelConfig
from calib.config.prompts import NoneMethod
from calib.config.sweep import ExtractConfig, GenerationConfig, SweepConfig
from calib.runs.manifest import check_same_run, folder_name, identity_of, read_run
from calib.util.errors import CalibError


@pytest.fixture
def config():
    return SweepConfig(
        model=ModelConfig("internvl"),
        method=Steer(),
        reference=NoneMethod(),
        data=MiniData(),
        utility=UtilityConfig("mini"),
        judge=JudgeConfig("auto"),
    )


NAMES = ("internvl", "steer", "mini")


def test_the_folder_is_fixed_by_the_configuration(config):
    folder = folder_name(NAMES, config)
    assert folder.parent.name == "runs"
    assert folder.name.startswith("internvl-steer-mini-")
    assert len(folder.name.rpartition("-")[2]) == 8
    assert folder == folder_name(NAMES, dataclasses.replace(config))
    assert folder != folder_name(NAMES, dataclasses.replace(config, seed=1))
    assert folder != folder_name(NAMES, dataclasses.replace(config, method=Steer(strengths=[1.0])))


def test_where_and_how_fast_does_not_make_another_run(config):
    elsewhere = dataclasses.replace(
        config, out="somewhere", generation=GenerationConfig(batch_rows=2)
    )
    assert folder_name(NAMES, config) == folder_name(NAMES, elsewhere)
    assert identity_of(config) == identity_of(dataclasses.replace(config, mapping="paper"))
    extract = ExtractConfig(ModelConfig("internvl"), MiniData(), UtilityConfig("mini"))
    assert identity_of(extract) == identity_of(dataclasses.replace(extract, batch_rows=2, out="x"))


def test_new_weights_under_an_old_name_have_a_folder_of_their_own(config):
    assert folder_name(NAMES, config, "abc") == folder_name(NAMES, config, "abc")
    assert folder_name(NAMES, config, "abc") != folder_name(NAMES, config, "def")
    assert folder_name(NAMES, config, "abc") != folder_name(NAMES, config)


@pytest.mark.parametrize("name", ["../../etc", "/root/x", "a b=c", "..", "", "x" * 300, "naïve\n"])
def test_names_cannot_lead_out_of_the_folder(config, name):
    folder = folder_name([name, "steer"], config)
    assert len(folder.parts) == 2
    assert folder.parts[0] == "runs"
    assert not folder.name.startswith(".")
    assert len(folder.name) < 100


def test_a_new_folder_is_claimed_and_the_same_run_comes_back(tmp_path):
    identity = {"config": {"seed": 0, "strengths": (1, 2)}, "model": "abc"}
    check_same_run(tmp_path, identity, {"python": "3.11"})
    check_same_run(tmp_path, identity, {"python": "3.12"})
    run = read_run(tmp_path)
    assert run["identity"] == {"config": {"seed": 0, "strengths": [1, 2]}, "model": "abc"}
    assert run["provenance"] == {"python": "3.11"}


def test_another_run_is_refused_with_what_differs(tmp_path):
    check_same_run(tmp_path, {"config": {"seed": 0, "limit": None}, "model": "abc"}, {})
    before = (tmp_path / "run.json").read_bytes()
    with pytest.raises(CalibError) as caught:
        check_same_run(tmp_path, {"config": {"seed": 1, "limit": 5}, "model": "abc"}, {})
    text = str(caught.value)
    assert str(tmp_path) in text
    assert "config.seed: 0 → 1" in text
    assert "config.limit: null → 5" in text
    assert "model" not in text.split("now):")[1].split("Give")[0]
    assert "out=FOLDER" in text
    assert (tmp_path / "run.json").read_bytes() == before


def test_another_run_that_has_nothing_yet_is_replaced(tmp_path):
    check_same_run(tmp_path, {"seed": 0}, {"python": "3.11"}, unfinished=True)
    check_same_run(tmp_path, {"seed": 1}, {"python": "3.12"}, unfinished=True)
    assert read_run(tmp_path) == {"identity": {"seed": 1}, "provenance": {"python": "3.12"}}
    check_same_run(tmp_path, {"seed": 1}, {"python": "3.13"}, unfinished=True)
    assert read_run(tmp_path)["provenance"] == {"python": "3.12"}
    with pytest.raises(CalibError, match="seed: 1 → 0"):
        check_same_run(tmp_path, {"seed": 0}, {})


def test_a_long_list_of_differences_is_cut(tmp_path):
    check_same_run(tmp_path, {str(k): 0 for k in range(30)}, {})
    with pytest.raises(CalibError, match="and 22 more"):
        check_same_run(tmp_path, {str(k): 1 for k in range(30)}, {})


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(CalibError, match=r"not the folder of a run.*run\.json"):
        read_run(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"identity": 3})])
def test_a_damaged_run_file_is_named(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(CalibError, match=r"run\.json"):
        read_run(tmp_path)
