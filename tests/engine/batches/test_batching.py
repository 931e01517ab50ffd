"""Memory budgets, groups of prompts, and smaller batches after memory has run out."""

import dataclasses
import functools
import random
import re
from contextlib import contextmanager

import pytest
import torch
from naive_loop import naive, unit_vector
from raising import raises
from steered_requests import steered_requests
from tiny_families import FAMILIES, HYBRIDS, examples, tiny
from transformers import DynamicCache

from calib.engine.activations import batches_by_length
from calib.engine.batches.batching import (
    Capacity,
    batch_rows,
    bytes_per_token,
    capacity_for,
    columns_for,
    group_size,
    pass_size,
)
from calib.engine.edits import Edit
from calib.engine.engine import Engine
from calib.engine.operators import Add
from calib.engine.request import Decoding, DecodingRow
from calib.models.layers import decoder_layers
from calib.models.prompt_batch import collate
from calib.models.prompts import Prompt, read_prompt, read_prompts

TOKENS = 6
OUT_OF_MEMORY = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: "
        "you tried to allocate 68719476736 bytes. Error code 12 (Cannot allocate memory)"
    ),
)


@pytest.fixture(autouse=True)
def no_collection(monkeypatch):
    """Skip the garbage collection after running out of memory: it would dominate the test time."""
    monkeypatch.setattr("gc.collect", lambda: 0)


@pytest.fixture(scope="module")
def small():
    return tiny("internvl")


@functools.cache
def expected():
    return [naive(tiny("internvl"), r.example, r.edits, TOKENS).tokens for r in steered_requests()]


def tokens(responses):
    return [list(response.tokens) for response in responses]


def checked_engine(vlm, **settings):
    """An engine that has detected sharing and passed its self-check."""
    engine = Engine(vlm, Decoding(max_new_tokens=TOKENS, **settings))
    engine.answer([steered_requests()[0], steered_requests()[8]])
    return engine


@contextmanager
def pass_sizes(vlm, max_rows=None, error=None):
    """Collect the rows of each pass while open; a pass of more than ``max_rows`` raises."""
    sizes = []

    def hook(module, args):
        sizes.append(len(args[0]))
        if max_rows is not None and sizes[-1] > max_rows:
            raise type(error)(*error.args)

    handle = decoder_layers(vlm.model)[3].register_forward_pre_hook(hook)
    try:
        yield sizes
    finally:
        handle.remove()


def row(length, edits=(), prompt=None):
    ids = torch.zeros(length, dtype=torch.int64)
    return DecodingRow(0, prompt or Prompt(ids, ids, ids > 0, (), {}, {}), edits)


@pytest.mark.parametrize("family", FAMILIES)
def test_bytes_per_token_equal_the_size_of_the_kv_cache(family):
    vlm = tiny(family)
    example = examples(1)[0]
    batch = collate(vlm, [read_prompt(vlm, example)])
    cache = DynamicCache(config=vlm.model.config) if family in HYBRIDS else DynamicCache()
    with torch.no_grad():
        vlm.model(**batch.inputs, past_key_values=cache, use_cache=True)
    layers = [layer for layer in cache.layers if getattr(layer, "keys", None) is not None]
    own = [(k.keys, k.values) for k in layers if k.keys.shape[-2] == batch.tokens.shape[1]]
    taken = sum(part.numel() * part.element_size() for layer in own for part in layer)
    # Mllama's cross-attention layers cache the image instead of the prompt.
    per_layer = taken / batch.tokens.numel() / len(own)
    assert bytes_per_token(vlm)[0] == per_layer * vlm.num_layers


@pytest.mark.parametrize("family", HYBRIDS)
def test_prompts_of_hybrids_share_a_batch_only_with_prompts_of_their_length(family):
    vlm, (first, second) = tiny(family), examples(2)
    shorter, longer = read_prompts(vlm, [first, second])
    of_equal_length = dataclasses.replace(shorter)
    assert len(shorter.tokens) < len(longer.tokens)
    prompts = [longer, shorter, of_equal_length]
    assert list(batches_by_length(prompts, 10, 10**6)) == [[1, 2], [0]]


def test_padding_changes_the_output_of_a_convolution_with_biases():
    """Otherwise, prompts of a hybrid could share a batch as those of other families do."""
    vlm, plain = tiny("lfm2_vl"), [e for e in examples(6) if e.picture is None]
    batch = collate(vlm, prompts := read_prompts(vlm, plain))
    alone = collate(vlm, prompts[:1])
    with torch.no_grad():
        padded, own = (
            vlm.model(**b.inputs, position_ids=b.position_ids, logits_to_keep=1).logits[0, -1]
            for b in (batch, alone)
        )
    assert len(prompts[0].tokens) < len(prompts[1].tokens)
    assert (padded - own).abs().max() > 1e-3


@pytest.mark.parametrize("columns", [20, 300])
@pytest.mark.parametrize("memory", [10**6, 10**7, 10**9])
def test_capacity_uses_most_of_the_budget_and_not_more(small, memory, columns):
    cached, passing = bytes_per_token(small)
    capacity = capacity_for(small, Decoding(memory=memory, batch_rows=10**6), columns)
    used = capacity.rows * columns * cached + capacity.tokens * (cached + passing)
    assert used <= memory
    limit = batch_rows(small, Decoding(batch_rows=10**6))
    assert capacity.rows == limit or used > memory / 2
    assert capacity_for(small, Decoding(memory=memory, batch_rows=3), columns).rows <= 3


def test_any_budget_has_capacity_for_one_row(small):
    assert capacity_for(small, Decoding(memory=1), 500) == Capacity(1, 1)


def test_groups_are_never_empty():
    draw = random.Random(0)
    for _ in range(200):
        rows = []
        for _ in range(draw.randint(1, 6)):
            prompt = row(draw.randint(1, 40)).prompt
            for k in range(draw.randint(1, 6)):
                positions = draw.choice(["all", "response", "text"])
                edits = (Edit(0, Add(unit_vector(4, k)), positions),) if k else ()
                rows.append(row(0, edits, prompt))
        capacity = Capacity(draw.randint(1, 6), draw.randint(1, 100))
        single_pass = draw.random() < 0.3
        while rows:
            count = group_size(rows, capacity, single_pass)
            assert 1 <= count <= len(rows)
            rows = rows[count:]


def test_rows_count_towards_a_group_if_they_differ_within_the_prompt():
    response = (Edit(0, Add(unit_vector(4, 0)), "response"),)
    prompt = (Edit(0, Add(unit_vector(4, 0)), "text"),)
    first, second = row(100).prompt, row(101).prompt
    rows = [row(0, edits, first) for edits in [(), *[response] * 50]]
    assert group_size(rows, Capacity(4, 100), single_pass=False) == 51
    assert group_size(rows, Capacity(4, 300), single_pass=True) == 3
    assert group_size([*rows, row(0, (), second)], Capacity(4, 202), single_pass=False) == 52
    rows = [row(0, edits, first) for edits in [(), *[prompt] * 50]]
    assert group_size(rows, Capacity(100, 800), single_pass=False) == 8
    assert group_size(rows, Capacity(4, 10000), single_pass=False) == 5


def test_a_group_ends_with_the_last_row_of_a_prompt():
    """A prompt is split only if its rows exceed the capacity, and then has a group of its own."""
    edited = (Edit(0, Add(unit_vector(4, 0)), "text"),)
    prompts = row(100).prompt, row(101).prompt
    rows = [row(0, edits, prompt) for prompt in prompts for edits in [(), *[edited] * 5]]
    assert group_size(rows, Capacity(100, 6 * 100 + 6 * 101), single_pass=False) == 12
    assert group_size(rows, Capacity(100, 6 * 100 + 5 * 101), single_pass=False) == 6
    assert group_size(rows[6:], Capacity(100, 6 * 100 + 5 * 101), single_pass=False) == 6
    assert group_size(rows, Capacity(100, 3 * 101), single_pass=False) == 3


def test_a_pass_has_little_padding(monkeypatch):
    prompts = [row(length).prompt for length in (100, 101, 150)]
    rows = [row(0, (), prompt) for prompt in prompts for _ in range(3)]
    assert pass_size(rows) == 6
    assert pass_size(rows[6:]) == 3
    monkeypatch.setattr("calib.engine.batches.batching.PADDING", 100.0)
    assert pass_size(rows) == 9


def test_a_small_budget_means_smaller_batches(small):
    rows = [
        DecodingRow(0, read_prompt(small, request.example), ()) for request in steered_requests()
    ]
    columns = columns_for(rows, TOKENS)
    # CACHED_SHARE of the budget is for decoding rows: here enough for five.
    memory = 5 * columns * bytes_per_token(small)[0] * 5 // 3 + 1
    for settings, max_rows in (({}, 24), ({"memory": memory}, 5), ({"memory": 1}, 1)):
        engine = checked_engine(small, **settings)
        with pass_sizes(small) as sizes:
            assert tokens(engine.answer(steered_requests())) == expected()
        assert engine.stats.retries == 0 and not engine.notes
        # One more row, because the unedited prompt is read for KL.
        assert max_rows / 2 < max(sizes) <= max_rows + 1


@pytest.mark.parametrize(
    "max_rows, error, sharing",
    [
        (3, OUT_OF_MEMORY[0], True),
        (9, OUT_OF_MEMORY[1], True),
        (3, OUT_OF_MEMORY[1], False),
        (9, OUT_OF_MEMORY[0], False),
    ],
)
def test_batches_shrink_when_memory_runs_out(small, max_rows, error, sharing):
    engine, ended = checked_engine(small, sharing=sharing, batch_rows=24), []
    with pass_sizes(small, max_rows, error) as sizes:
        responses = engine.answer(steered_requests(), lambda: ended.append(None))
    assert tokens(responses) == expected()
    assert engine.stats.retries > 0 and max(sizes) > max_rows
    assert f" {engine.stats.retries} times" in engine.notes[-1]
    assert len(ended) == len(steered_requests())


def test_batches_stay_small_after_memory_has_run_out(small):
    engine = checked_engine(small, batch_rows=24)
    with pass_sizes(small, 3, OUT_OF_MEMORY[0]) as first:
        engine.answer(steered_requests())
    with pass_sizes(small, 3, OUT_OF_MEMORY[0]) as second:
        assert tokens(engine.answer(steered_requests())) == expected()
    assert max(first) > 3 >= max(second)


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("sharing", [True, False])
def test_no_memory_for_one_row(small, sharing, new):
    """While a new engine detects sharing, or later."""
    memory = 50 * sum(bytes_per_token(small))  # small, so that few retries are needed
    settings = {"sharing": sharing, "memory": memory}
    decoding = Decoding(max_new_tokens=TOKENS, **settings)
    engine = Engine(small, decoding) if new else checked_engine(small, **settings)
    with (
        pass_sizes(small, 0, OUT_OF_MEMORY[0]),
        raises("no-memory", "model.dtype=bfloat16", "model.device_map=auto"),
    ):
        engine.answer(steered_requests()[:8])


def test_other_errors_pass_through(small):
    engine = checked_engine(small)
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied (3x4 and 5x6)")
    with pass_sizes(small, 9, error), pytest.raises(RuntimeError, match=re.escape(str(error))):
        engine.answer(steered_requests())
    assert engine.stats.retries == 0
