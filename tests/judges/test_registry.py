"""Choosing the judge that a configuration names, and finding its file."""

import pytest
from raising import raises

from calib.config.judge import ClassifierJudge, JudgeConfig, LlmJudge
from calib.config.model import MINI
from calib.data.mini.examples import load
from calib.judges.judge import JudgeInput, RuleBased
from calib.judges.registry import check_judge, choose_judge, judge_names, sees_pictures
from calib.judges.rules import RULES
from calib.judges.string import STRING


@pytest.mark.parametrize(
    ("name", "data", "checkpoint", "judge"),
    [
        ("auto", "mini", MINI, RULES),
        ("auto", "mini", "another/model", STRING),
        ("auto", "vscbench", MINI, STRING),
        ("auto", "", None, STRING),
        ("rules", "mini", "another/model", RULES),
        ("string", "mini", MINI, STRING),
    ],
)
def test_auto_is_the_exact_judge_for_the_mini_model_in_its_own_world(name, data, checkpoint, judge):
    assert choose_judge(JudgeConfig(name), data, checkpoint) is judge


def test_a_judge_is_a_file_with_build():
    assert {"auto", "classifier", "llm", "rules", "string"} <= set(judge_names())
    assert {"judge", "protocols", "registry"}.isdisjoint(judge_names())


@pytest.mark.parametrize(
    ("name", "data", "code", "values"),
    [
        ("strings", "mini", "unknown-name", ["strings", "'string'", *judge_names()]),
        ("protocols", "mini", "unknown-name", ["protocols"]),
        ("rules", "vscbench", "unsupported", ["judge=rules", "data=vscbench", "judge=string"]),
        ("rules", "", "unsupported", ["judge=rules", "run=FOLDER"]),
    ],
)
def test_unknown_judges_and_judges_of_other_data_are_refused(name, data, code, values):
    with raises(code, *values):
        check_judge(JudgeConfig(name), data)
    with raises(code, *values):
        choose_judge(JudgeConfig(name), data, MINI)


def test_a_configuration_names_the_file_of_its_judge():
    with raises("missing-setting", "judge.models"):
        choose_judge(LlmJudge(name="llm_vscbench"), "mini", MINI)
    with raises("missing-setting", "judge.checkpoint"):
        choose_judge(ClassifierJudge(name="qwen3guard"), "mini", MINI)
    check_judge(LlmJudge(), "mini")
    check_judge(JudgeConfig("auto"), "vscbench")


def test_only_a_language_model_with_image_sees_pictures():
    assert sees_pictures(LlmJudge(models=["m"], image=True))
    assert not sees_pictures(LlmJudge(models=["m"]))
    assert not sees_pictures(JudgeConfig("string")) and not sees_pictures(ClassifierJudge())


def test_rule_based_judges_are_free_and_report_how_many_responses_they_judged():
    example = next(e for e in load(["image_centric"], 2) if e.safety)
    counts = []
    inputs = [JudgeInput(example, "I'm sorry, but I can't help with that.")] * 3
    for judge in (RULES, STRING):
        assert [verdict.label for verdict in judge(inputs, counts.append)] == ["refusal"] * 3
        assert not judge.costly
    assert counts == [3, 3]


def test_without_a_rule_of_its_own_a_judge_never_stops_generation():
    judge = RuleBased("mine", lambda example, response: "answer")
    example = next(e for e in load(["image_centric"], 2) if e.safety)
    assert judge.is_final(example, "I'm sorry, but I can't help with that.") is False
