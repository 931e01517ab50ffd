"""Null-space steering moves unsafe activations towards refusal, and safe activations hardly."""

import numpy as np
import pytest
from by_hand import FormulaEdit, require_same
from raising import raises

from calib.config.steering import Nullspace
from calib.methods.nullspace import benign_examples, check, method


def matrix(world, layer, null_share, ridge, benign=()):
    """P Delta as a full matrix. # [width, width]"""
    unsafe = world.plain.last(world.twins("unsafe"), layer)
    safe = world.plain.last([*world.twins("safe"), *benign], layer)
    width = safe.shape[1]
    values, vectors = np.linalg.eigh(safe.T @ safe)  # smallest first
    null = vectors[:, : max(round(null_share * width), int((values < 1e-9 * values[-1]).sum()))]
    projector = null @ null.T
    inside = unsafe @ projector
    target = np.tile(world.refusal(layer), (len(unsafe), 1))
    solved = np.linalg.solve(inside.T @ inside + ridge * np.eye(width), inside.T @ target)
    return projector @ solved


# 30 safe train queries span 30 of 128 channels: a null share of 0.6 lies outside of that span, 0.9
# overlaps with it.
@pytest.mark.parametrize("null_share", [0.6, 0.9])
@pytest.mark.parametrize("ridge", [10.0, 200.0])
@pytest.mark.parametrize("strength", [-2.0, 2.0])
def test_all_prompt_tokens_get_the_last_ones_product_with_the_full_matrix(
    world, null_share, ridge, strength
):
    config = Nullspace(
        "nullspace", contrast="refusal", layers=[3, 4], all_layers_at_once=True,
        null_share=null_share, ridge=ridge, benign="twins", positions="prompt",
    )  # fmt: skip
    example = world.test_example()

    def change(layer):
        last = world.plain.last([example], layer)[0]
        added = strength * last @ matrix(world, layer, null_share, ridge)
        return FormulaEdit(layer, "prompt", lambda h: h + added)

    setting = method(world.fitting, config).setting(None, strength)
    require_same(world, setting, example, [change(3), change(4)])


def test_varied_benign_prompts_are_safe_train_examples_and_utility_questions_of_train(world):
    benign = benign_examples(world.fitting, "varied")
    expected = [e for e in world.examples if (e.safety, e.split) == ("safe", "train")]
    questions = [e for e in world.fitting.utility if e.split == "train"]
    assert questions
    assert {e.id for e in benign} == {e.id for e in [*expected, *questions]}
    assert len(benign) == len(expected) + len(questions)
    twins = benign_examples(world.fitting, "twins")
    assert {e.id for e in twins} == {e.id for e in world.twins("safe")}


def test_benign_prompts_from_a_table(world, tmp_path):
    table = tmp_path / "benign.csv"
    table.write_text("query\nWhat is the capital of Peru?\nWhat is 2 + 3?\n", encoding="utf-8")
    benign = benign_examples(world.fitting, str(table))
    assert [e.query for e in benign[-2:]] == ["What is the capital of Peru?", "What is 2 + 3?"]
    table.write_text('query\nWhat is 2 + 3?\n" "\n', encoding="utf-8")
    with raises("missing-value", "row 2"):
        check(Nullspace("nullspace", benign=str(table)), world.vlm, [])
    table.write_text("question\nWhat is 2 + 3?\n", encoding="utf-8")
    with raises("missing-column", "query", "question"):
        check(Nullspace("nullspace", benign=str(table)), world.vlm, [])


def test_safe_train_activations_are_unchanged(world):
    moved = matrix(world, 3, 0.6, 10.0)
    unsafe, safe = (world.plain.last(world.twins(s), 3) for s in ("unsafe", "safe"))
    size = np.linalg.norm(world.refusal(3))
    assert np.linalg.norm(safe @ moved, axis=1).max() < 1e-6 * size
    along = unsafe @ moved @ world.refusal(3) / size**2
    assert 0.8 < along.mean() < 1.05  # strength 1 moves by about the gap


@pytest.mark.parametrize("setting", [{"null_share": 1.5}, {"ridge": 0.0}])
def test_invalid_settings_are_refused(setting):
    ((name, value),) = setting.items()
    with raises("invalid-setting", f"method.{name}", value):
        Nullspace("nullspace", **setting)
