"""Responses of the engine: their order, how they end, and exact work counts."""

import functools
import random
from contextlib import contextmanager

import pytest
import torch
from naive_loop import divergence, inputs, naive, unit_vector
from tiny_families import examples, tiny
from tiny_parts import LAYERS

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
def requests():
    """Edited and unedited rows of five prompts, shuffled."""
    made = [
        Request(example, (edit(1 + k, positions, k),) if positions else ())
        for k, positions in enumerate(("", "response", "prompt"))
        for example in examples(5)
    ]
    random.Random(1).shuffle(made)
    return made


@functools.cache
def naive_responses():
    return [naive(tiny("internvl"), r.example, r.edits, TOKENS) for r in requests()]


def naive_tokens():
    return [response.tokens for response in naive_responses()]


@contextmanager
def block_inputs(vlm):
    """Collect (rows, tokens) of each decoder block's input while the context is open."""
    shapes = []

    def hook(module, args):
        shapes.append(tuple(args[0].shape[:2]))

    handles = [layer.register_forward_pre_hook(hook) for layer in decoder_layers(vlm.model)]
    yield shapes
    for handle in handles:
        handle.remove()


@either
def test_responses_are_in_the_order_of_the_requests(small, sharing):
    responses = generate(small, requests(), Decoding(max_new_tokens=TOKENS, sharing=sharing))
    assert [list(response.tokens) for response in responses] == naive_tokens()
    assert len({response.tokens for response in responses}) > 10
    tokenizer = small.processor.tokenizer
    for response in responses:
        text = tokenizer.decode(response.tokens, skip_special_tokens=True).strip()
        assert response.text == text


def test_no_requests_no_responses(small):
    assert generate(small, [], Decoding()) == []


@either
def test_kl_is_measured_without_a_request_for_the_unedited_row(small, sharing):
    """And with one, and for the unedited row itself."""
    example, other = examples(2)
    rows = [Request(example, (edit(k % LAYERS, p, k),)) for k, p in enumerate(REACH)]
    unedited = naive(small, example, (), 1)
    expected = [divergence(naive(small, r.example, r.edits, 1), unedited) for r in rows]
    assert min(expected) > 1e-3
    engine = Engine(small, Decoding(max_new_tokens=2, sharing=sharing))
    for more in ([], [Request(example), Request(other), Request(other, (edit(1),))]):
        kl = [response.kl for response in engine.answer([*rows, *more])]
        assert kl[: len(rows)] == pytest.approx(expected, rel=1e-3, abs=1e-6)
        assert not more or kl[len(rows) : -1] == [0.0, 0.0]


@either
def test_finish_reasons(small, sharing):
    responses = generate(small, requests(), Decoding(max_new_tokens=TOKENS, sharing=sharing))
    end_tokens = small.model.generation_config.eos_token_id
    for response in responses:
        assert not set(response.tokens[:-1]) & set(end_tokens)
        expected = "stop" if response.tokens[-1] in end_tokens else "length"
        assert response.finish == expected
        assert response.finish == "stop" or len(response.tokens) == TOKENS
    assert {response.finish for response in responses} == {"stop", "length"}


@either
def test_a_response_is_cut_when_it_is_final(small, sharing):
    """After the first token that makes it final; other rows are unchanged."""
    decode = small.processor.tokenizer.decode
    engine = Engine(small, Decoding(max_new_tokens=TOKENS, batch_rows=4, sharing=sharing))
    uncut = engine.answer(requests())

    def long_enough(text):
        return len(text) >= 4

    rows = [
        Request(request.example, request.edits, is_final=long_enough if k % 2 else None)
        for k, request in enumerate(requests())
    ]
    count = 0
    for row, response, full in zip(rows, engine.answer(rows), uncut, strict=True):
        tokens = full.tokens[: len(response.tokens)]
        assert response.tokens == tokens
        assert response.kl == pytest.approx(full.kl, rel=1e-3, abs=1e-6)
        if row.is_final is None:
            assert (tokens, response.finish) == (full.tokens, full.finish)
            continue
        texts = [decode(tokens[: n + 1], skip_special_tokens=True) for n in range(len(tokens))]
        assert not any(long_enough(text.strip()) for text in texts[:-1])
        if response.finish == "cut":
            count += 1
            assert len(tokens) < len(full.tokens)
            assert long_enough(texts[-1].strip())
        else:
            assert (tokens, response.finish) == (full.tokens, full.finish)
    assert count > 3


def test_rows_that_are_final_after_the_first_token_take_no_decoding_step(small):
    engine = Engine(small, Decoding(max_new_tokens=TOKENS))
    rows = [Request(r.example, r.edits, is_final=lambda text: True) for r in requests()]
    assert {len(response.tokens) for response in engine.answer(rows)} == {1}
    assert engine.stats.decode_row_steps == 0


@either
@pytest.mark.parametrize("value", ["inf", "nan"])
def test_logits_that_are_not_finite_at_the_first_token(small, value, sharing):
    """The other rows of the batch are unaffected."""
    broken = torch.zeros(small.width)
    broken[3] = float(value)
    rows = list(requests())
    rows.insert(2, Request(rows[2].example, (Edit(2, Add(broken), "response"),)))
    rows.insert(7, Request(rows[7].example, (Edit(1, Add(broken), "all"),)))
    decoding = Decoding(max_new_tokens=TOKENS, batch_rows=4, sharing=sharing)
    responses = generate(small, rows, decoding)
    for index in (7, 2):
        response = responses.pop(index)
        assert (response.finish, response.tokens, response.text) == ("not_finite", (), "")
    assert [list(response.tokens) for response in responses] == naive_tokens()


@either
def test_logits_that_are_not_finite_later(small, sharing):
    """The response keeps the tokens generated before."""
    engine = Engine(small, Decoding(max_new_tokens=TOKENS, batch_rows=5, sharing=sharing))
    unbroken, calls = engine.answer(requests()), []

    def poison(module, args, output):
        calls.append(None)
        if output.shape[1] == 1 and len(calls) % 7 == 0:
            output = output.clone()
            output[0] = float("nan")
        return output

    handle = decoder(small.model).norm.register_forward_hook(poison)
    responses = engine.answer(requests())
    handle.remove()
    broken = 0
    for response, full in zip(responses, unbroken, strict=True):
        if response.finish == "not_finite":
            broken += 1
            assert response.tokens == full.tokens[: len(response.tokens)]
            assert len(response.tokens) < len(full.tokens)
        else:
            assert response.tokens == full.tokens
    assert broken


@either
@pytest.mark.parametrize("batch_rows", [1, 4, 100])
def test_rows_that_have_ended_take_no_decoding_step(small, batch_rows, sharing):
    engine = Engine(small, Decoding(max_new_tokens=TOKENS, batch_rows=batch_rows, sharing=sharing))
    engine.answer(requests())
    engine.answer(requests()[:4])
    expected = [len(tokens) for tokens in (*naive_tokens(), *naive_tokens()[:4])]
    assert (engine.stats.rows, engine.stats.tokens) == (len(expected), sum(expected))
    assert engine.stats.decode_row_steps == sum(expected) - len(expected)


@pytest.mark.parametrize("batch_rows", [2, 5, 100])
def test_memory_that_was_never_written_has_no_effect(small, batch_rows, monkeypatch):
    """Prompts of several lengths join at different times, so that the cache is shifted too."""
    empty = torch.empty

    def with_nan(*args, **kwargs):
        tensor = empty(*args, **kwargs)
        return tensor.fill_(float("nan")) if tensor.is_floating_point() else tensor

    monkeypatch.setattr(torch, "empty", with_nan)
    responses = generate(small, requests(), Decoding(TOKENS, batch_rows=batch_rows))
    assert [list(response.tokens) for response in responses] == naive_tokens()


@either
def test_counts_equal_the_inputs_of_the_decoder_blocks(small, sharing):
    engine = Engine(small, Decoding(max_new_tokens=TOKENS, batch_rows=6, sharing=sharing))
    engine.answer(requests())  # detects sharing and runs the self-check
    read, steps = engine.stats.prefill_token_layers, engine.stats.decode_row_steps
    with block_inputs(small) as shapes:
        engine.answer(requests())
    read, steps = engine.stats.prefill_token_layers - read, engine.stats.decode_row_steps - steps
    assert read + LAYERS * steps == sum(rows * length for rows, length in shapes)


def test_a_prompt_is_read_once_and_forks_where_rows_differ(small):
    """At most 2% more than the minimum, which is counted by hand."""
    example, other = examples(2)
    rows = [Request(example), Request(other)]
    rows += [Request(example, (edit(1, "response", k),)) for k in range(6)]
    rows += [Request(other, (edit(3, "all", k),)) for k in range(6)]
    rows += [Request(other, (edit(3, "all", 0), edit(3, "last_prompt", 9)))]
    engine = Engine(small, Decoding(max_new_tokens=1, batch_rows=100))
    engine.answer(rows)
    first, second = (len(inputs(small, e)["input_ids"][0]) for e in (example, other))
    prefix = (first - 1) * LAYERS + (second - 1) * (4 + 7)
    last = (2 + 3 * 7) + (4 + 8)
    assert 1 <= engine.stats.prefill_token_layers / (prefix + last) <= 1.02


@pytest.mark.parametrize("positions", ["", "response", "all"])
def test_rows_that_share_nothing_are_read_in_one_pass(small, positions):
    """As in plain ``generate``: one pass over the prompt, and one for each further token."""
    edits = (edit(1, positions),) if positions else ()
    engine = Engine(small, Decoding(max_new_tokens=TOKENS, kl=False))
    example = examples(1)[0]
    engine.answer([Request(example, edits)])  # detects sharing and runs the self-check
    with block_inputs(small) as shapes:
        response = engine.answer([Request(example, edits)])[0]
    length = inputs(small, example)["input_ids"].shape[1]
    steps = len(response.tokens) - 1
    assert shapes[::LAYERS] == [(1, length)] + steps * [(1, 1)]


@pytest.mark.parametrize("batch_rows", [2, 100])
def test_edits_of_all_tokens_need_no_pass_for_the_last_token(small, batch_rows):
    """The rows of a prompt differ before its last token, so no pass reads that token alone."""
    rows = [Request(example, (edit(1, "all", k),)) for example in examples(2) for k in range(3)]
    engine = Engine(small, Decoding(max_new_tokens=1, batch_rows=batch_rows))
    engine.answer(rows)
    with block_inputs(small) as shapes:
        engine.answer(rows)
    assert all(length > 1 for _, length in shapes)


@either
def test_the_end_of_each_row_is_reported_once(small, sharing):
    ended = []
    engine = Engine(small, Decoding(max_new_tokens=TOKENS, batch_rows=4, sharing=sharing))
    engine.answer(requests(), lambda: ended.append(None))
    assert len(ended) == len(requests())


def test_tokens_of_the_packaged_model_equal_the_naive_loop(vlm, mixed_examples):
    """Trained weights, the model's own tokenizer and template, prompts of 30 to 100 tokens."""
    d = unit_vector(vlm.width, 0)
    edits = (
        (),
        (Edit(2, Add(6 * d), "response"),),
        (Edit(1, Ablate(d, 2.0)), Edit(4, Clamp(d, 1.0, 2.0), "text")),
        (Edit(3, AddKeepingNorm(8 * d), "prompt"),),
    )
    rows = [Request(e, edits[k % 4]) for k, e in enumerate((*mixed_examples, *mixed_examples[2:9]))]
    responses = generate(vlm, rows, Decoding(max_new_tokens=16, batch_rows=6))
    assert [list(response.tokens) for response in responses] == [
        naive(vlm, row.example, row.edits, 16).tokens for row in rows
    ]


@pytest.mark.parametrize("sharing", [True, False])
def test_without_kl_the_unedited_prompt_is_not_read(vlm, mixed_examples, sharing):
    edit = Edit(1, Add(torch.ones(vlm.width)), "all")
    requests = [Request(mixed_examples[0], (edit,))]
    responses, prefill = {}, {}
    for kl in (True, False):
        engine = Engine(vlm, Decoding(max_new_tokens=4, sharing=sharing, kl=kl))
        engine._checked = True
        (responses[kl],) = engine.answer(requests)
        prefill[kl] = engine.stats.prefill_token_layers
    assert responses[True].tokens == responses[False].tokens
    assert responses[True].kl > 0 and responses[False].kl is None
    assert prefill[True] > prefill[False]
