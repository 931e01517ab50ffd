"""The self-check compares shared responses with plain ``generate`` before a run relies on them."""

import copy
import dataclasses

import pytest
import torch
from naive_loop import naive, unit_vector
from raising import raises
from tiny_families import examples, tiny

from calib.engine.batches.decode_batch import DecodeBatch
from calib.engine.batches.prefix_sharing import PrefixStates
from calib.engine.edits import Edit
from calib.engine.engine import Engine, generate
from calib.engine.operators import Add, Clamp
from calib.engine.request import Decoding, Request, Response
from calib.engine.sharing import require_same_tokens, selfcheck_sample

UNSHARED = Decoding(max_new_tokens=8, sharing=False)
SHARED = Decoding(max_new_tokens=8)


@pytest.fixture(scope="module")
def small():
    return tiny("internvl")


@pytest.fixture(scope="module")
def requests(small):
    edits = (
        (),
        (Edit(1, Add(9 * unit_vector(small.width, 1)), "prompt"),),
        (Edit(2, Clamp(unit_vector(small.width, 2), 6.0, 7.0), "all"),),
        (Edit(0, Add(9 * unit_vector(small.width, 3)), "response"),),
    )
    return [Request(example, row) for example in examples(4) for row in edits]


def edits_of_other_states(monkeypatch):
    """Rows get the prompt edits of other rows."""
    fork = PrefixStates.__init__

    def wrong(self, prompt_of, of_row, row_of, edits):
        fork(self, prompt_of, of_row, row_of, {at: here[::-1] for at, here in edits.items()})

    monkeypatch.setattr(PrefixStates, "__init__", wrong)


def edits_lost_while_decoding(monkeypatch):
    monkeypatch.setattr(DecodeBatch, "_stack_edits", lambda self: None)


def keys_of_other_rows(monkeypatch):
    enter = DecodeBatch._enter

    def wrong(self, *joining):
        enter(self, *joining)
        for layer in self.cache.layers:
            for stored in layer.stored:
                stored[: len(self.rows)] = stored[: len(self.rows)].roll(1, 0)

    monkeypatch.setattr(DecodeBatch, "_enter", wrong)


@pytest.mark.parametrize(
    "breakage", [edits_of_other_states, edits_lost_while_decoding, keys_of_other_rows]
)
def test_broken_sharing_stops_before_any_response(small, requests, monkeypatch, breakage):
    breakage(monkeypatch)
    ended = []
    engine = Engine(small, SHARED)
    values = ("InternVLForConditionalGeneration", "tiny/", "generation.sharing=false")
    with raises("self-check", *values):
        engine.answer(requests, lambda: ended.append(None))
    assert not ended and engine.stats.rows == 0


@pytest.mark.parametrize("breakage", [edits_of_other_states, keys_of_other_rows])
def test_without_sharing_there_is_no_self_check(small, requests, monkeypatch, breakage):
    """The responses are the same, although the shared path is broken."""
    expected = generate(small, requests, SHARED)
    breakage(monkeypatch)
    monkeypatch.setattr("calib.engine.engine.require_same_tokens", None)
    engine = Engine(small, UNSHARED)
    responses = engine.answer(requests)
    assert [(r.text, r.tokens, r.finish) for r in responses] == [
        (r.text, r.tokens, r.finish) for r in expected
    ]
    kl = [response.kl for response in expected]
    assert [response.kl for response in responses] == pytest.approx(kl, rel=1e-3, abs=1e-5)
    assert len(engine.notes) == 2  # with and without images
    assert all("generation.sharing=false" in note for note in engine.notes)


def test_an_engine_runs_the_self_check_once(small, requests, monkeypatch):
    compared = []
    monkeypatch.setattr(
        "calib.engine.engine.require_same_tokens",
        lambda vlm, request, response: compared.append(request),
    )
    engine = Engine(small, SHARED)
    engine.answer(requests)
    before = len(compared)
    assert 4 <= before <= 8
    engine.answer(requests)
    assert len(compared) == before


def test_the_sample_has_prompts_with_and_without_an_image_edited_and_unedited(requests):
    sample = selfcheck_sample(requests)
    kinds = {(request.example.picture is None, bool(request.edits)) for request in sample}
    assert kinds == {(False, False), (False, True), (True, False), (True, True)}
    of_first_example = [r for r in sample if r.example is requests[0].example]
    assert of_first_example == requests[:4]  # unedited; first, middle and last edits
    assert selfcheck_sample([]) == []
    assert selfcheck_sample(requests[1:2]) == requests[1:2]


def with_near_tie(vlm, token, other, difference):
    """The model with nearly equal scores of two tokens: a relative ``difference`` remains."""
    model = copy.deepcopy(vlm.model)
    head = model.get_output_embeddings().weight
    with torch.no_grad():
        head[other] = head[token] * (1 - difference)
    return dataclasses.replace(vlm, model=model)


def response(*tokens):
    return Response("", tokens, "length", 0.0)


def test_near_ties_pass(small, requests):
    request = requests[0]
    token = naive(small, request.example, (), 1).tokens[0]
    other = 100 if token != 100 else 101
    vlm = with_near_tie(small, token, other, 1e-6)
    assert naive(vlm, request.example, (), 1).tokens[0] in {token, other}
    for first in (token, other):
        require_same_tokens(vlm, request, response(first))
    vlm = with_near_tie(small, token, other, 0.05)
    with raises("self-check", "token 1 ", request.example.id, other, token):
        require_same_tokens(vlm, request, response(other))


def test_after_a_tie_responses_may_differ(small, requests):
    request = requests[0]
    token, *_ = naive(small, request.example, (), 4).tokens
    vlm = with_near_tie(small, token, 100, 0.0)
    expected = naive(vlm, request.example, (), 4).tokens
    tied = token if expected[0] == 100 else 100
    require_same_tokens(vlm, request, response(tied, 5, 5, 5))
    wrong = 5 if expected[1] != 5 else 6
    with raises("self-check", "token 2 ", wrong, expected[1]):
        require_same_tokens(vlm, request, response(expected[0], wrong, 5, 5))


def test_a_row_that_is_not_finite_is_not_compared(small, requests):
    broken = Edit(1, Add(torch.full((small.width,), float("inf"))), "all")
    rows = [requests[0], Request(requests[0].example, (broken,))]
    assert [r.finish for r in generate(small, rows, SHARED)][1] == "not_finite"


def test_the_self_check_of_sampling_compares_greedy_tokens(small, requests, monkeypatch):
    sampled = dataclasses.replace(SHARED, temperature=2.0)
    generate(small, requests, sampled)
    keys_of_other_rows(monkeypatch)
    with raises("self-check"):
        generate(small, requests, sampled)
