"""Requests whose edit is too strong, and those that read what it left in vLLM's cache."""

import pytest
import torch
from backend_stand_in import StandIn
from naive_loop import unit_vector
from raising import raises
from tiny_families import examples, tiny

from calib.engine.edits import Edit
from calib.engine.engine import Engine
from calib.engine.operators import Add
from calib.engine.request import Decoding, Request
from calib.engine.vllm.engine import VllmEngine

TOKENS = 4


@pytest.fixture
def vlm():
    return tiny("internvl")


@pytest.fixture
def stand_in(vlm):
    backend = StandIn(vlm, infects=True)
    yield backend
    backend.close()


def requests(vlm):
    """Unedited, edited and overflowing rows in mixed order."""
    broken = torch.full((vlm.width,), torch.nan)
    settings = [
        (),
        (Edit(1, Add(broken), "all"),),
        (Edit(1, Add(4 * unit_vector(vlm.width, 1)), "all"),),
        (Edit(1, Add(broken), "response"),),
    ]
    return [Request(example, edits) for example in examples(6)[:3] for edits in settings]


def through(vlm, backend):
    engine = VllmEngine(vlm, Decoding(TOKENS), backend)
    engine.served.checked |= {(e, p) for e in (True, False) for p in (True, False)}
    return engine


@pytest.mark.parametrize("reverses", [False, True])
def test_only_rows_whose_own_edit_overflows_are_labelled(vlm, stand_in, reverses):
    stand_in.reverses = reverses
    rows = requests(vlm)
    found = through(vlm, stand_in).answer(rows)
    expected = Engine(vlm, Decoding(TOKENS), selfcheck=False).answer(rows)
    assert [(r.tokens, r.text, r.finish) for r in found] == [
        (r.tokens, r.text, r.finish) for r in expected
    ]
    finishes = [r.finish == "not_finite" for r in found]
    assert finishes == [False, True, False, True] * 3
    for one, other in zip(found, expected, strict=True):
        if one.tokens:
            assert one.kl == pytest.approx(other.kl, abs=1e-4)
    assert stand_in.cache.isfinite().all()


def test_logits_of_first_tokens_are_read_again_too(vlm, stand_in):
    stand_in.cache.fill_(torch.nan)
    example = examples(6)[1]
    assert through(vlm, stand_in).first_token_logits([example], [()]).isfinite().all()


def test_a_server_that_takes_no_hooks_cannot_be_cleaned(vlm, stand_in):
    stand_in.runs_hooks = False
    with raises("not-finite", "engine.hooks=true", "start vLLM again"):
        through(vlm, stand_in).answer(requests(vlm))


def test_a_quantized_cache_cannot_be_cleaned(vlm, stand_in, monkeypatch):
    engine = through(vlm, stand_in)
    rows = requests(vlm)

    def quantized(request, send=stand_in.complete_everywhere):
        before, stand_in.cache = stand_in.cache, torch.zeros(2, 3, dtype=torch.uint8)
        completions, stand_in.cache = send(request), before
        return completions

    monkeypatch.setattr(stand_in, "complete_everywhere", quantized)
    with raises("not-finite", "cannot be cleaned", "start vLLM again"):
        engine.answer(rows)
