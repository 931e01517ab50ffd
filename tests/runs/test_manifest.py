"""The manifest: one configuration per folder, and one folder per configuration."""

import dataclasses
import json

import pytest
from raising import raises

from calib.config.data import MiniData, UtilityConfig
from calib.config.engine import VllmChoice
from calib.config.judge import JudgeConfig
from calib.config.method import Steer
from calib.config.model import ModelConfig
from calib.config.prompts import NoneMethod
from calib.config.sweep import ExtractConfig, GenerationConfig, SweepConfig
from calib.runs.manifest import claim_folder, identity_of, read_manifest, run_folder
from calib.runs.preflight import default_folder


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


def test_the_folder_depends_on_the_configuration(config):
    folder = run_folder(NAMES, config)
    assert folder.parent.name == "runs"
    assert folder.name.startswith("internvl-steer-mini-")
    assert len(folder.name.rpartition("-")[2]) == 8
    assert folder == run_folder(NAMES, dataclasses.replace(config))
    assert folder != run_folder(NAMES, dataclasses.replace(config, seed=1))
    assert folder != run_folder(NAMES, dataclasses.replace(config, method=Steer(strengths=[1.0])))


def test_output_folder_and_speed_do_not_identify_a_run(config):
    elsewhere = dataclasses.replace(
        config, out="somewhere", generation=GenerationConfig(batch_rows=2)
    )
    assert run_folder(NAMES, config) == run_folder(NAMES, elsewhere)
    assert identity_of(config) == identity_of(dataclasses.replace(config, mapping="paper"))
    extract = ExtractConfig(ModelConfig("internvl"), MiniData(), UtilityConfig("mini"))
    assert identity_of(extract) == identity_of(dataclasses.replace(extract, batch_rows=2, out="x"))


def test_the_engine_identifies_a_run_and_not_where_it_runs(config):
    vllm = dataclasses.replace(config, engine=VllmChoice())
    for elsewhere in (
        VllmChoice(tensor_parallel=4, gpu_memory_utilization=0.5),
        VllmChoice(
            base_url="http://localhost:8000",
            retries=1,
            hooks=True,
            served_model="alias",
            restart_wait=60,
        ),
    ):
        assert identity_of(vllm) == identity_of(dataclasses.replace(config, engine=elsewhere))
    assert run_folder(NAMES, vllm) != run_folder(NAMES, config)
    bounded = dataclasses.replace(config, engine=VllmChoice(first_token=20))
    assert identity_of(vllm) != identity_of(bounded)


def test_runs_from_before_there_were_engines_are_of_transformers(config, tmp_path):
    before = identity_of(config)
    del before["engine"]
    claim_folder(tmp_path, before, {})
    (tmp_path / "directions").mkdir()
    claim_folder(tmp_path, identity_of(config), {})
    with raises("different-run", "engine"):
        claim_folder(tmp_path, identity_of(dataclasses.replace(config, engine=VllmChoice())), {})


def test_new_weights_of_an_old_name_have_another_folder(config):
    assert run_folder(NAMES, config, "abc") == run_folder(NAMES, config, "abc")
    assert run_folder(NAMES, config, "abc") != run_folder(NAMES, config, "def")
    assert run_folder(NAMES, config, "abc") != run_folder(NAMES, config)


@pytest.mark.parametrize("name", ["../../etc", "/root/x", "a b=c", "..", "", "x" * 300, "naïve\n"])
def test_names_cannot_lead_out_of_the_folder(config, name):
    folder = run_folder([name, "steer"], config)
    assert len(folder.parts) == 2
    assert folder.parts[0] == "runs"
    assert not folder.name.startswith(".")
    assert len(folder.name) < 100


def test_a_new_folder_is_claimed_and_reopened_by_the_same_run(tmp_path):
    identity = {"config": {"seed": 0, "strengths": (1, 2)}, "model": "abc"}
    claim_folder(tmp_path, identity, {"python": "3.11"})
    claim_folder(tmp_path, identity, {"python": "3.12"})
    run = read_manifest(tmp_path)
    assert run["identity"] == {"config": {"seed": 0, "strengths": [1, 2]}, "model": "abc"}
    assert run["provenance"] == {"python": "3.11"}


def finished(folder):
    """Rows in a folder, which protect it."""
    (folder / "rows.jsonl").write_text('{"row": "a"}\n', encoding="utf-8")


def test_another_run_is_refused_with_the_differences(tmp_path):
    claim_folder(tmp_path, {"config": {"seed": 0, "limit": None}, "model": "abc"}, {})
    finished(tmp_path)
    before = (tmp_path / "run.json").read_bytes()
    changes = ("config.seed: 0 → 1", "config.limit: null → 5")
    with raises("different-run", tmp_path, *changes, "out=FOLDER") as caught:
        claim_folder(tmp_path, {"config": {"seed": 1, "limit": 5}, "model": "abc"}, {})
    assert str(caught.value).count("→") == 1 + len(changes) and "abc" not in str(caught.value)
    assert (tmp_path / "run.json").read_bytes() == before


def test_another_fingerprint_is_explained_by_field(tmp_path):
    there = {"weights": "1", "dtype": "float32", "config": {"layers": 3}}
    claim_folder(tmp_path, {"fingerprint": "abc"}, {}, there)
    finished(tmp_path)
    assert read_manifest(tmp_path)["model"] == there
    assert claim_folder(tmp_path, {"fingerprint": "abc"}, {}, there | {"device": "cuda"})
    now = {"weights": "2", "dtype": "float32", "config": {"layers": 4}}
    changes = ("model: config.layers: 3 → 4", "model: weights: 1 → 2")
    with raises("different-run", '"abc" → "def"', *changes) as caught:
        claim_folder(tmp_path, {"fingerprint": "def"}, {}, now)
    assert "dtype" not in str(caught.value)


def test_another_run_without_rows_is_replaced(tmp_path):
    claim_folder(tmp_path, {"seed": 0}, {"python": "3.11"})
    claim_folder(tmp_path, {"seed": 1}, {"python": "3.12"})
    assert read_manifest(tmp_path) == {"identity": {"seed": 1}, "provenance": {"python": "3.12"}}
    claim_folder(tmp_path, {"seed": 1}, {"python": "3.13"})
    assert read_manifest(tmp_path)["provenance"] == {"python": "3.12"}
    (tmp_path / "directions").mkdir()  # fitted directions protect a run too
    with raises("different-run", "seed: 1 → 0"):
        claim_folder(tmp_path, {"seed": 0}, {})


def test_a_long_list_of_differences_is_cut(tmp_path):
    claim_folder(tmp_path, {str(k): 0 for k in range(30)}, {})
    finished(tmp_path)
    with raises("different-run", 22):
        claim_folder(tmp_path, {str(k): 1 for k in range(30)}, {})


def test_a_folder_that_is_no_run(tmp_path):
    with raises("unfinished-run", tmp_path, "run.json"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("content", "code"),
    [("{", "unreadable"), ("[]", "invalid-content"), ('{"identity": 3}', "invalid-content")],
)
def test_a_damaged_run_file_is_named(tmp_path, content, code):
    (tmp_path / "run.json").write_text(content, encoding="utf-8")
    with raises(code, "run.json"):
        read_manifest(tmp_path)


def test_settings_of_an_older_run_have_their_present_names(tmp_path):
    old = {"method": {"name": "steer", "together": False, "closed": "nothing"}}
    new = {"method": {"name": "steer", "all_layers_at_once": False, "otherwise": "nothing"}}
    (tmp_path / "run.json").write_text(
        json.dumps({"identity": old, "provenance": {}}), encoding="utf-8"
    )
    finished(tmp_path)
    assert claim_folder(tmp_path, new, {})["identity"] == new


def test_the_default_folder_is_named_after_the_checkpoint(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert default_folder(config, NAMES, "f") == run_folder(NAMES, config, "f")
    given = dataclasses.replace(config, model=ModelConfig("internvl", checkpoint="Org/Some-Model"))
    assert default_folder(given, NAMES, "f").name.startswith("Some_Model-steer-mini-")
    former = run_folder(NAMES, given, "f")  # as earlier versions named it
    former.mkdir(parents=True)
    assert default_folder(given, NAMES, "f") == former
