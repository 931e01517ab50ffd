"""Which judge a configuration names."""

import pytest

from calib.config.judge import ClassifierJudge, JudgeConfig, LlmJudge
from calib.judges.judge import JudgeInput
from calib.judges.registry import check_judge, choose_judge, sees_pictures
from calib.judges.rule_based import RULES, STRING
from calib.util.errors import CalibError


@pytest.mark.parametrize(
    ("given", "data", "exact", "chosen"),
    [
        ("auto", "mini", True, RULES),
        ("auto", "mini", False, STRING),
        ("auto", "vscbench", True, STRING),
        ("auto", "", False, STRING),
        ("rules", "mini", False, RULES),
        ("string", "mini", True, STRING),
    ],
)
def test_auto_takes_the_exact_judge_where_it_applies(given, data, exact, chosen):
    assert choose_judge(JudgeConfig(given), data, exact) is chosen


@pytest.mark.parametrize(
    ("given", "data", "words"),
    [
        ("strings", "mini", "judge=strings is not known. Did you mean 'string'.*auto, rules, str"),
        ("rules", "vscbench", "judge=rules knows the mini world only, not data=vscbench; use str"),
        ("rules", "", "not a table without run=FOLDER"),
    ],
)
def test_judges_that_do_not_exist_or_do_not_fit(given, data, words):
    for check in (check_judge, lambda *given: choose_judge(*given, True)):
        with pytest.raises(CalibError, match=words):
            check(JudgeConfig(given), data)


def test_models_are_built_by_their_own_modules():
    with pytest.raises(CalibError, match="judge.models is empty"):
        choose_judge(LlmJudge(), "mini", True)
    with pytest.raises(CalibError, match="judge.checkpoint is not given"):
        choose_judge(ClassifierJudge(), "mini", True)
    check_judge(LlmJudge(), "mini")


def test_who_looks_at_pictures():
    assert sees_pictures(LlmJudge(models=["m"], image=True))
    assert not sees_pictures(LlmJudge(models=["m"]))
    assert not sees_pictures(JudgeConfig("string")) and not sees_pictures(ClassifierJudge())


def test_plain_judges_cost_nothing_and_tell_how_many_they_judged():
    from calib.data.mini.examples import load

    example = next(e for e in load(["image_centric"], 2) if e.safety)
    told = []
    said = [JudgeInput(example, "I'm sorry, but I can't help with that.")] * 3
    for judge in (RULES, STRING):
        assert [v.label for v in judge(said, told.append)] == ["refusal"] * 3
        assert not judge.keeps
    assert told == [3, 3]
