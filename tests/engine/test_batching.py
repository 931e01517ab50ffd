"""What fits: budgets in bytes, groups of prompts, and smaller batches once memory has run out."""

import functools
import random
from contextlib import contextmanager

import pytest
import torch
from naive_loop import naive, unit_vector
from tiny_families import FAMILIES, examples, tiny
from transformers import DynamicCache

from calib.engine.batching import (
    Room,
    bytes_per_token,
    columns_for,
    next_group,
    next_pass,
    room_for,
    rows_in_flight,
)
from calib.engine.edits import Edit
from calib.engine.engine import Engine
from calib.engine.operators import Add
from calib.engine.request import Decoding, DecodingRow, Request
from calib.models.layers import decoder_layers
from calib.models.prompt_batch import collate
from calib.models.prompts import Prompt, read_prompt
from calib.util.errors import CalibError

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
    """What the engine does once memory has run out takes longer than everything else here."""
    monkeypatch.setattr("gc.collect", lambda: 0)


@pytest.fixture(scope="module")
def small():
    return tiny("internvl")


@functools.cache
def asked():
    """Two dozen rows of six prompts, edited within the prompt and after it."""
    width = tiny("internvl").width
    return [
        Request(example, (Edit(k, Add(5 * unit_vector(width, k)), positions),) if k else ())
        for example in examples(6)
        for k, positions in enumerate(("", "all", "response", "text"))
    ]


@functools.cache
def expected():
    return [naive(tiny("internvl"), one.example, one.edits, TOKENS).tokens for one in asked()]


def tokens(responses):
    return [list(response.tokens) for response in responses]


def ready(vlm, **settings):
    """An engine that has made its comparison."""
    engine = Engine(vlm, Decoding(max_new_tokens=TOKENS, **settings))
    engine.answer([asked()[0], asked()[8]])
    return engine


@contextmanager
def batches(vlm, most=None, error=None):
    """While open, collects the rows of each pass; more than ``most`` raise ``error``."""
    seen = []

    def hook(module, args):
        seen.append(len(args[0]))
        if most is not None and seen[-1] > most:
            raise type(error)(*error.args)

    handle = decoder_layers(vlm.model)[3].register_forward_pre_hook(hook)
    try:
        yield seen
    finally:
        handle.remove()


def row(length, edits=(), prompt=None):
    ids = torch.zeros(length, dtype=torch.int64)
    return DecodingRow(0, prompt or Prompt(ids, ids, ids > 0, (), {}, {}), edits)


@pytest.mark.parametrize("family", FAMILIES)
def test_bytes_of_a_token_are_what_the_cache_takes(family):
    vlm = tiny(family)
    example = examples(1)[0]
    batch = collate(vlm, [read_prompt(vlm, example)])
    cache = DynamicCache()
    with torch.no_grad():
        vlm.model(**batch.inputs, past_key_values=cache, use_cache=True)
    own = [(k.keys, k.values) for k in cache.layers if k.keys.shape[-2] == batch.tokens.shape[1]]
    taken = sum(part.numel() * part.element_size() for layer in own for part in layer)
    # Mllama's layers that look at the picture keep what they see there instead.
    per_layer = taken / batch.tokens.numel() / len(own)
    assert bytes_per_token(vlm)[0] == per_layer * vlm.num_layers


@pytest.mark.parametrize("columns", [20, 300])
@pytest.mark.parametrize("memory", [10**6, 10**7, 10**9])
def test_what_fits_is_within_the_budget_and_most_of_it(small, memory, columns):
    cached, passing = bytes_per_token(small)
    room = room_for(small, Decoding(memory=memory, batch_rows=10**6), columns)
    used = room.slots * columns * cached + room.tokens * (cached + passing)
    assert used <= memory
    assert room.slots == rows_in_flight(small, Decoding(batch_rows=10**6)) or used > memory / 2
    assert room_for(small, Decoding(memory=memory, batch_rows=3), columns).slots <= 3


def test_no_budget_is_too_small_for_one_row(small):
    assert room_for(small, Decoding(memory=1), 500) == Room(1, 1)


def test_a_group_is_never_empty_and_the_last_one_ends():
    draw = random.Random(0)
    for _ in range(200):
        rows = []
        for _ in range(draw.randint(1, 6)):
            one = row(draw.randint(1, 40))
            for k in range(draw.randint(1, 6)):
                positions = draw.choice(["all", "response", "text"])
                edits = (Edit(0, Add(unit_vector(4, k)), positions),) if k else ()
                rows.append(row(0, edits, one.prompt))
        room, whole = Room(draw.randint(1, 6), draw.randint(1, 100)), draw.random() < 0.3
        left = rows
        while left:
            count = next_group(left, room, whole)
            assert 1 <= count <= len(left)
            left = left[count:]


def test_a_group_takes_room_for_what_differs_within_its_prompts():
    response = (Edit(0, Add(unit_vector(4, 0)), "response"),)
    prompt = (Edit(0, Add(unit_vector(4, 0)), "text"),)
    one, other = row(100).prompt, row(101).prompt
    later = [row(0, edits, one) for edits in [(), *[response] * 50]]
    assert next_group(later, Room(4, 100), whole=False) == 51
    assert next_group(later, Room(4, 300), whole=True) == 3
    assert next_group([*later, row(0, (), other)], Room(4, 202), whole=False) == 52
    within = [row(0, edits, one) for edits in [(), *[prompt] * 50]]
    assert next_group(within, Room(100, 800), whole=False) == 8
    assert next_group(within, Room(4, 10000), whole=False) == 5


def test_a_group_ends_with_a_prompt():
    """Parted only where one prompt's rows are too many, and then nothing else is with them."""
    prompt = (Edit(0, Add(unit_vector(4, 0)), "text"),)
    one, other = row(100).prompt, row(101).prompt
    rows = [row(0, edits, of) for of in (one, other) for edits in [(), *[prompt] * 5]]
    assert next_group(rows, Room(100, 6 * 100 + 6 * 101), whole=False) == 12
    assert next_group(rows, Room(100, 6 * 100 + 5 * 101), whole=False) == 6
    assert next_group(rows[6:], Room(100, 6 * 100 + 5 * 101), whole=False) == 6
    assert next_group(rows, Room(100, 3 * 101), whole=False) == 3


def test_a_pass_holds_little_padding(monkeypatch):
    prompts = [row(length).prompt for length in (100, 101, 150)]
    rows = [row(0, (), prompt) for prompt in prompts for _ in range(3)]
    assert next_pass(rows) == 6
    assert next_pass(rows[6:]) == 3
    monkeypatch.setattr("calib.engine.batching.PADDING", 100.0)
    assert next_pass(rows) == 9


def test_a_small_budget_means_fewer_rows_at_once(small):
    rows = [DecodingRow(0, read_prompt(small, one.example), ()) for one in asked()]
    columns = columns_for(rows, TOKENS)
    # Rows in flight have three fifths of the budget: five of them here.
    memory = 5 * columns * bytes_per_token(small)[0] * 5 // 3 + 1
    for settings, most in (({}, 24), ({"memory": memory}, 5), ({"memory": 1}, 1)):
        engine = ready(small, **settings)
        with batches(small) as seen:
            assert tokens(engine.answer(asked())) == expected()
        assert engine.tally.retries == 0 and not engine.notes
        # The unedited prompt that a row is compared with is read beside it.
        assert most / 2 < max(seen) <= most + 1


@pytest.mark.parametrize(
    "most, error, sharing",
    [
        (3, OUT_OF_MEMORY[0], True),
        (9, OUT_OF_MEMORY[1], True),
        (3, OUT_OF_MEMORY[1], False),
        (9, OUT_OF_MEMORY[0], False),
    ],
)
def test_batches_shrink_when_memory_runs_out(small, most, error, sharing):
    engine, landed = ready(small, sharing=sharing, batch_rows=24), []
    with batches(small, most, error) as seen:
        found = engine.answer(asked(), lambda: landed.append(None))
    assert tokens(found) == expected()
    assert engine.tally.retries > 0 and max(seen) > most
    assert f"memory ran out {engine.tally.retries} times" in engine.notes[-1]
    assert len(landed) == len(asked())


def test_batches_stay_small_once_they_have_shrunk(small):
    engine = ready(small, batch_rows=24)
    with batches(small, 3, OUT_OF_MEMORY[0]) as seen:
        engine.answer(asked())
    with batches(small, 3, OUT_OF_MEMORY[0]) as again:
        assert tokens(engine.answer(asked())) == expected()
    assert max(seen) > 3 >= max(again)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("sharing", [True, False])
def test_no_memory_at_all(small, sharing, first):
    """Whether it is missing from the first look at the model on, or later."""
    memory = 50 * sum(bytes_per_token(small))  # so that there is little to halve
    decoding = Decoding(max_new_tokens=TOKENS, sharing=sharing, memory=memory)
    engine = Engine(small, decoding) if first else ready(small, sharing=sharing, memory=memory)
    with (
        batches(small, 0, OUT_OF_MEMORY[0]),
        pytest.raises(CalibError, match=r"not even one row fits.*model\.dtype=bfloat16"),
    ):
        engine.answer(asked()[:8])


def test_other_errors_pass_through(small):
    engine = ready(small)
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied (3x4 and 5x6)")
    with batches(small, 9, error), pytest.raises(RuntimeError, match="cannot be multiplied"):
        engine.answer(asked())
    assert engine.tally.retries == 0
