"""Settings of judges: invalid ones are refused before anything is loaded or sent."""

import pytest
from composing import composed
from raising import raises

from calib.config.judge import ClassifierJudge, LabelRule, LlmJudge

RULE = LabelRule("REJECTION", "refusal")


@pytest.mark.parametrize(
    ("make", "values"),
    [
        (lambda: LabelRule("x", "refused"), ["judge.labels.label", "'refused'", "'refusal'"]),
        (lambda: LabelRule("x", "blocked"), ["judge.labels.label", "'blocked'"]),
        (lambda: LabelRule("x", "refusal", "unsave"), ["judge.labels.safety", "'unsafe'"]),
        (lambda: LabelRule(" ", "refusal"), ["judge.labels", "refusal"]),
        (lambda: ClassifierJudge(kind="seq"), ["judge.kind", "'seq'"]),
        (lambda: ClassifierJudge(dtype="fp16"), ["judge.dtype", "'fp16'", "float16"]),
        (lambda: ClassifierJudge(batch=0), ["judge.batch", 0]),
        (lambda: ClassifierJudge(max_new_tokens=0), ["judge.max_new_tokens", 0]),
        (lambda: ClassifierJudge(checkpoint=" ", labels=[RULE]), ["judge.checkpoint"]),
        (
            lambda: ClassifierJudge(checkpoint="m", labels=[LabelRule("(Yes", "refusal")]),
            ["judge.labels", "'(Yes'"],
        ),
        (lambda: LlmJudge(protocol="vsc"), ["judge.protocol", "'vsc'"]),
        (lambda: LlmJudge(models=["a", "a"]), ["judge.models", ["a", "a"]]),
        (lambda: LlmJudge(models=[""]), ["judge.models", [""]]),
        (lambda: LlmJudge(base_url="localhost:8000"), ["judge.base_url", "'localhost:8000'"]),
        (lambda: LlmJudge(base_url="http://[::1"), ["judge.base_url", "'http://[::1'"]),
        (lambda: LlmJudge(temperature=-1), ["judge.temperature", -1]),
        (lambda: LlmJudge(max_tokens=0), ["judge.max_tokens", 0]),
        (lambda: LlmJudge(concurrency=0), ["judge.concurrency", 0]),
        (lambda: LlmJudge(timeout=0), ["judge.timeout", 0]),
        (lambda: LlmJudge(retries=-1), ["judge.retries", -1]),
        (lambda: LlmJudge(max_requests=0), ["judge.max_requests", 0]),
    ],
)
def test_invalid_values_are_refused(make, values):
    with raises("invalid-setting", *values):
        make()


@pytest.mark.parametrize("protocol", ["vscbench", "dualbench"])
def test_protocols_for_text_take_no_picture(protocol):
    with raises("conflicting-settings", "judge.image", protocol):
        LlmJudge(image=True, protocol=protocol)


def test_a_classifier_needs_labels():
    with raises("missing-setting", "judge.labels", "m"):
        ClassifierJudge(checkpoint="m")


def test_a_class_name_need_not_be_a_regular_expression():
    ClassifierJudge(checkpoint="m", kind="sequence", labels=[LabelRule("C++ (yes", "refusal")])


@pytest.mark.parametrize(
    "settings",
    [
        {"key_env": "sk-secret-0123"},
        {"base_url": "https://me:sk-secret-0123@example.org/v1"},
        {"base_url": "https://example.org/v1?key=sk-secret-0123"},
    ],
)
def test_a_secret_in_a_setting_is_refused_and_not_repeated(settings):
    with raises("invalid-setting") as refused:
        LlmJudge(**settings)
    assert "secret" not in str(refused.value)


def test_rules_can_be_given_on_the_command_line():
    judge = composed(
        "sweep",
        "judge=classifier",
        "judge.checkpoint=somewhere",
        "judge.kind=sequence",
        "judge.labels=[{pattern:REFUSED,label:refusal},{pattern:OK,label:answer,safety:safe}]",
    ).judge
    assert judge.labels == [LabelRule("REFUSED", "refusal"), LabelRule("OK", "answer", "safe")]


def test_the_judges_of_the_papers_have_the_settings_of_their_papers():
    vscbench = composed("sweep", "judge=llm_vscbench").judge
    assert (vscbench.models, vscbench.protocol) == (["gpt-4o-mini"], "vscbench")
    assert (vscbench.temperature, vscbench.max_tokens, vscbench.image) == (0.01, 4096, False)
    dualbench = composed("sweep", "judge=llm_dualbench").judge
    assert (len(dualbench.models), dualbench.protocol) == (3, "dualbench")
    assert (dualbench.temperature, dualbench.image) == (0.0, False)
