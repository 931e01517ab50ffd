"""Responses: in the order of the questions, ended as they should be, and counted exactly."""

import functools
import random
from contextlib import contextmanager

import pytest
import torch
from naive_loop import divergence, inputs, naive, unit_vector
from tiny_families import LAYERS, examples, tiny

from calib.engine.edits import REACH, Edit
from calib.engine.engine import Engine, generate
from calib.engine.operators import Ablate, Add, AddKeepingNorm, Clamp
from calib.engine.request import Decoding, Request
from calib.models.layers import decoder, decoder_layers

TOKENS = 10

either = pytest.mark.parametrize("sharing", [True, False])


@pytest.fixture(scope="module")
def small():
    return tiny("internvl")


def edit(layer, positions="all", seed=0, size=6.0):
    return Edit(layer, Add(size * unit_vector(tiny("internvl").width, seed)), positions)


@functools.cache
def asked():
    """Rows of five prompts in no order, edited or not."""
    made = [
        Request(example, (edit(1 + k, positions, k),) if positions else ())
        for k, positions in enumerate(("", "response", "prompt"))
        for example in examples(5)
    ]
    random.Random(1).shuffle(made)
    return made


@functools.cache
def alone():
    return [naive(tiny("internvl"), one.example, one.edits, TOKENS) for one in asked()]


@contextmanager
def passes(vlm):
    """While open, collects rows and tokens of what each decoder block is given."""
    seen = []

    def hook(module, args):
        seen.append(tuple(args[0].shape[:2]))

    handles = [layer.register_forward_pre_hook(hook) for layer in decoder_layers(vlm.model)]
    yield seen
    for handle in handles:
        handle.remove()


@either
def test_responses_are_in_the_order_of_the_questions(small, sharing):
    found = generate(small, asked(), Decoding(max_new_tokens=TOKENS, sharing=sharing))
    assert [list(response.tokens) for response in found] == [one.tokens for one in alone()]
    assert len({response.tokens for response in found}) > 10
    text = small.processor.tokenizer
    for response in found:
        assert response.text == text.decode(response.tokens, skip_special_tokens=True).strip()


def test_nothing_asked_nothing_answered(small):
    assert generate(small, [], Decoding()) == []


@either
def test_kl_is_measured_where_nobody_asks_for_the_unedited_row(small, sharing):
    """And where others do, and for the unedited row itself."""
    example, other = examples(2)
    rows = [Request(example, (edit(k % LAYERS, p, k),)) for k, p in enumerate(REACH)]
    base = naive(small, example, (), 1)
    expected = [divergence(naive(small, one.example, one.edits, 1), base) for one in rows]
    assert min(expected) > 1e-3
    engine = Engine(small, Decoding(max_new_tokens=2, sharing=sharing))
    for beside in ([], [Request(example), Request(other), Request(other, (edit(1),))]):
        found = [response.kl for response in engine.answer([*rows, *beside])]
        assert found[: len(rows)] == pytest.approx(expected, rel=1e-3, abs=1e-6)
        assert not beside or found[len(rows) : -1] == [0.0, 0.0]


@either
def test_how_a_response_ended(small, sharing):
    found = generate(small, asked(), Decoding(max_new_tokens=TOKENS, sharing=sharing))
    ends = small.model.generation_config.eos_token_id
    for response in found:
        assert not set(response.tokens[:-1]) & set(ends)
        expected = "stop" if response.tokens[-1] in ends else "length"
        assert response.finish == expected
        assert response.finish == "stop" or len(response.tokens) == TOKENS
    assert {response.finish for response in found} == {"stop", "length"}


@either
def test_a_response_is_cut_when_it_is_certain(small, sharing):
    """After the first token that makes it so; who is beside it, and how else it ends, unchanged."""
    decode = small.processor.tokenizer.decode
    plain = Decoding(max_new_tokens=TOKENS, batch_rows=4, sharing=sharing)
    engine = Engine(small, plain)
    full = engine.answer(asked())

    def long_enough(text):
        return len(text) >= 4

    rows = [
        Request(one.example, one.edits, certain=long_enough if k % 2 else None)
        for k, one in enumerate(asked())
    ]
    found = engine.answer(rows)
    cut = 0
    for row, response, whole in zip(rows, found, full, strict=True):
        said = whole.tokens[: len(response.tokens)]
        assert response.tokens == said
        assert response.kl == pytest.approx(whole.kl, rel=1e-3, abs=1e-6)
        if row.certain is None:
            assert (said, response.finish) == (whole.tokens, whole.finish)
            continue
        texts = [decode(said[: n + 1], skip_special_tokens=True) for n in range(len(said))]
        if response.finish == "cut":
            cut += 1
            assert len(said) < len(whole.tokens)
            assert long_enough(texts[-1].strip())
            assert not any(long_enough(text.strip()) for text in texts[:-1])
        else:
            assert (said, response.finish) == (whole.tokens, whole.finish)
            assert not any(long_enough(text.strip()) for text in texts[:-1])
    assert cut > 3


def test_what_is_certain_from_the_first_token_is_never_decoded(small):
    engine = Engine(small, Decoding(max_new_tokens=TOKENS))
    found = engine.answer(
        [Request(one.example, one.edits, certain=lambda text: True) for one in asked()]
    )
    assert {len(response.tokens) for response in found} == {1}
    assert engine.tally.decode_row_steps == 0


@either
@pytest.mark.parametrize("value", ["inf", "nan"])
def test_logits_that_are_not_finite_from_the_first_token_on(small, value, sharing):
    """Of one row; its neighbours go on."""
    broken = torch.zeros(small.width)
    broken[3] = float(value)
    rows = list(asked())
    rows.insert(2, Request(rows[2].example, (Edit(2, Add(broken), "response"),)))
    rows.insert(7, Request(rows[7].example, (Edit(1, Add(broken), "all"),)))
    found = generate(small, rows, Decoding(max_new_tokens=TOKENS, batch_rows=4, sharing=sharing))
    for place in (7, 2):
        response = found.pop(place)
        assert (response.finish, response.tokens, response.text) == ("not_finite", (), "")
    assert [list(response.tokens) for response in found] == [one.tokens for one in alone()]


@either
def test_logits_that_are_not_finite_later(small, sharing):
    """What was said before is kept."""
    plain = Decoding(max_new_tokens=TOKENS, batch_rows=5, sharing=sharing)
    engine = Engine(small, plain)
    full, calls = engine.answer(asked()), []

    def poison(module, args, output):
        calls.append(None)
        if output.shape[1] == 1 and len(calls) % 7 == 0:
            output = output.clone()
            output[0] = float("nan")
        return output

    handle = decoder(small.model).norm.register_forward_hook(poison)
    found = engine.answer(asked())
    handle.remove()
    broken = 0
    for response, whole in zip(found, full, strict=True):
        if response.finish == "not_finite":
            broken += 1
            assert response.tokens == whole.tokens[: len(response.tokens)]
            assert len(response.tokens) < len(whole.tokens)
        else:
            assert response.tokens == whole.tokens
    assert broken


@either
@pytest.mark.parametrize("batch_rows", [1, 4, 100])
def test_no_step_is_spent_on_a_row_that_has_ended(small, batch_rows, sharing):
    engine = Engine(small, Decoding(max_new_tokens=TOKENS, batch_rows=batch_rows, sharing=sharing))
    engine.answer(asked())
    engine.answer(asked()[:4])
    expected = [len(one.tokens) for one in (*alone(), *alone()[:4])]
    assert (engine.tally.rows, engine.tally.tokens) == (len(expected), sum(expected))
    assert engine.tally.decode_row_steps == sum(expected) - len(expected)


@either
def test_the_counts_are_of_what_passed_the_decoder(small, sharing):
    engine = Engine(small, Decoding(max_new_tokens=TOKENS, batch_rows=6, sharing=sharing))
    engine.answer(asked())  # looks at the model, and compares
    read, steps = engine.tally.prefill_token_layers, engine.tally.decode_row_steps
    with passes(small) as seen:
        engine.answer(asked())
    read, steps = engine.tally.prefill_token_layers - read, engine.tally.decode_row_steps - steps
    assert read + LAYERS * steps == sum(rows * length for rows, length in seen)


def test_a_prompt_is_read_once_and_forks_where_rows_differ(small):
    """Next to nothing beyond the least there is to compute, counted by hand."""
    one, other = examples(2)
    rows = [Request(example) for example in (one, other)]
    rows += [Request(one, (edit(1, "response", k),)) for k in range(6)]
    rows += [Request(other, (edit(3, "all", k),)) for k in range(6)]
    rows += [Request(other, (edit(3, "all", 0), edit(3, "last_prompt", 9)))]
    engine = Engine(small, Decoding(max_new_tokens=1, batch_rows=100))
    engine.answer(rows)
    first, second = (len(inputs(small, e)["input_ids"][0]) for e in (one, other))
    prefix = (first - 1) * LAYERS + (second - 1) * (4 + 7)
    last = (2 + 3 * 7) + (4 + 8)
    assert 1 <= engine.tally.prefill_token_layers / (prefix + last) <= 1.02


@either
def test_each_row_lands_once(small, sharing):
    landed = []
    engine = Engine(small, Decoding(max_new_tokens=TOKENS, batch_rows=4, sharing=sharing))
    engine.answer(asked(), lambda: landed.append(None))
    assert len(landed) == len(asked())


def test_the_packaged_model_says_what_the_naive_loop_says(vlm, mixed_examples):
    """Trained weights, its own tokenizer and template, prompts of 30 to 100 tokens."""
    along = unit_vector(vlm.width, 0)
    edits = (
        (),
        (Edit(2, Add(6 * along), "response"),),
        (Edit(1, Ablate(along, 2.0)), Edit(4, Clamp(along, 1.0, 2.0), "text")),
        (Edit(3, AddKeepingNorm(8 * along), "prompt"),),
    )
    rows = [Request(e, edits[k % 4]) for k, e in enumerate((*mixed_examples, *mixed_examples[2:9]))]
    found = generate(vlm, rows, Decoding(max_new_tokens=16, batch_rows=6))
    assert [list(response.tokens) for response in found] == [
        naive(vlm, one.example, one.edits, 16).tokens for one in rows
    ]


@pytest.mark.parametrize("sharing", [True, False])
def test_kl_that_nobody_asks_for_costs_nothing(vlm, mixed_examples, sharing):
    """An edited row alone: its unedited prompt is read along for KL only."""
    edit = Edit(1, Add(torch.ones(vlm.width)), "all")
    one = [Request(mixed_examples[0], (edit,))]
    answered = {}
    for kl in (True, False):
        engine = Engine(vlm, Decoding(max_new_tokens=4, sharing=sharing, kl=kl))
        engine._checked = True
        answered[kl] = engine.answer(one)[0], engine.tally.prefill_token_layers
    assert answered[True][0].tokens == answered[False][0].tokens
    assert answered[True][0].kl > 0 and answered[False][0].kl is None
    assert answered[True][1] > answered[False][1]
