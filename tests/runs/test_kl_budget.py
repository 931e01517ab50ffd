"""Strengths within a budget of KL: on made-up costs, and measured again by an ordinary run."""

import json
import math
from dataclasses import replace
from statistics import fmean

import pytest
import torch
from naive_loop import divergence, unit_vector
from raising import raises
from single_prompts import naive_response, naive_text

from calib.data.mini.examples import load
from calib.engine.edits import Edit
from calib.engine.engine import Engine
from calib.engine.operators import Add
from calib.engine.request import Decoding, Response
from calib.interventions.intervention import Axis, Intervention, Method, SinglePrompt
from calib.methods.ecso import EyesClosed
from calib.runs.generate import generate
from calib.runs.kl_budget import (
    FILE,
    QUESTIONS,
    CostedStrength,
    budget_notes,
    integers_within_budget,
    search_strengths,
    strengths_within_budget,
)
from calib.runs.planning import Planner
from calib.runs.row_store import RowStore

FINEST = 2 ** (1 / 36)


class Costs:
    """Costs by a formula, with a record of the calls."""

    def __init__(self, formula):
        self.formula, self.asked = formula, []

    def __call__(self, points):
        self.asked.append(list(points))
        return [self.formula(layer, strength) for layer, strength in points]


@pytest.mark.parametrize("usual", [1.0, 0.2])
@pytest.mark.parametrize("crossing", [0.05, 0.11, 0.5, 0.7071, 1.0, 1.9, 3.3, 6.2])
def test_the_largest_strength_within_two_percent(usual, crossing):
    costs = Costs(lambda layer, strength: (strength / crossing) ** 2)
    (found,) = search_strengths(costs, [(3, 1)], usual, 1.0)
    assert found.layer == 3 and not found.at_end
    assert crossing / FINEST * 0.9999 < found.strength <= crossing
    assert found.kl == pytest.approx((found.strength / crossing) ** 2) and found.kl <= 1.0
    assert [len(points) for points in costs.asked] == [11, 5, 5]


def test_layers_and_signs_are_searched_independently_in_common_batches():
    crossings = {(1, 1): 0.4, (1, -1): 5.0, (2, 1): 1.1, (2, -1): 0.06}

    def formula(layer, strength):
        return abs(strength) / crossings[layer, 1 if strength > 0 else -1]

    costs = Costs(formula)
    found = search_strengths(costs, list(crossings), 1.0, 1.0)
    assert [(one.layer, one.strength > 0) for one in found] == [
        (1, True), (1, False), (2, True), (2, False),
    ]  # fmt: skip
    for one in found:
        crossing = crossings[one.layer, 1 if one.strength > 0 else -1]
        assert crossing / FINEST * 0.9999 < abs(one.strength) <= crossing
    assert [len(points) for points in costs.asked] == [44, 20, 20]


def test_a_layer_that_always_exceeds_the_budget_is_left_out():
    costs = Costs(lambda layer, strength: 2.0 if layer == 1 else abs(strength))
    found = search_strengths(costs, [(1, 1), (2, 1)], 1.0, 1.0)
    assert [one.layer for one in found] == [2]
    assert search_strengths(Costs(lambda *at: 2.0), [(1, 1), (1, -1)], 1.0, 1.0) == []


def test_a_layer_that_never_exceeds_the_budget_has_the_largest_strength_tried():
    costs = Costs(lambda layer, strength: 0.0 if layer == 1 else abs(strength) / 3)
    cheap, other = search_strengths(costs, [(1, -1), (2, 1)], 0.5, 1.0)
    assert cheap == CostedStrength(1, -16.0, 0.0, True)
    assert not other.at_end and 3 / FINEST * 0.9999 < other.strength <= 3
    assert [len(points) for points in costs.asked] == [22, 5, 5]
    assert all(layer == 2 for points in costs.asked[1:] for layer, _ in points)


def test_the_first_excess_of_the_budget_counts_where_the_cost_falls_again():
    """In the doublings: over at 1, under at 2 and 4. Within a bracket: over from 1.2 to 1.4."""
    bump = Costs(lambda layer, s: 5.0 if 0.9 <= s <= 1.5 else min(s, 0.9) if s < 20 else 9.0)
    (found,) = search_strengths(bump, [(0, 1)], 1.0, 1.0)
    assert 0.9 / FINEST <= found.strength < 0.9
    late = Costs(lambda layer, s: 5.0 if 1.2 <= s <= 1.4 or s >= 1.9 else 0.1)
    (found,) = search_strengths(late, [(0, 1)], 1.0, 1.0)
    assert 1.2 / FINEST <= found.strength < 1.2


@pytest.mark.parametrize("beyond", [math.inf, math.nan])
def test_costs_that_are_not_finite_exceed_any_budget(beyond):
    costs = Costs(lambda layer, s: 0.5 if s < 2.5 else beyond)
    (found,) = search_strengths(costs, [(0, 1)], 1.0, 1.0)
    assert 2.5 / FINEST <= found.strength < 2.5 and not found.at_end
    assert search_strengths(Costs(lambda *at: beyond), [(0, 1)], 1.0, 1e9) == []


@pytest.fixture(scope="module")
def engine(vlm):
    return Engine(vlm, Decoding(max_new_tokens=6, batch_rows=64, temperature=0.5))


@pytest.fixture(scope="module")
def questions():
    return [e for e in load(["utility"], 12) if e.split == "validation"]


def steering(vlm, name="steer", signed=True, rewrite=None, factor=20):
    """A method that adds a random vector at a layer, with or without another prompt."""
    dialogue = SinglePrompt(rewrite) if rewrite else None

    def change(layer, strength):
        vector = factor * strength * unit_vector(vlm.width, layer)
        return Intervention((Edit(layer, Add(vector), "last_prompt"),), prompt_flow=dialogue)

    return Method(name, Axis("of 20", signed=signed), [2, 4], change)


def costs_again(vlm, method, questions, points, folder):
    """Mean KL of settings in an ordinary run with complete responses."""
    planner = Planner(Engine(vlm, Decoding(max_new_tokens=6)))
    found = []
    with RowStore.open(folder / "again.jsonl") as record:
        for point in points:
            rows = generate(planner, planner.rows(questions, [method.setting(*point)]), record)
            found.append(fmean(record.finished[row.id]["kl_base"] for row in rows))
    return found


@pytest.mark.parametrize("prompted", [False, True])
def test_the_cost_by_an_ordinary_run_is_within_the_budget(
    vlm, engine, questions, tmp_path, prompted
):
    """A prompt has a cost too. A strength just over two percent larger exceeds the budget."""
    rewrite = (lambda e: replace(e, system="Remember to be kind.")) if prompted else None
    method = steering(vlm, rewrite=rewrite)
    found = strengths_within_budget(engine, method, questions, 0.1, tmp_path)
    assert [(one.layer, one.strength > 0) for one in found] == [
        (2, True), (2, False), (4, True), (4, False),
    ]  # fmt: skip
    at = [(one.layer, one.strength) for one in found]
    again = costs_again(vlm, method, questions, at, tmp_path)
    for one, cost in zip(found, again, strict=True):
        assert cost <= 0.1
        assert cost == pytest.approx(one.kl, rel=1e-3)
    above = [(one.layer, one.strength * FINEST * 1.0001) for one in found]
    assert min(costs_again(vlm, method, questions, above, tmp_path)) > 0.1
    layer, strength = at[0]
    setting = method.setting(layer, strength)
    by_hand = [
        divergence(
            naive_response(vlm, e),
            naive_response(vlm, rewrite(e) if prompted else e, setting.intervention.edits),
        )
        for e in questions[:12]
    ]
    assert fmean(by_hand) == pytest.approx(found[0].kl, rel=1e-3)


def test_strengths_are_stored_and_reused(vlm, engine, questions, tmp_path, monkeypatch):
    method = steering(vlm, signed=False)
    some = questions[:3]
    first = strengths_within_budget(engine, method, some, 0.1, tmp_path)
    other = strengths_within_budget(engine, method, some, 0.5, tmp_path)
    named = strengths_within_budget(engine, steering(vlm, "other"), some, 0.1, tmp_path)
    assert all(a.strength < b.strength for a, b in zip(first, other, strict=True))
    assert len(first) == 2 and len(named) == 4
    kept = (tmp_path / FILE).read_bytes()
    assert set(json.loads(kept)) - {"crc32"} == {
        f"{name} KL(base || calibrated)" for name in ("steer 0.1", "steer 0.5", "other 0.1")
    }
    monkeypatch.setattr(Engine, "answer", lambda *args: pytest.fail("measured again"))
    assert strengths_within_budget(engine, method, some, 0.1, tmp_path) == first
    assert strengths_within_budget(engine, method, some, 0.5, tmp_path) == other
    assert (tmp_path / FILE).read_bytes() == kept
    # A run of an older version resumes with the strengths that it chose by KL(calibrated || base).
    former = {"steer 0.5": json.loads(kept)["steer 0.1 KL(base || calibrated)"]}
    (tmp_path / FILE).write_text(json.dumps(former), encoding="utf-8")
    assert strengths_within_budget(engine, method, some, 0.5, tmp_path) == first


WRONG = json.dumps({"steer 0.1 KL(base || calibrated)": [], "crc32": "00000000"})


@pytest.mark.parametrize("damage", [WRONG, "[]", "{", "[" * 100_000])
def test_damaged_strengths_are_named(vlm, engine, questions, tmp_path, damage):
    method = steering(vlm)
    path = tmp_path / FILE
    path.write_text(damage, encoding="utf-8")
    with raises("invalid-content", path, "Delete"):
        strengths_within_budget(engine, method, questions, 0.1, tmp_path)


def test_a_limited_number_of_questions_is_drawn_from_all(vlm, engine, tmp_path, monkeypatch):
    seen = []

    def counted(self, asked, *_):
        seen.append(asked)
        return [Response("", (), "stop", 0.0, kl_base=0.0)] * len(asked)

    monkeypatch.setattr(Engine, "answer", counted)
    question = load(["utility"], 1)[0]
    many = [replace(question, id=f"{k}", query=f"{k}?") for k in range(640)]
    strengths_within_budget(engine, steering(vlm, signed=False), many, 0.1, tmp_path)
    (rows,) = seen
    drawn = {int(row.example.id) for row in rows}
    assert len(drawn) == QUESTIONS and len(rows) == QUESTIONS * 2 * 11
    assert len({k // 64 for k in drawn}) == 10  # the first ones may be of one kind
    strengths_within_budget(engine, steering(vlm, "other", signed=False), many, 0.1, tmp_path)
    assert {int(row.example.id) for row in seen[1]} == drawn
    whole = Method(
        "told", Axis("k", signed=False, integer=True), [None], lambda *at: Intervention()
    )
    asked = []

    class Counted(Planner):
        def rows(self, examples, settings):
            asked.append([int(e.id) for e in examples])
            return super().rows(examples, settings)

    with RowStore.open(tmp_path / "rows.jsonl") as record:
        integers_within_budget(Counted(engine), record, whole, [1], many, 0.1)
    assert [set(some) for some in asked] == [drawn]


def test_non_finite_output_exceeds_any_budget(vlm, engine, questions, tmp_path):
    """Its KL could not be computed."""

    def change(layer, strength):
        vector = torch.full((vlm.width,), math.inf if strength > 3 else 0.01)
        return Intervention((Edit(layer, Add(vector)),))

    ends = Method("ends", Axis("any", signed=False), [2], change)
    (found,) = strengths_within_budget(engine, ends, questions[:2], 10.0, tmp_path)
    assert 3 / FINEST < found.strength <= 3 and not found.at_end


def test_a_count_whose_rows_have_no_kl_exceeds_any_budget(vlm, engine, questions, tmp_path):
    """Its numbers overflowed at the first token."""

    def change(layer, strength):
        vector = torch.full((vlm.width,), math.inf if strength > 1 else 0.01)
        return Intervention((Edit(layer, Add(vector)),))

    method = Method("counts", Axis("any", signed=False, integer=True), [2], change)
    with RowStore.open(tmp_path / "rows.jsonl") as record:
        (found,) = integers_within_budget(
            Planner(engine), record, method, [1, 2], questions[:2], 1e9
        )
        assert [row["kl"] is None for row in record.finished.values()].count(True) == 2
    assert (found.strength, math.isfinite(found.kl)) == (1, True)


def test_integer_strengths_are_chosen_from_a_list(vlm, tmp_path):
    """Each is run as in the sweep; 0 is left out; the final step of a prompt flow counts."""
    told = ("Be kind.", "Remember to be a responsible assistant.", "If in doubt, refuse. " * 3)

    def change(layer, strength):
        if strength == 4:
            return Intervention(prompt_flow=EyesClosed("What is this?", "-", "-"))
        if strength == 5:
            flow = EyesClosed("Is this dangerous?", "-", "What is this?", "first_word")
            return Intervention(prompt_flow=flow)
        return Intervention(
            prompt_flow=SinglePrompt(lambda e: replace(e, system=told[int(strength) - 1]))
        )

    method = Method("told", Axis("k", signed=False, integer=True), [None], change)
    planner = Planner(Engine(vlm, Decoding(max_new_tokens=6)))
    some = load(["image_centric"], 8)[:8]
    with RowStore.open(tmp_path / "rows.jsonl") as record:

        def within(budget, strengths):
            return integers_within_budget(planner, record, method, strengths, some, budget)

        cost = {
            k: fmean(
                divergence(naive_response(vlm, e), naive_response(vlm, replace(e, system=text)))
                for e in some
            )
            for k, text in enumerate(told, start=1)
        }
        assert len({round(one, 5) for one in cost.values()}) == 3
        for budget in (min(cost.values()) / 2, *(1.01 * one for one in cost.values())):
            expected = [k for k in cost if cost[k] <= budget][-1:]
            found = within(budget, [3, 0, 1, 2, 2])
            assert [(one.layer, one.strength) for one in found] == [(None, k) for k in expected]
            for one in found:
                assert one.kl == pytest.approx(cost[one.strength], rel=1e-3, abs=1e-5)
        variants = replace(method, variants={1: "a", 2: "b", 3: "c"})
        budget = 1.01 * sorted(cost.values())[1]
        found = integers_within_budget(planner, record, variants, [1, 2, 3], some, budget)
        assert [one.strength for one in found] == [k for k in cost if cost[k] <= budget]
        count = len(record.finished)
        assert count == 3 * len(some)  # generated once for all budgets
        # A check without "yes" keeps the first response, which costs nothing.
        assert within(1e-9, [4]) == [CostedStrength(None, 4, 0.0)]
        assert len(record.finished) <= count + 2 * len(some)
        # With "yes" the cost is that of the last step; the first step costs nothing.
        (again,) = within(1e9, [5])
        flagged = [
            e for e in some if naive_text(vlm, replace(e, query="Is this dangerous?"))[:3] == "Yes"
        ]
        shown = [replace(e, query="What is this?", picture=None) for e in flagged]
        moved = [
            divergence(naive_response(vlm, e), naive_response(vlm, s))
            for s, e in zip(shown, flagged, strict=True)
        ]
        assert again.kl == pytest.approx(sum(moved) / len(some), rel=1e-3) and again.kl > 0.1
        assert within(again.kl / 2, [5]) == []


def test_notes_list_the_strengths():
    method = Method("steer", Axis("gap"), [1, 2], lambda *at: Intervention())
    priced = [
        CostedStrength(1, 0.25, 0.09),
        CostedStrength(1, -1.23456, 0.1),
        CostedStrength(2, 32.0, 0.01, True),
    ]
    assert budget_notes(method, priced, 0.1, [1, 2]) == [
        "steer: strengths within KL 0.1 on utility questions: layer 1: +0.25, layer 1: -1.23, "
        "layer 2: +32",
        "steer: the largest strength that was tried is within the budget",
    ]
    assert budget_notes(method, priced, 0.1, [1])[1:] == []
    assert budget_notes(method, [CostedStrength(None, 2, 0.05)], 0.1, [None])[0].endswith(
        "questions: +2"
    )
    assert budget_notes(method, [], 0.1, [1])[0].endswith("questions: none")
