"""The ways of deployment: by method and model, as in the tables of docs/deploying.md."""

import json

import pytest
from deployment_tables import MODELS, PAGE, with_tables
from judged_runs import UNCALIBRATED, judged_run, query_rows
from what_works import OPTIONS, RECORD

from calib import methods
from calib.report.advice import deployment as module
from calib.report.advice.deployment import BIAS, NO_BIAS, WAYS, deployment
from calib.report.ranking import rank_methods
from calib.runs.export import EXPORTED


def verdict_of(method="steer", prompt_only=False, model=None, file=None):
    setting = (method, None if prompt_only else 3, 1.0)
    judged = [*query_rows(UNCALIBRATED, 20, 36), *query_rows(setting, 30, 36)]
    run = judged_run(judged, {method: setting[1:]}, prompts=[method] if prompt_only else [])
    own = {"name": method, "file": file}
    settings = run.settings | {"model": model or {"name": "internvl", "checkpoint": None},
                               "method": own, "methods": {}}  # fmt: skip
    (verdict,) = rank_methods(run.replace(settings=settings))
    return verdict


def is_open(how):
    return not how.startswith("not possible")


def test_the_tables_of_the_page_are_up_to_date():
    text = PAGE.read_text(encoding="utf-8")
    assert text == with_tables(text), (
        "docs/deploying.md is out of date. Run: python tests/support/deployment_tables.py"
    )


def test_a_family_can_be_baked_if_the_test_of_its_export_could():
    assert not set(BIAS) & set(NO_BIAS) and {*BIAS, *NO_BIAS} <= set(MODELS)
    measured = json.loads(RECORD.read_text(encoding="utf-8"))
    baked = {
        OPTIONS.get(family, family): works["baked"] == "yes"
        for family, works in measured.items()
        if OPTIONS.get(family) != "internvl"  # families without an option of their own
    }
    assert {option: option in BIAS for option in baked} == baked
    assert all(option in (*BIAS, *NO_BIAS) for option in baked)


@pytest.mark.parametrize("name", ["caution", "few_shot", "self_check", "combine", "surgical"])
def test_the_report_agrees_with_the_table(name):
    prompt_only = name not in ("combine", "surgical")
    ways = deployment(verdict_of(name, prompt_only))
    table = module.method_ways(name, prompt_only)
    assert list(ways) == list(table) == list(WAYS)
    assert {way: is_open(how) for way, how in ways.items()} == {
        way: text != "no" for way, text in table.items()
    }


def test_only_the_exported_method_has_a_vector():
    vectors = {n for n in methods.names() if module.method_ways(n, False)["baked"] != "no"}
    assert vectors == {EXPORTED}


def test_a_method_under_another_name_has_the_ways_of_its_file():
    ways = deployment(verdict_of("calm", prompt_only=True, file="reminder"))
    assert is_open(ways["prompt"]) and is_open(ways["vLLM"]) and "runs/a" in ways["serve"]


@pytest.mark.parametrize("name", ["vllm", "my_server"])
def test_a_model_behind_an_api_takes_a_prompt_alone(name):
    model = {"name": name, "base_url": "http://localhost:8000/v1"}
    ways = deployment(verdict_of("caution", True, model))
    assert [way for way in WAYS if is_open(ways[way])] == ["prompt", "vLLM"]


def test_a_vision_tower_that_only_calib_reads_closes_vllm(monkeypatch):
    monkeypatch.setattr(module, "exported_method", lambda run: "steer")
    monkeypatch.setattr(module, "chosen_direction", lambda run: None)
    monkeypatch.setattr(module, "require_expressible", lambda direction, name: None)
    model = {"name": "smolvlm_emoji", "checkpoint": "./built/smolvlm_emoji"}
    for verdict in (verdict_of(model=model), verdict_of("caution", True, model)):
        ways = deployment(verdict)
        assert not is_open(ways["vLLM"]) and "any" not in ways["prompt"] + ways["baked"]
    assert is_open(deployment(verdict_of(model=model))["baked"])
    assert module.model_ways("smolvlm_emoji", False)["vLLM"] == "no"


def test_whether_a_vector_can_be_baked_is_said_where_it_is_known(monkeypatch):
    monkeypatch.setattr(module, "exported_method", lambda run: "steer")
    monkeypatch.setattr(module, "chosen_direction", lambda run: None)
    monkeypatch.setattr(module, "require_expressible", lambda direction, name: None)

    def baked(**model):
        return deployment(verdict_of(model=model))["baked"]

    own = baked(name="internvl", checkpoint=None)
    assert "format=baked" in own and "check" not in own
    assert not is_open(baked(name="qwen3_vl", checkpoint="Qwen/Qwen3-VL-8B-Instruct"))
    for other in ({"name": "qwen3_vl", "checkpoint": "Org/Other"},
                  {"name": "internvl", "checkpoint": "Org/Other"},
                  {"name": "org-other", "checkpoint": "Org/Other"}):  # fmt: skip
        assert "checks first" in baked(**other)
