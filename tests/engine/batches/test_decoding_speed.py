"""Rows in flight, chosen by the measured speed of decoding steps."""

import functools

import pytest
import torch
from steered_requests import steered_requests
from tiny_families import examples, tiny

from calib.engine.batches.batching import plan_rows
from calib.engine.batches.decoding_speed import DecodingSpeed
from calib.engine.engine import Engine
from calib.engine.request import Decoding, Request
from calib.engine.sampling import Sampler
from calib.models.layers import decoder_layers

TOKENS = 6


class Machine(DecodingSpeed):
    """Steps that take known times, by number of rows."""

    def __init__(self, seconds):
        super().__init__(None, None)
        self.seconds, self.tried = seconds, []

    def seconds_per_step(self, row, count, columns):
        self.tried.append(count)
        return self.seconds.get(count)


def fastest(seconds, least, most, columns=60):
    machine = Machine(seconds)
    return machine.fastest(None, least, most, columns), machine.tried


LLAMA = {16: 16 / 118, 32: 32 / 180, 64: 64 / 236, 128: 128 / 199, 100: 100 / 230}
"""Seconds of a step of a Llama of 135 million weights on two cores."""


def test_rows_double_while_tokens_per_second_grow():
    assert fastest(LLAMA, 16, 512) == (64, [16, 32, 64, 128])
    assert fastest(LLAMA, 64, 100) == (64, [64, 100])
    assert fastest(LLAMA, 16, 32) == (32, [16, 32])


def test_more_rows_are_not_used_for_a_small_gain():
    assert fastest({4: 4, 8: 7.9, 16: 15.5}, 4, 16) == (4, [4, 8, 16])


def test_measuring_ends_where_memory_does():
    assert fastest({4: 4, 8: 5}, 4, 64) == (8, [4, 8, 16])
    assert fastest({}, 4, 64) == (4, [4])


def test_slow_steps_are_measured_once(monkeypatch):
    clock = iter(range(0, 1000, 3))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(clock)))
    assert fastest(LLAMA, 16, 512) == (16, [16])


def test_a_length_is_measured_once():
    machine = Machine(LLAMA)
    chosen = [machine.fastest(None, 16, 64, columns) for columns in (60, 64, 40)]
    assert chosen == [64] * 3 and machine.tried == [16, 32, 64]
    machine.fastest(None, 16, 32, 65)
    assert machine.tried == [16, 32, 64, 16, 32]


@pytest.mark.parametrize("family", ["internvl", "qwen2_5_vl", "paligemma"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_step_of_the_model_is_timed(family, temperature):
    """Full attention, three axes of positions, and prompts that attend to later tokens."""
    vlm, sizes = tiny(family), []
    engine = Engine(vlm, Decoding(max_new_tokens=2, temperature=temperature))
    row = rows_of(engine)[0]
    handle = decoder_layers(vlm.model)[0].register_forward_pre_hook(
        lambda module, args: sizes.append(tuple(args[0].shape[:2]))
    )
    try:
        seconds = DecodingSpeed(vlm, engine.sampler).seconds_per_step(row, 5, 40)
    finally:
        handle.remove()
    assert seconds > 0 and set(sizes) == {(5, 1)}
    assert row.tokens == [] and row.finish is None


def rows_of(engine):
    return plan_rows(engine.vlm, [Request(example) for example in examples(2)], engine.decoding)


def test_running_out_of_memory_is_no_measurement(monkeypatch):
    vlm = tiny("internvl")
    engine = Engine(vlm, Decoding(max_new_tokens=2))
    monkeypatch.setattr(
        "calib.engine.batches.decode_batch.DecodeBatch.step",
        functools.partial(_raise, torch.OutOfMemoryError),
    )
    assert DecodingSpeed(vlm, Sampler(vlm, engine.decoding)).seconds_per_step(
        rows_of(engine)[0], 5, 40
    ) is None  # fmt: skip


def _raise(error, *_):
    raise error("CUDA out of memory")


def answered(monkeypatch, fastest, dtype=None):
    """Tokens and KL of all requests, in batches of four rows, and whether speed was measured."""
    called = []
    monkeypatch.setattr("calib.engine.engine.batch_rows", lambda *_: 4)
    monkeypatch.setattr("calib.engine.batches.batching.batch_rows", lambda *_: 4)
    monkeypatch.setattr(
        DecodingSpeed, "fastest", lambda *given: called.append(given[2:]) or fastest
    )
    engine = Engine(tiny("internvl"), Decoding(max_new_tokens=TOKENS))
    responses = engine.answer(steered_requests())
    return [(r.tokens, r.kl, r.kl_base) for r in responses], called


def test_responses_and_kl_do_not_depend_on_the_rows_in_flight(monkeypatch):
    few, called = answered(monkeypatch, 2)
    assert len(few) == 24 and called[-1][:2] == (4, 24)
    for fastest in (1, 5, 24):
        assert answered(monkeypatch, fastest)[0] == few


def test_nothing_is_measured_where_all_rows_fit_into_a_batch(monkeypatch):
    monkeypatch.setattr(DecodingSpeed, "fastest", None)
    engine = Engine(tiny("internvl"), Decoding(max_new_tokens=TOKENS))
    assert len(engine.answer(steered_requests())) == 24


def test_nothing_is_measured_in_narrow_types(monkeypatch):
    """There, a response may depend on the rows beside it."""
    vlm = tiny("internvl")
    monkeypatch.setattr(type(vlm.model), "dtype", property(lambda self: torch.bfloat16))
    _, called = answered(monkeypatch, 2)
    assert not called
