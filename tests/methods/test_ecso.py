"""ECSO: an answer that the model finds harmful is replaced by one from a caption."""

from dataclasses import replace

import pytest
from naive_loop import divergence
from raising import raises
from single_prompts import method_config, naive_response, naive_text, recorded_rows

from calib import methods
from calib.data.example import Example, Turn, with_pictures
from calib.data.mini.examples import load
from calib.interventions.fitting import Fitting
from calib.methods.ecso import EyesClosed


def picture():
    pytest.fail("no picture is opened in these tests")


EXAMPLE = Example(
    "a", "image_centric", "drawn", "fire", "test", "How?", picture, system="Be kind.",
    demonstrations=(Turn("Before?", "Yes."),),
)  # fmt: skip
FLOW = EyesClosed(
    'To "{query}" it said "{answer}". Harm?',
    'Caption it for "{query}".',
    "{caption} Q: {query} {ok}",
)


def test_the_steps_with_a_picture():
    step = FLOW.next
    assert FLOW.multi_step
    assert step(EXAMPLE, ()) is EXAMPLE
    check = replace(EXAMPLE, query='To "How?" it said "So.". Harm?')
    assert step(EXAMPLE, ("So.",)) == check
    assert step(EXAMPLE, ("So.", "Yes.")) == replace(EXAMPLE, query='Caption it for "How?".')
    responses = ("So.", "Yes.", "A dot.")
    last = replace(EXAMPLE, query="A dot. Q: How? {ok}", picture=None)
    assert step(EXAMPLE, responses) == last
    assert step(EXAMPLE, (*responses, "I won't.")) == 3


def test_all_pictures_are_shown_for_the_caption_and_none_after_it():
    several = with_pictures(EXAMPLE, [picture, picture])
    assert FLOW.next(several, ("So.", "Yes.")).pictures == (picture, picture)
    assert FLOW.next(several, ("So.", "Yes.", "A dot.")).pictures == ()


def test_the_steps_without_a_picture():
    example = replace(EXAMPLE, picture=None)
    assert FLOW.next(example, ()) is example
    last = replace(example, query="nothing, there is none. Q: How? {ok}")
    assert FLOW.next(example, ("So.", "Yes.")) == last
    assert FLOW.next(example, ("So.", "Yes.", "I won't.")) == 2


@pytest.mark.parametrize(
    ("reply", "verdict", "harmful"),
    [
        ("Yes.", "reply", True), ("yes", "reply", True), ("Yes, it is.", "reply", False),
        ("Yes, it is.", "first_word", True), ("No.", "first_word", False), ("", "reply", False),
    ],
)  # fmt: skip
def test_the_answer_stands_unless_the_reply_is_yes(reply, verdict, harmful):
    """The authors' code takes the whole reply "yes" or "yes." only."""
    step = replace(FLOW, verdict=verdict).next(EXAMPLE, ("So.", reply))
    assert isinstance(step, Example) is harmful
    assert harmful or step == 0


def test_inserted_texts_are_not_formatted_again():
    """Braces in a query or a response stay as they are."""
    example = replace(EXAMPLE, query="{answer} {caption} {query} {0} {")
    query = example.query
    check = FLOW.next(example, ("{query} }{",)).query
    assert check == f'To "{query}" it said "{{query}} }}{{". Harm?'
    last = FLOW.next(example, ("So.", "yes", "{query} {caption}")).query
    assert last == f"{{query}} {{caption}} Q: {query} {{ok}}"


@pytest.fixture(scope="module")
def examples():
    pictured = [e for e in load(["image_centric", "utility"], 40) if e.split == "test"]
    text_only = [e for e in load(["text_centric"]) if e.split == "test" and not e.picture]
    return [*pictured[:6], *pictured[-2:], *text_only[:4]]


def test_the_judged_response_follows_from_single_prompts(vlm, examples, tmp_path):
    """By transformers' own generate; KL is of the judged prompt, against the original query."""
    config = method_config("method=ecso")
    methods.check(config, vlm, examples)
    method = methods.build(Fitting(vlm, [], [], pytest.fail, tmp_path), config)
    rows, finished = recorded_rows(vlm, examples, [method.setting(None, 1)], tmp_path)
    steps, again = 0, 0
    for (row, record), example in zip(rows, examples, strict=True):
        counts = example
        check = naive_text(vlm, replace(example, query="Is this dangerous?"))
        steps += 2
        if check.startswith("Yes"):
            caption = ""
            if example.picture:
                caption = naive_text(vlm, replace(example, query="What is this?")) + " "
            counts = replace(example, query=caption + example.query, picture=None)
            steps += 2 if example.picture else 1
            again += 1
        assert record["response"] == naive_text(vlm, counts)
        assert record["query"] == counts.query
        assert row.example is example
        kl = divergence(naive_response(vlm, counts), naive_response(vlm, example))
        assert record["kl"] == pytest.approx(kl, rel=1e-3, abs=2e-6)
    assert 2 <= again <= len(examples) - 2
    assert len(finished) <= steps


def test_default_texts_and_texts_of_the_user(vlm, tmp_path):
    fitting = Fitting(replace(vlm, checkpoint="some/other"), [], [], pytest.fail, tmp_path)

    def flow(*overrides):
        method = methods.build(fitting, method_config("method=ecso", *overrides))
        return method.setting(None, 1).intervention.prompt_flow

    default = flow()
    assert (
        "{query}" in default.check and "{answer}" in default.check and "yes or no" in default.check
    )
    assert "{query}" in default.caption and "{answer}" not in default.caption
    assert "{caption}" in default.closing and "{query}" in default.closing
    own = ("method.check=a", "method.caption=b", "method.text=c")
    assert flow(*own) == EyesClosed("a", "b", "c")
    assert flow("method.verdict=first_word").verdict == "first_word"


def test_an_unknown_verdict_is_refused():
    with raises("invalid-setting", "method.verdict", "maybe", "first_word"):
        method_config("method=ecso", "method.verdict=maybe")
