"""Before a run relies on sharing, shared responses are compared with plain ones."""

import copy
import dataclasses

import pytest
import torch
from calib.engine.cache import SlotLayer
from naive_loop import naive, unit_vector
from tiny_families import examples, tiny

from calib.engine import selfcheck
from calib.engine.decode_batch import DecodeBatch
from calib.engine.edits import Edit
from calib.engine.engine import Engine, generate
from calib.engine.operators import Add, Clamp
from calib.engine.prefix_sharing import PrefixStates
from calib.engine.request import Decoding, Request, Response
from calib.util.errors import CalibError

PLAIN = Decoding(max_new_tokens=8, sharing=False)
SHARED = Decoding(max_new_tokens=8)


@pytest.fixture(scope="module")
def small():
    return tiny("internvl")


@pytest.fixture(scope="module")
def asked(small):
    edits = (
        (),
        (Edit(1, Add(9 * unit_vector(small.width, 1)), "prompt"),),
        (Edit(2, Clamp(unit_vector(small.width, 2), 6.0, 7.0), "all"),),
        (Edit(0, Add(9 * unit_vector(small.width, 3)), "response"),),
    )
    return [Request(example, one) for example in examples(4) for one in edits]


def edits_of_other_states(monkeypatch):
    """Within the prompt, each row is edited as another one."""
    fork = PrefixStates.__init__

    def wrong(self, prompt_of, of_row, row_of, edits):
        fork(self, prompt_of, of_row, row_of, {at: here[::-1] for at, here in edits.items()})

    monkeypatch.setattr(PrefixStates, "__init__", wrong)


def edits_lost_while_decoding(monkeypatch):
    monkeypatch.setattr(DecodeBatch, "_edit_responses", lambda self: None)


def keys_of_other_rows(monkeypatch):
    write = SlotLayer.write

    def wrong(self, first, new, states):
        write(self, first, new, states.roll(1))

    monkeypatch.setattr(SlotLayer, "write", wrong)


@pytest.mark.parametrize(
    "breakage", [edits_of_other_states, edits_lost_while_decoding, keys_of_other_rows]
)
def test_broken_sharing_stops_before_any_answer(small, asked, monkeypatch, breakage):
    breakage(monkeypatch)
    landed = []
    engine = Engine(small, SHARED)
    with pytest.raises(CalibError) as error:
        engine.answer(asked, lambda: landed.append(None))
    assert not landed and engine.tally.rows == 0
    said = str(error.value)
    assert "InternVLForConditionalGeneration: example 'tiny/" in said
    assert "when rows share a prompt" in said and "generation.sharing=false" in said


@pytest.mark.parametrize("breakage", [edits_of_other_states, keys_of_other_rows])
def test_without_sharing_nothing_is_compared(small, asked, monkeypatch, breakage):
    """And nothing of what shares is used: the responses are the same."""
    expected = generate(small, asked, SHARED)
    breakage(monkeypatch)
    monkeypatch.setattr("calib.engine.engine.require_same", None)
    engine = Engine(small, PLAIN)
    found = engine.answer(asked)
    assert [(r.text, r.tokens, r.finish) for r in found] == [
        (r.text, r.tokens, r.finish) for r in expected
    ]
    assert [r.kl for r in found] == pytest.approx([r.kl for r in expected], rel=1e-3, abs=1e-5)
    assert sorted(engine.notes) == [
        f"prompts {kind} pictures are read once per row: generation.sharing=false"
        for kind in ("with", "without")
    ]


def test_an_engine_compares_once(small, asked, monkeypatch):
    compared = []
    monkeypatch.setattr(
        "calib.engine.engine.require_same", lambda vlm, one, response: compared.append(one)
    )
    engine = Engine(small, SHARED)
    engine.answer(asked)
    before = len(compared)
    assert 4 <= before <= 8
    engine.answer(asked)
    assert len(compared) == before


def test_what_is_compared_has_a_picture_and_none_is_edited_and_not(asked):
    chosen = selfcheck.sample(asked)
    kinds = {(one.example.picture is None, bool(one.edits)) for one in chosen}
    assert kinds == {(False, False), (False, True), (True, False), (True, True)}
    first = [one for one in chosen if one.example is asked[0].example]
    assert first == asked[:4]  # the first edits, the last, and those between
    assert selfcheck.sample([]) == []
    assert selfcheck.sample(asked[1:2]) == asked[1:2]


def twin(vlm, token, other, apart):
    """The model with two tokens that are always likely alike, but for ``apart``."""
    model = copy.deepcopy(vlm.model)
    head = model.get_output_embeddings().weight
    with torch.no_grad():
        head[other] = head[token] * (1 - apart)
    return dataclasses.replace(vlm, model=model)


def test_near_ties_pass(small, asked):
    one = asked[0]
    token = naive(small, one.example, (), 1).tokens[0]
    other = 100 if token != 100 else 101
    vlm = twin(small, token, other, 1e-6)
    first, second = naive(vlm, one.example, (), 1).tokens[0], {token, other}
    assert first in second
    for said in second:
        selfcheck.require_same(vlm, one, Response("", (said,), "length", 0.0))
    vlm = twin(small, token, other, 0.05)
    with pytest.raises(CalibError, match=rf"another token 1 .*\({other}\) than alone \({token}\)"):
        selfcheck.require_same(vlm, one, Response("", (other,), "length", 0.0))


def test_after_a_tie_responses_may_differ(small, asked):
    one = asked[0]
    token, *rest = naive(small, one.example, (), 4).tokens
    vlm = twin(small, token, 100, 0.0)
    alone = naive(vlm, one.example, (), 4).tokens
    tied = token if alone[0] == 100 else 100
    selfcheck.require_same(vlm, one, Response("", (tied, 5, 5, 5), "length", 0.0))
    with pytest.raises(CalibError, match="another token 2"):
        wrong = 5 if alone[1] != 5 else 6
        selfcheck.require_same(vlm, one, Response("", (alone[0], wrong, 5, 5), "length", 0.0))


def test_a_row_that_is_not_finite_is_not_compared(small, asked):
    broken = Edit(1, Add(torch.full((small.width,), float("inf"))), "all")
    rows = [asked[0], Request(asked[0].example, (broken,))]
    assert [r.finish for r in generate(small, rows, SHARED)][1] == "not_finite"


def test_sampling_is_compared_by_greedy_tokens(small, asked, monkeypatch):
    warm = dataclasses.replace(SHARED, temperature=2.0)
    generate(small, asked, warm)
    keys_of_other_rows(monkeypatch)
    with pytest.raises(CalibError, match="when rows share a prompt"):
        generate(small, asked, warm)
