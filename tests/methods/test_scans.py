"""SCANS: the hidden-state transition of one more word decides the sign of the steering."""

from dataclasses import replace

import numpy as np
import pytest
from by_hand import FormulaEdit, require_same, unit
from composing import composed
from raising import raises

from calib.config.steering import Scans
from calib.methods.scans import check, method, transition_gate

LAYERS = (3, 4, 5)


@pytest.fixture(scope="module")
def scores(world):
    """Mean cosine with the mean transition of unsafe queries."""

    continued = {example.id: replace(example, response_prefix="You") for example in world.examples}

    def transitions(examples):  # [examples, layers, width]
        longer = [continued[example.id] for example in examples]
        return np.stack(
            [world.plain.last(examples, k) - world.plain.last(longer, k) for k in LAYERS], 1
        )

    mean = transitions(world.twins("unsafe")).mean(0)

    def of(examples):
        return np.array(
            [
                np.mean([unit(t) @ unit(m) for t, m in zip(transition, mean, strict=True)])
                for transition in transitions(examples)
            ]
        )

    return of


@pytest.fixture
def tested(world):
    return [*world.twins("unsafe", "test"), *world.twins("safe", "test")]


def test_scores_and_decisions_are_those_of_the_formula(world, tested, scores):
    gate, expected = (
        transition_gate(world.fitting, Scans("scans", continuation="You")),
        scores(tested),
    )
    np.testing.assert_allclose(gate.scores(tested).numpy(), expected, atol=1e-5)
    assert gate.above
    assert gate.open(tested) == (expected >= gate.threshold).tolist()


@pytest.mark.parametrize("unsafe", [True, False])
@pytest.mark.parametrize("picture", [True, False])
def test_unsafe_queries_move_towards_refusal_and_safe_ones_away(
    world, tested, scores, unsafe, picture
):
    candidates = [example for example in tested if (example.picture is not None) == picture]
    values = scores(candidates)
    threshold = float(np.median(values))
    example = candidates[int(np.argmax(values) if unsafe else np.argmin(values))]
    sign = 1 if unsafe else -1
    config = Scans(
        "scans", contrast="refusal", layers="middle", all_layers_at_once=True, threshold=threshold,
        continuation="You", positions="after_instruction",
    )  # fmt: skip

    def change(layer):
        return FormulaEdit(
            layer, "after_instruction", lambda h: h + sign * 0.25 * world.refusal(layer)
        )

    setting = method(world.fitting, config).setting(None, 0.25)
    require_same(world, setting, example, [change(layer) for layer in (1, 2, 3)])


def test_a_transition_from_the_end_of_the_instruction(world, tested):
    """The token of the query, and not the template's last one."""
    config = Scans("scans", continuation="You", transition_from="instruction_end")
    from_prompt_end = replace(config, transition_from="last_prompt")
    scores = [transition_gate(world.fitting, c).scores(tested) for c in (config, from_prompt_end)]
    assert not np.allclose(*scores)


def test_a_word_that_the_model_splits_into_letters_is_refused(vlm):
    with raises("invalid-setting", " Sure", "4 tokens", "method.continuation"):
        check(Scans("scans", continuation=" Sure"), vlm, [])


def test_the_default_word_of_mini_internvl_is_one_token(vlm):
    config = composed("sweep", "method=scans").method
    check(config, vlm, [])
    word = config.texts["mini-internvl"]["continuation"]
    assert len(vlm.processor.tokenizer(word, add_special_tokens=False)["input_ids"]) == 1
