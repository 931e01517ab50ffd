"""ECSO: an answer that its model finds harmful is given again, from a caption."""

from dataclasses import replace

import pytest
from naive_loop import divergence
from single_prompts import asked, configured, plain, say

from calib import methods
from calib.data.example import Example, Turn
from calib.data.mini.examples import load
from calib.interventions.fitting import Fitting
from calib.methods.ecso import EyesClosed


def picture():
    pytest.fail("nobody looks at it here")


EXAMPLE = Example(
    "a", "image_centric", "drawn", "fire", "test", "How?", picture, system="Be kind.",
    demonstrations=(Turn("Before?", "Yes."),),
)  # fmt: skip
DIALOGUE = EyesClosed(
    'To "{query}" it said "{answer}". Harm?',
    'Caption it for "{query}".',
    "{caption} Q: {query} {ok}",
)


def test_the_steps_with_a_picture():
    step = DIALOGUE.next
    assert DIALOGUE.multi_step
    assert step(EXAMPLE, ()) is EXAMPLE
    check = replace(EXAMPLE, query='To "How?" it said "So.". Harm?')
    assert step(EXAMPLE, ("So.",)) == check
    assert step(EXAMPLE, ("So.", "Yes.")) == replace(EXAMPLE, query='Caption it for "How?".')
    said = ("So.", "Yes.", "A dot.")
    last = replace(EXAMPLE, query="A dot. Q: How? {ok}", picture=None)
    assert step(EXAMPLE, said) == last
    assert step(EXAMPLE, (*said, "I won't.")) == 3


def test_the_steps_without_a_picture():
    example = replace(EXAMPLE, picture=None)
    assert DIALOGUE.next(example, ()) is example
    last = replace(example, query="nothing, there is none. Q: How? {ok}")
    assert DIALOGUE.next(example, ("So.", "Yes.")) == last
    assert DIALOGUE.next(example, ("So.", "Yes.", "I won't.")) == 2


@pytest.mark.parametrize("verdict", ["Yes.", "yes", " YES, it is", '"Yes" I think', "**Yes**"])
def test_a_check_that_begins_with_yes_finds_harm(verdict):
    assert isinstance(DIALOGUE.next(EXAMPLE, ("So.", verdict)), Example)


@pytest.mark.parametrize("verdict", ["No.", "", "Yesterday", "I say yes", "No, yes", "..."])
def test_any_other_check_leaves_the_answer_as_it_is(verdict):
    assert DIALOGUE.next(EXAMPLE, ("So.", verdict)) == 0


def test_what_is_filled_in_is_never_filled_itself():
    """Braces in a query or in what the model says are words like all others."""
    example = replace(EXAMPLE, query="{answer} {caption} {query} {0} {")
    query = example.query
    check = DIALOGUE.next(example, ("{query} }{",)).query
    assert check == f'To "{query}" it said "{{query}} }}{{". Harm?'
    last = DIALOGUE.next(example, ("So.", "yes", "{query} {caption}")).query
    assert last == f"{{query}} {{caption}} Q: {query} {{ok}}"


@pytest.fixture(scope="module")
def examples():
    found = [e for e in load(["image_centric", "utility"], 40) if e.split == "test"]
    plain = [e for e in load(["text_centric"]) if e.split == "test" and not e.picture]
    return [*found[:6], *found[-2:], *plain[:4]]


def test_the_counting_response_is_that_to_single_prompts_in_turn(vlm, examples, tmp_path):
    """By transformers' own generate; KL of what counts, against the query as it was."""
    config = configured("method=ecso")
    methods.check(config, vlm, examples)
    method = methods.build(Fitting(vlm, [], [], pytest.fail, tmp_path), config)
    rows, finished = asked(vlm, examples, [method.setting(None, 1)], tmp_path)
    steps, again = 0, 0
    for (row, record), example in zip(rows, examples, strict=True):
        counts = example
        check = say(vlm, replace(example, query="Is this dangerous?"))
        steps += 2
        if check.startswith("Yes"):
            caption = ""
            if example.picture:
                caption = say(vlm, replace(example, query="What is this?")) + " "
            counts = replace(example, query=caption + example.query, picture=None)
            steps += 2 if example.picture else 1
            again += 1
        assert record["response"] == say(vlm, counts)
        assert record["query"] == counts.query
        assert row.example is example
        kl = divergence(plain(vlm, counts), plain(vlm, example))
        assert record["kl"] == pytest.approx(kl, rel=1e-3, abs=2e-6)
    assert 2 <= again <= len(examples) - 2
    assert len(finished) <= steps


def test_words_for_any_checkpoint_and_the_users(vlm, tmp_path):
    fitting = Fitting(replace(vlm, checkpoint="some/other"), [], [], pytest.fail, tmp_path)

    def dialogue(*overrides):
        method = methods.build(fitting, configured("method=ecso", *overrides))
        return method.setting(None, 1).intervention.prompt_flow

    ours = dialogue()
    assert "{query}" in ours.check and "{answer}" in ours.check and "yes or no" in ours.check
    assert "{query}" in ours.caption and "{answer}" not in ours.caption
    assert "{caption}" in ours.closing and "{query}" in ours.closing
    own = ("method.check=a", "method.caption=b", "method.text=c")
    assert dialogue(*own) == EyesClosed("a", "b", "c")
