"""Examples that do not fit the context: refused before anything is answered, or left out."""

from dataclasses import replace
from pathlib import Path

import pytest
from composing import composed
from raising import raises

from calib.data.example import Benchmark, Turn
from calib.data.mini.examples import load
from calib.interventions.intervention import Axis, Intervention, Method, SinglePrompt
from calib.models.tokens import token_count
from calib.runs.checks.context import leave_out_fitted, within_context
from calib.runs.manifest import identity_of, run_folder
from calib.runs.preflight import Inputs

NONE = ["method@reference=none", "method=none"]


@pytest.fixture(scope="module")
def examples():
    return load(["image_centric"], 6)


@pytest.fixture(scope="module")
def questions():
    return load(["utility"], 6)


def inputs(vlm, examples, questions):
    return Inputs(vlm, Benchmark(examples), Benchmark(questions), Path("run"), {})


def long(example, vlm, room):
    """``example`` with a query that leaves ``room`` tokens of the context."""
    query = f"{example.query} danger"
    each = token_count(vlm, replace(example, query=query)) - token_count(vlm, example)
    wanted = vlm.context_length - room - token_count(vlm, example)
    return replace(example, query=example.query + " danger" * (wanted // each))


def test_a_run_with_a_long_prompt_is_refused_with_its_name_and_numbers(vlm, examples, questions):
    test = next(example for example in examples if example.split == "test")
    changed = [long(e, vlm, 10) if e is test else e for e in examples]
    tokens = f"{token_count(vlm, changed[examples.index(test)]):,}"
    with raises("too-large", test.id, tokens, "1,024", "generation.max_new_tokens",
                "data.skip_long=true"):  # fmt: skip
        within_context(composed("sweep", *NONE), inputs(vlm, changed, questions))
    with raises("too-large", test.id, "(max_new_tokens)"):
        within_context(composed("extract"), inputs(vlm, changed, questions))
    few = composed("sweep", *NONE, "generation.max_new_tokens=4")
    assert within_context(few, inputs(vlm, changed, questions)).left_out == []


def test_a_long_question_is_refused_too(vlm, examples, questions):
    changed = [long(questions[0], vlm, 10), *questions[1:]]
    with raises("too-large", changed[0].id):
        within_context(composed("sweep", *NONE), inputs(vlm, examples, changed))


def test_long_prompts_are_left_out_and_counted(vlm, examples, questions):
    changed = [long(examples[0], vlm, 10), *examples[1:]]
    config = composed("sweep", *NONE, "data.skip_long=true")
    kept = within_context(config, inputs(vlm, changed, questions))
    assert kept.benchmark.examples == examples[1:] and kept.utility.examples == questions
    assert kept.left_out == [changed[0].id]
    (note,) = kept.notes
    assert f"1 of {len(examples) + len(questions)}" in note and changed[0].id in note
    assert kept.record(["n"]) == {"notes": ["n"], "left_out": [changed[0].id]}
    whole = inputs(vlm, examples, questions)
    assert within_context(config, whole) is whole and whole.record([]) == {"notes": []}


@pytest.mark.parametrize("method", ["caution", "self_check", "cot", "ecso"])
def test_the_prompts_of_a_method_are_checked_before_the_run(vlm, examples, questions, method):
    test = next(example for example in examples if example.split == "test")
    changed = [long(e, vlm, 33) if e is test else e for e in examples]
    found = inputs(vlm, changed, questions)
    assert within_context(composed("sweep", *NONE), found) is found
    for given in ([f"method={method}"], ["method=steer", f"method@reference={method}"]):
        with raises("too-large", test.id, f"({method})"):
            within_context(composed("sweep", *given), found)


def test_the_demonstrations_of_few_shot_are_checked_once_they_are_known(vlm, examples, questions):
    turns = tuple(Turn("danger " * 250, "Yes.") for _ in range(4))

    def intervention(layer, strength):
        shown = turns[: int(strength)]
        return Intervention(prompt_flow=SinglePrompt(lambda e: replace(e, demonstrations=shown)))

    fitted = Method("few_shot", Axis("demonstrations"), [None], intervention)
    asked = composed("sweep", "method=few_shot", "method.strengths=[0,1]")
    given = Benchmark(examples), questions
    assert leave_out_fitted(asked, vlm, [fitted], *given)[2] == []
    asked = composed("sweep", "method=few_shot", "method.strengths=[1,4]")
    with raises("too-large", "(few_shot)", "data.skip_long=true"):
        leave_out_fitted(asked, vlm, [fitted], *given)
    asked.data.skip_long = True
    kept, rest, notes = leave_out_fitted(asked, vlm, [fitted], *given)
    assert {e.split for e in [*kept.examples, *rest]} == {"train"} and len(notes) == 1


def test_leaving_out_does_not_make_another_run():
    asked, skipping = composed("sweep"), composed("sweep", "data.skip_long=true")
    assert identity_of(asked) == identity_of(skipping)
    assert run_folder(["a"], asked) == run_folder(["a"], skipping)
