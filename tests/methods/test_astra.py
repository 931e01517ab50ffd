"""Adaptive removal: the more of the direction an activation has, the more is removed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from by_hand import FormulaEdit, require_same, unit
from fitting_world import answers
from raising import raises

from calib.config.method import Astra
from calib.interventions.contrasts import JudgedAnswer
from calib.interventions.fitting import Fitting
from calib.methods.astra import check, method

LAYER = 3
QUESTION = "What is this?"


def reference(world, safe=None):
    """Mean over answers of the mean over an answer's tokens."""
    safe = world.twins("safe") if safe is None else safe
    asked = [replace(e, query=QUESTION) for e in safe if e.picture] or safe
    means = []
    for example, answer in zip(asked, answers(asked, "", False), strict=True):
        tokens = world.plain.read(replace(example, response_prefix=answer.text))[LAYER]
        means.append(tokens[len(world.plain.read(example)[LAYER]) :].mean(0))
    return np.mean(means, 0)


def formula(world, strength):
    """h - strength x clip(cos(h - h_ref, v), 0, 1) x |h| x v, with v from refused to answered."""
    refused, answered = (
        world.plain.last(world.twins("unsafe", "train", r), LAYER).mean(0) for r in (True, False)
    )
    v = unit(answered - refused)
    center = reference(world)

    def removed(hidden):
        rows = []
        for h in hidden:
            cosine = (h - center) @ v / np.linalg.norm(h - center)
            rows.append(h - strength * min(max(cosine, 0), 1) * np.linalg.norm(h) * v)
        return np.stack(rows)

    return removed


def moved_shares(world, examples):
    """Length of each example's edit at strength 1, as a share of the activation's norm."""
    hidden = world.plain.last(examples, LAYER)
    moved = formula(world, 1.0)(hidden) - hidden
    return np.linalg.norm(moved, axis=1) / np.linalg.norm(hidden, axis=1)


@pytest.mark.parametrize("strength", [1.0, 7.0])
def test_the_direction_is_removed_by_its_cosine(world, strength):
    tested = world.twins("unsafe", "test")
    example = tested[int(np.argmax(moved_shares(world, tested)))]
    config = Astra("astra", contrast="harmful_refusal", positions="response", question=QUESTION)
    change = FormulaEdit(LAYER, "response", formula(world, strength))
    require_same(world, method(world.fitting, config).setting(LAYER, strength), example, [change])


def test_activations_with_a_negative_cosine_are_unchanged(world):
    tested = [*world.twins("unsafe", "test"), *world.twins("safe", "test")]
    shares = moved_shares(world, tested)
    assert shares.min() == 0
    assert shares.max() > 0.05
    config = Astra("astra", contrast="harmful_refusal", question=QUESTION)
    edit = method(world.fitting, config).setting(LAYER, 7.0).intervention.edits[0]
    hidden = world.plain.last(tested, LAYER)
    tensors = [tensor.double()[None, None] for tensor in edit.operator.tensors()]
    moved = edit.operator.formula(torch.from_numpy(hidden)[None], *tensors)[0].numpy() - hidden
    np.testing.assert_array_equal(moved[shares == 0], 0)


def test_queries_are_answered_where_there_are_no_pictures(world, tmp_path):
    plain = [example for example in world.examples if example.picture is None]
    fitting = Fitting(world.vlm, plain, [], world.fitting.baseline_answers, tmp_path)
    config = Astra("astra", question=QUESTION)
    edit = method(fitting, config).setting(LAYER, 7.0).intervention.edits[0]
    expected = reference(world, [e for e in world.twins("safe") if not e.picture])
    np.testing.assert_allclose(edit.operator.reference.numpy(), expected, atol=1e-4)


def test_empty_answers_are_refused(world, tmp_path):
    def silent(examples, purpose, judged=True):
        return [JudgedAnswer("", None)] * len(examples)

    fitting = Fitting(world.vlm, world.examples, [], silent, tmp_path)
    with raises("too-few", "method=astra", repr(QUESTION), "method.question"):
        method(fitting, Astra("astra", contrast="safety", question=QUESTION))


def test_a_missing_question_is_refused(world):
    with raises("missing-setting", "method=astra", "method.question"):
        check(Astra("astra"), world.vlm, world.examples)
