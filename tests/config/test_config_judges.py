"""Settings of judges: what is refused before anything is loaded or sent."""

import pytest
from composing import composed

from calib.config.judge import ClassifierJudge, LabelRule, LlmJudge
from calib.config.schemas import judge as config_judges
from calib.judges import protocols
from calib.scoring import judged as labels
from calib.util.errors import CalibError

RULE = LabelRule("REJECTION", "refusal")


def test_the_names_that_are_checked_early_are_those_of_the_code():
    # Only the client of a provider can know that a response was blocked.
    assert set(config_judges.LABELS) == set(labels.LABELS) - {"blocked"}
    assert set(config_judges.PROTOCOLS) == set(protocols.PROTOCOLS)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LabelRule("x", "refused"), "judge.labels.label: 'refused'.*'refusal'"),
        (lambda: LabelRule("x", "blocked"), "judge.labels.label: 'blocked'"),
        (lambda: LabelRule("x", "refusal", "unsave"), "judge.labels.safety: 'unsave'.*'unsafe'"),
        (lambda: LabelRule(" ", "refusal"), "pattern of label refusal is empty"),
        (lambda: ClassifierJudge(kind="seq"), "judge.kind: 'seq'"),
        (lambda: ClassifierJudge(dtype="fp16"), "judge.dtype: 'fp16'.*float16"),
        (lambda: ClassifierJudge(batch=0), "judge.batch: 0"),
        (lambda: ClassifierJudge(max_new_tokens=0), "judge.max_new_tokens: 0"),
        (lambda: ClassifierJudge(checkpoint=" ", labels=[RULE]), "judge.checkpoint.*empty"),
        (lambda: ClassifierJudge(checkpoint="m"), "judge.labels is empty.*outputs of m"),
        (
            lambda: ClassifierJudge(checkpoint="m", labels=[LabelRule("(Yes", "refusal")]),
            r"'\(Yes' is no regular expression",
        ),
        (lambda: LlmJudge(protocol="vsc"), "judge.protocol: 'vsc'"),
        (lambda: LlmJudge(models=["a", "a"]), "judge.models.*twice"),
        (lambda: LlmJudge(models=[""]), "judge.models.*empty name"),
        (lambda: LlmJudge(base_url="localhost:8000"), "judge.base_url: 'localhost:8000'.*https"),
        (lambda: LlmJudge(base_url="http://[::1"), "judge.base_url: 'http://.::1' is no address"),
        (lambda: LlmJudge(image=True, protocol="vscbench"), "judge.image.*vscbench judges text"),
        (lambda: LlmJudge(image=True, protocol="dualbench"), "judge.image.*dualbench"),
        (lambda: LlmJudge(temperature=-1), "judge.temperature: -1"),
        (lambda: LlmJudge(max_tokens=0), "judge.max_tokens: 0"),
        (lambda: LlmJudge(concurrency=0), "judge.concurrency: 0"),
        (lambda: LlmJudge(timeout=0), "judge.timeout: 0"),
        (lambda: LlmJudge(retries=-1), "judge.retries: -1"),
        (lambda: LlmJudge(max_requests=0), "judge.max_requests: 0"),
    ],
)
def test_values_that_mean_nothing_are_refused(make, words):
    with pytest.raises(CalibError, match=words):
        make()


def test_a_class_may_have_a_name_that_is_no_regular_expression():
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
    with pytest.raises(CalibError, match="environment variable") as told:
        LlmJudge(**settings)
    assert "secret" not in str(told.value)


def test_rules_can_be_given_on_the_command_line():
    judge = composed(
        "sweep",
        "judge=classifier",
        "judge.checkpoint=somewhere",
        "judge.kind=sequence",
        "judge.labels=[{pattern:REFUSED,label:refusal},{pattern:OK,label:answer,safety:safe}]",
    ).judge
    assert judge.labels == [LabelRule("REFUSED", "refusal"), LabelRule("OK", "answer", "safe")]


def test_the_judges_of_the_papers_are_set_as_their_papers_say():
    vscbench = composed("sweep", "judge=llm_vscbench").judge
    assert (vscbench.models, vscbench.protocol) == (["gpt-4o-mini"], "vscbench")
    assert (vscbench.temperature, vscbench.max_tokens, vscbench.image) == (0.01, 4096, False)
    dualbench = composed("sweep", "judge=llm_dualbench").judge
    assert (len(dualbench.models), dualbench.protocol) == (3, "dualbench")
    assert (dualbench.temperature, dualbench.image) == (0.0, False)
