"""A combination: the edits of an activation method under the prompt of a prompt method."""

from dataclasses import replace

import pytest
from naive_loop import divergence
from raising import raises
from single_prompts import (
    TOKENS,
    method_config,
    naive_response,
    naive_text,
    recorded_rows,
    response_text,
)

from calib import methods
from calib.data.mini.examples import load
from calib.engine.engine import Engine
from calib.engine.request import Decoding
from calib.interventions.contrasts import JudgedAnswer
from calib.interventions.fitting import Fitting
from calib.interventions.intervention import NO_INTERVENTION
from calib.runs.planning import Planner

CAUTION = "Before you answer, check the picture and the request for harm. If in doubt, refuse."


def answers(examples, purpose, judged=True):
    """Answers of a model that refuses all unsafe queries."""
    return [JudgedAnswer("I can't.", e.safety == "unsafe") for e in examples]


@pytest.fixture(scope="module")
def fitting(vlm, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fitting")
    return Fitting(vlm, load(["image_centric", "text_centric"], 40), [], answers, folder)


@pytest.fixture(scope="module")
def examples(fitting):
    return [e for e in fitting.examples if e.split == "test"][::10]


def built(fitting, *overrides):
    config = method_config("method=combine", *overrides)
    methods.check(config, fitting.vlm, fitting.examples)
    return methods.build(fitting, config)


def test_responses_are_those_of_the_edited_model_to_the_prompt(vlm, fitting, examples, tmp_path):
    grid = ("layers=[2,4]", "strengths=[2,-3]", "positions=response")
    overrides = [f"method.activation.{setting}" for setting in grid]
    method = built(fitting, "method@method.prompt=caution", *overrides)
    alone = methods.build(
        fitting, method_config("method=steer", *[f"method.{setting}" for setting in grid])
    )
    assert (method.name, list(method.layers)) == ("combine", [2, 4])
    assert (method.axis, method.supervision) == (alone.axis, "direction")
    assert method.direction.vectors.equal(alone.direction.vectors)
    settings = [method.setting(layer, s) for layer in (2, 4) for s in (2, -3)]
    rows, _ = recorded_rows(vlm, examples[::2], settings, tmp_path)
    moved = 0
    for k, (row, record) in enumerate(rows):
        layer, strength = ((2, 2), (2, -3), (4, 2), (4, -3))[k % 4]
        edits = alone.intervention(layer, strength).edits
        assert [edit.identity for edit in row.edits] == [edit.identity for edit in edits]
        by_hand = replace(row.example, system=CAUTION)
        edited = naive_response(vlm, by_hand, edits)
        assert record["response"] == response_text(vlm, edited)
        kl = divergence(edited, naive_response(vlm, row.example))
        assert record["kl"] == pytest.approx(kl, rel=1e-3, abs=2e-6)
        moved += edited.tokens != naive_response(vlm, by_hand).tokens
    assert moved >= 3
    assert method.setting(2, 0).intervention is NO_INTERVENTION


def test_the_prompt_method_is_used_at_its_first_strength(fitting, examples):
    few = built(
        fitting, "method@method.prompt=few_shot", "method.prompt.strengths=[3,1]",
        "method.activation.layers=[2]",
    )  # fmt: skip
    assert len(few.setting(2, 1).intervention.prompt_flow.next(examples[0], ()).demonstrations) == 3
    assert list(few.demonstrations) == [3]
    none = built(fitting, "method.prompt.strengths=[0,1]", "method.activation.layers=[2]")
    assert none.setting(2, 1).intervention.prompt_flow is None


def test_a_combination_uses_one_variant_of_the_prompt(fitting, examples):
    method = built(
        fitting, "method@method.prompt=caution", "method.prompt.strengths=[3,1]",
        "method.activation.layers=[2,3]", "method.activation.strengths=[-1,1]",
    )  # fmt: skip
    queries = {
        method.setting(layer, strength).intervention.prompt_flow.next(examples[0], ()).query
        for layer in (2, 3)
        for strength in (-1, 1)
    }
    assert queries == {f"{examples[0].query}\n{CAUTION}"}
    assert (list(method.layers), method.variants) == ([2, 3], {})


def test_a_gate_reads_the_prompt_of_the_prompt_method(vlm, fitting):
    """With CAUTION the gate decides differently for some queries."""
    chosen = ("layers=[3]", "gate=probe", "gate_layers=[4]", "threshold=0.2")
    overrides = [f"method.activation.{setting}" for setting in chosen]
    method = built(
        fitting, "method@method.prompt=caution", "method@method.activation=conditional", *overrides
    )
    gated = method_config("method=conditional", *[f"method.{setting}" for setting in chosen])
    alone = methods.build(fitting, gated)
    rule = alone.intervention(None, 1).rule
    tested = [e for e in fitting.examples if e.split == "test"]
    engine = Engine(vlm, Decoding(max_new_tokens=TOKENS))
    rows = Planner(engine).rows(tested, [method.setting(None, 1)])
    with_caution, without = rule([replace(e, system=CAUTION) for e in tested]), rule(tested)
    assert [len(row.edits) for row in rows] == [len(edits) for edits in with_caution]
    assert [len(edits) for edits in with_caution] != [len(edits) for edits in without]
    assert {len(row.edits) for row in rows} == {0, 1}
    assert method.notes == alone.notes != []
    assert method.supervision == alone.supervision == "gate"


def test_every_step_of_a_prompt_flow_is_edited(vlm, fitting, examples, tmp_path):
    chosen = ("layers=[3]", "strengths=[-2]", "positions=all")
    overrides = [f"method.activation.{setting}" for setting in chosen]
    method = built(fitting, "method@method.prompt=ecso", *overrides)
    steered = method_config("method=steer", *[f"method.{setting}" for setting in chosen])
    edits = methods.build(fitting, steered).intervention(3, -2).edits
    rows, _ = recorded_rows(vlm, examples, [method.setting(3, -2)], tmp_path)
    counted = set()
    for row, record in rows:
        example, counts = row.example, row.example
        if naive_text(vlm, replace(example, query="Is this dangerous?"), edits).startswith("Yes"):
            caption = ""
            if example.picture:
                caption = naive_text(vlm, replace(example, query="What is this?"), edits) + " "
            counts = replace(example, query=caption + example.query, picture=None)
        assert record["response"] == naive_text(vlm, counts, edits)
        counted.add(counts is example)
    assert counted == {True, False}


@pytest.mark.parametrize(
    ("overrides", "code", "values"),
    [
        (["method@method.prompt=steer"], "invalid-setting", ["steer and steer"]),
        (["method@method.activation=caution"], "invalid-setting", ["reminder and caution"]),
        (["method.prompt.kl=0.1"], "conflicting-settings", ["method.prompt.kl"]),
        (
            ["method@method.prompt=cot", "method.activation.kl=0.1"],
            "conflicting-settings",
            ["cot", "method.activation.kl"],
        ),
        (
            ["method@method.prompt=ecso", "method.activation.layers=auto"],
            "conflicting-settings",
            ["ecso", "layers=auto"],
        ),
    ],
)
def test_impossible_combinations_are_refused(fitting, overrides, code, values):
    with raises(code, *values):
        built(fitting, *overrides)


def test_a_kl_budget_is_possible_with_prompts_of_one_step(fitting):
    for name in ("reminder", "few_shot"):
        config = method_config(
            "method=combine", f"method@method.prompt={name}", "method.activation.kl=0.1"
        )
        methods.check(config, fitting.vlm, [])
