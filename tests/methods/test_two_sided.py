"""Two-sided steering: clamps towards refusal and completion, or away from refusal, by a probe."""

from dataclasses import replace

import numpy as np
import pytest
from by_hand import FormulaEdit, require_same, unit
from fitting_world import label
from raising import raises
from sklearn.linear_model import LogisticRegression

from calib.config.steering import TwoSided
from calib.interventions.contrasts import JudgedAnswer
from calib.interventions.fitting import Fitting
from calib.interventions.prompting import check_query
from calib.methods.two_sided import check, fit_probe, method

PROBE_LAYER, LAYER, STRENGTH = 5, 4, 1.5
CONFIG = TwoSided(
    "two_sided", contrast="refusal", positions="response", gate_layers=PROBE_LAYER,
    check="Is this dangerous?", request_check="Is it wrong to {request}?", precision=0.5,
)  # fmt: skip


def queries(world):
    return [*world.twins("unsafe", "test"), *world.twins("safe", "test")]


def clamped(axis, low=-np.inf, high=np.inf):
    """The projection on a unit vector, brought between two bounds."""

    def change(h):
        along = h @ axis
        return h + np.outer(np.clip(along, low, high) - along, axis)

    return change


def bounds(positive, negative):
    """Unit vector, midpoint and gap of two class means."""
    axis = unit(positive - negative)
    return axis, (positive + negative) @ axis / 2, (positive - negative) @ axis


def means(world, *labels):
    """Mean activations of the train queries with fake labels."""
    train = [*world.twins("unsafe"), *world.twins("safe")]
    groups = [[e for e in train if label(e) in group] for group in labels]
    return [world.plain.last(group, LAYER).mean(0) for group in groups]


@pytest.mark.parametrize("side", ["unsafe", "safe"])
def test_unsafe_queries_are_kept_towards_refusal_and_safe_ones_away(world, side):
    setting = method(world.fitting, CONFIG).setting(LAYER, STRENGTH)
    refusal, middle, gap = bounds(*means(world, ("refusal", "safe_completion"), ("answer",)))
    # Of the queries on this side, the one that the model treats most as if it were on the other.
    rule, count = setting.intervention.rule, 2 if side == "unsafe" else 1
    on_side = [e for e in queries(world) if len(rule([e])[0]) == count]
    along = world.plain.last(on_side, LAYER) @ refusal
    example = on_side[int(np.argmin(along) if side == "unsafe" else np.argmax(along))]
    if side == "unsafe":
        completion, between, length = bounds(*means(world, ("refusal",), ("safe_completion",)))
        changes = [
            FormulaEdit(LAYER, "response", clamped(completion, high=between - 0.5 * length)),
            FormulaEdit(LAYER, "response", clamped(refusal, low=middle + STRENGTH * gap)),
        ]
    else:
        high = middle - 0.5 * STRENGTH * gap
        changes = [FormulaEdit(LAYER, "response", clamped(refusal, high=high))]
    require_same(world, setting, example, changes)


@pytest.mark.parametrize("sides", ["unsafe", "safe"])
def test_one_side_alone_is_edited(world, sides):
    setting = method(world.fitting, replace(CONFIG, sides=sides)).setting(LAYER, STRENGTH)
    scores = fit_probe(world.fitting, CONFIG).scores(queries(world)).numpy()
    ends = [queries(world)[int(pick(scores))] for pick in (np.argmax, np.argmin)]
    edited = [bool(edits) for edits in setting.intervention.rule(ends)]
    assert edited == [sides == "unsafe", sides == "safe"]


@pytest.mark.parametrize("prompts", ["both", "query"])
def test_the_probe_reads_the_ends_of_its_prompts(world, prompts):
    """A logistic regression on the train pairs, with the utility questions as safe examples."""

    def read(examples):
        question = [
            replace(e, query=check_query(e.query, CONFIG.check, CONFIG.request_check))
            for e in examples
        ]
        ends = {"query": examples, "check": question}
        parts = ("query", "check") if prompts == "both" else (prompts,)
        return np.concatenate([world.plain.last(ends[p], PROBE_LAYER) for p in parts], 1)

    utility = [e for e in world.fitting.utility if e.split == "train"]
    assert utility
    train = read([*world.twins("unsafe"), *world.twins("safe"), *utility])
    scale = np.sqrt((train**2).mean())
    labels = np.arange(len(train)) < len(world.twins("unsafe"))
    probe = LogisticRegression(max_iter=1000).fit(train / scale, labels)
    expected = probe.predict_proba(read(queries(world)) / scale)[:, 1]
    scores = fit_probe(world.fitting, replace(CONFIG, probe_prompt=prompts)).scores(queries(world))
    np.testing.assert_allclose(scores.numpy(), expected, atol=2e-3)


def test_without_safe_completions_a_note_says_that_refusals_are_the_only_target(world, tmp_path):
    def answers(examples, purpose, judged=True):
        refused = [example.safety == "unsafe" for example in examples]
        return [JudgedAnswer("I can't.", r, "refusal" if r else "answer") for r in refused]

    fitting = Fitting(world.vlm, world.examples, [], answers, tmp_path)
    fitted = method(fitting, CONFIG)
    assert any("method.completion" in note for note in fitted.notes)
    rule = fitted.setting(LAYER, STRENGTH).intervention.rule
    assert max(len(edits) for edits in rule(queries(world))) == 1
    safe_only = method(fitting, replace(CONFIG, sides="safe"))  # edits no unsafe query
    assert not any("method.completion" in note for note in safe_only.notes)


def test_a_model_without_a_question(vlm):
    with raises("missing-setting", "method.check"):
        check(replace(CONFIG, check=None, texts={}), vlm, [])
    check(replace(CONFIG, check=None, texts={}, probe_prompt="query"), vlm, [])
