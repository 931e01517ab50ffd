"""A combination: the edits of an activation method under the prompt of a prompt method."""

from dataclasses import replace

import pytest
from naive_loop import divergence
from single_prompts import TOKENS, asked, configured, plain, say, spoken

from calib import methods
from calib.data.mini.examples import load
from calib.engine.engine import Engine
from calib.engine.request import Decoding
from calib.interventions.contrasts import JudgedAnswer
from calib.interventions.fitting import Fitting
from calib.interventions.intervention import NO_INTERVENTION
from calib.runs.planning import plan_rows
from calib.util.errors import CalibError

CAUTION = "Before you answer, check the picture and the request for harm. If in doubt, refuse."


def answers(examples, purpose, judged=True):
    """A made-up model that refuses what is unsafe."""
    return [JudgedAnswer("I can't.", e.safety == "unsafe") for e in examples]


@pytest.fixture(scope="module")
def fitting(vlm, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fitting")
    return Fitting(vlm, load(["image_centric", "text_centric"], 40), [], answers, folder)


@pytest.fixture(scope="module")
def examples(fitting):
    return [e for e in fitting.examples if e.split == "test"][::10]


def built(fitting, *overrides):
    config = configured("method=combine", *overrides)
    methods.check(config, fitting.vlm, fitting.examples)
    return methods.build(fitting, config)


def test_rows_are_the_edited_plain_answers_to_the_prompt_as_shown(vlm, fitting, examples, tmp_path):
    grid = ("layers=[2,4]", "strengths=[2,-3]", "positions=response")
    overrides = [f"method.activation.{one}" for one in grid]
    method = built(fitting, "method@method.prompt=caution", *overrides)
    alone = methods.build(fitting, configured("method=steer", *[f"method.{one}" for one in grid]))
    assert (method.name, list(method.layers)) == ("combine", [2, 4])
    assert method.axis == alone.axis
    assert method.direction.vectors.equal(alone.direction.vectors)
    settings = [method.setting(layer, s) for layer in (2, 4) for s in (2, -3)]
    rows, _ = asked(vlm, examples[::2], settings, tmp_path)
    moved = 0
    for k, (row, record) in enumerate(rows):
        layer, strength = ((2, 2), (2, -3), (4, 2), (4, -3))[k % 4]
        edits = alone.intervention(layer, strength).edits
        assert [edit.identity for edit in row.edits] == [edit.identity for edit in edits]
        by_hand = replace(row.example, system=CAUTION)
        edited = plain(vlm, by_hand, edits)
        assert record["response"] == spoken(vlm, edited)
        kl = divergence(edited, plain(vlm, row.example))
        assert record["kl"] == pytest.approx(kl, rel=1e-3, abs=2e-6)
        moved += edited.tokens != plain(vlm, by_hand).tokens
    assert moved >= 3
    assert method.setting(2, 0).intervention is NO_INTERVENTION


def test_the_prompt_stands_at_its_first_strength(fitting, examples):
    few = built(
        fitting, "method@method.prompt=few_shot", "method.prompt.strengths=[3,1]",
        "method.activation.layers=[2]",
    )  # fmt: skip
    assert len(few.setting(2, 1).intervention.prompt_flow.next(examples[0], ()).demonstrations) == 3
    none = built(fitting, "method.prompt.strengths=[0,1]", "method.activation.layers=[2]")
    assert none.setting(2, 1).intervention.prompt_flow is None


def test_a_gate_decides_on_the_prompt_as_it_is_shown(vlm, fitting):
    """CAUTION turns some decisions: the gate is asked about the query below it, not alone."""
    chosen = ("layers=[3]", "gate=probe", "gate_layers=[4]", "threshold=0.2")
    overrides = [f"method.activation.{one}" for one in chosen]
    method = built(
        fitting, "method@method.prompt=caution", "method@method.activation=conditional", *overrides
    )
    gated = configured("method=conditional", *[f"method.{one}" for one in chosen])
    alone = methods.build(fitting, gated)
    rule = alone.intervention(None, 1).rule
    tested = [e for e in fitting.examples if e.split == "test"]
    engine = Engine(vlm, Decoding(max_new_tokens=TOKENS))
    rows = plan_rows(engine, tested, [method.setting(None, 1)])
    below, without = rule([replace(e, system=CAUTION) for e in tested]), rule(tested)
    assert [len(row.edits) for row in rows] == [len(edits) for edits in below]
    assert [len(edits) for edits in below] != [len(edits) for edits in without]
    assert {len(row.edits) for row in rows} == {0, 1}
    assert method.notes == alone.notes != []


def test_every_step_of_a_dialogue_is_edited(vlm, fitting, examples, tmp_path):
    chosen = ("layers=[3]", "strengths=[-2]", "positions=all")
    overrides = [f"method.activation.{one}" for one in chosen]
    method = built(fitting, "method@method.prompt=ecso", *overrides)
    steered = configured("method=steer", *[f"method.{one}" for one in chosen])
    edits = methods.build(fitting, steered).intervention(3, -2).edits
    rows, _ = asked(vlm, examples, [method.setting(3, -2)], tmp_path)
    counted = set()
    for row, record in rows:
        example, counts = row.example, row.example
        if say(vlm, replace(example, query="Is this dangerous?"), edits).startswith("Yes"):
            caption = ""
            if example.picture:
                caption = say(vlm, replace(example, query="What is this?"), edits) + " "
            counts = replace(example, query=caption + example.query, picture=None)
        assert record["response"] == say(vlm, counts, edits)
        counted.add(counts is example)
    assert counted == {True, False}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["method@method.prompt=steer"], "not steer and steer"),
        (["method@method.activation=caution"], "not reminder and caution"),
        (["method.prompt.kl=0.1"], "the prompt stands at its first strength"),
        (["method@method.prompt=cot", "method.activation.kl=0.1"], "cot asks several times"),
        (["method@method.prompt=ecso", "method.activation.layers=auto"], "ecso asks several times"),
    ],
)
def test_combinations_that_mean_nothing_are_refused(fitting, overrides, message):
    with pytest.raises(CalibError, match=message):
        built(fitting, *overrides)


def test_a_budget_of_kl_goes_with_prompts_of_one_step(fitting):
    for name in ("reminder", "few_shot"):
        config = configured(
            "method=combine", f"method@method.prompt={name}", "method.activation.kl=0.1"
        )
        methods.check(config, fitting.vlm, [])
