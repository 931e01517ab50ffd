"""Responses, activations and KL through the protocol of vLLM are those of calib's own engine."""

from dataclasses import replace

import pytest
import torch
from backend_stand_in import StandIn
from naive_loop import unit_vector
from raising import raises
from tiny_families import examples, tiny

from calib.config.choices import POSITIONS
from calib.config.model import ModelConfig
from calib.engine.activations import read_activations
from calib.engine.edits import Edit
from calib.engine.engine import Engine
from calib.engine.operators import (
    Ablate,
    AblateByCosine,
    Add,
    AddByNorm,
    AddByNormKeepingNorm,
    AddKeepingNorm,
    Clamp,
    LowRank,
)
from calib.engine.reading import first_token_logits
from calib.engine.request import Decoding, Request
from calib.engine.vllm.engine import VllmEngine
from calib.engine.vllm.request import not_finite
from calib.models.load import load
from calib.models.prompt_batch import PromptToken

FAMILIES = ("internvl", "qwen2_5_vl")
TOKENS = 5


@pytest.fixture
def backend(request):
    made = []

    def make(vlm, **broken):
        made.append(StandIn(vlm, **broken))
        return made[-1]

    yield make
    for each in made:
        each.close()


def shown():
    """An example with a picture, and one without."""
    both = examples(6)
    return [next(e for e in both if e.picture), next(e for e in both if not e.picture)]


def operators(width):
    d, other = unit_vector(width, 1), unit_vector(width, 2)
    return [
        Add(4 * d), AddKeepingNorm(4 * d), AddByNorm(d, 0.5), AddByNormKeepingNorm(d, 0.5),
        Ablate(d), AblateByCosine(d, 2.0, other), Clamp(d, 1.0, 2.0),
        LowRank(torch.stack([d, other]), torch.stack([other, d]), 0.5, -2.0, 2.0),
    ]  # fmt: skip


def same(responses, expected):
    assert [r.tokens for r in responses] == [r.tokens for r in expected]
    assert [(r.text, r.finish) for r in responses] == [(r.text, r.finish) for r in expected]
    for one, other in zip(responses, expected, strict=True):
        assert one.kl == pytest.approx(other.kl, abs=1e-4)
        assert one.kl_base == pytest.approx(other.kl_base, abs=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_operator_gives_the_responses_of_the_own_engine(backend, family):
    vlm = tiny(family)
    requests = [
        Request(example, edits)
        for example in shown()
        for edits in [
            (),
            *((Edit(1, operator, "all"),) for operator in operators(vlm.width)),
            *((Edit(1, operator, "response"),) for operator in operators(vlm.width)),
        ]
    ]
    decoding = Decoding(TOKENS)
    same(
        VllmEngine(vlm, decoding, backend(vlm)).answer(requests),
        Engine(vlm, decoding).answer(requests),
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_additions_at_all_positions_layers_and_orders(backend, family):
    vlm = tiny(family)
    d = unit_vector(vlm.width, 1)
    settings = [(Edit(1, Add(9 * d), positions),) for positions in (*POSITIONS, PromptToken(3))]
    settings += [
        (Edit(0, Add(5 * d)), Edit(1, Add(5 * d)), Edit(1, AddByNorm(d, 1.0))),
        (Edit(1, AddByNorm(d, 1.0)), Edit(1, Add(5 * d))),
        (Edit(1, Clamp(d, 2.0, 3.0)), Edit(1, Add(7 * d)), Edit(2, Add(7 * d), "prompt")),
    ]
    requests = [Request(example, edits) for example in shown() for edits in settings]
    decoding = Decoding(TOKENS)
    stand_in = backend(vlm)
    same(
        VllmEngine(vlm, decoding, stand_in).answer(requests),
        Engine(vlm, decoding).answer(requests),
    )
    assert all(vector.positions is None for sent in stand_in.sent for vector in sent.vectors)


def test_rows_come_in_order_with_the_reference_of_another_prompt(backend, vlm):
    first, second = shown()
    edits = (Edit(3, Add(20 * unit_vector(vlm.width, 1)), "last_prompt"),)
    requests = [
        Request(second, reference=first), Request(first, edits, reference=second),
        Request(first), Request(second, edits), Request(first, edits),
    ] * 4  # fmt: skip
    decoding = Decoding(TOKENS)
    engine = VllmEngine(vlm, decoding, backend(vlm, reverses=True))
    batches = list(engine.stream(requests))
    assert [index for batch in batches for index, _ in batch] == list(range(len(requests)))
    same([r for batch in batches for _, r in batch], Engine(vlm, decoding).answer(requests))


def test_responses_end_early_and_have_kl_of_their_own_requests_where_these_are_large(backend, vlm):
    edits = (Edit(3, Add(20 * unit_vector(vlm.width, 1)), "response"),)
    requests = [Request(example, edits, is_final=lambda text: len(text) > 6) for example in shown()]
    decoding = Decoding(64)
    engine = VllmEngine(vlm, decoding, backend(vlm))
    assert not engine.maker.joined
    responses = engine.answer(requests)
    same(responses, Engine(vlm, decoding).answer(requests))
    assert {response.finish for response in responses} == {"cut"}


@pytest.mark.parametrize("positions", ["last_prompt", "prompt", "text", "last_prompt-2"])
def test_activations_and_first_tokens_are_read_alike(backend, positions):
    vlm = tiny("internvl")
    stand_in = backend(vlm)
    engine = VllmEngine(vlm, Decoding(TOKENS), stand_in)
    read = engine.read_activations(shown(), positions, layers=[2, 0])
    assert stand_in.windows == [1], "batches would change the last bits"
    expected = read_activations(vlm, shown(), positions, layers=[2, 0])
    torch.testing.assert_close(read, expected, atol=1e-4, rtol=1e-4)
    settings = [(), (Edit(1, Add(9 * unit_vector(vlm.width, 1)), "image"),)]
    logits = engine.first_token_logits(shown(), settings).log_softmax(-1)
    expected = first_token_logits(vlm, shown(), settings).log_softmax(-1)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def test_activations_are_read_alone_so_that_vllm_interrupts_none(backend, vlm):
    stand_in = backend(vlm)
    edits = (Edit(2, Add(4 * unit_vector(vlm.width, 1))),)
    VllmEngine(vlm, Decoding(TOKENS), stand_in).answer([Request(e, edits) for e in shown()])
    reads = [request for request in stand_in.sent if request.residual_layers]
    assert reads and stand_in.windows[:2] == [1, 1]
    assert stand_in.windows.count(1) == len(reads) / 2


def test_a_prefilled_response_is_read_like_one_of_the_model(backend, vlm):
    begun = [replace(example, response_prefix="You can get") for example in shown()]
    engine = VllmEngine(vlm, Decoding(TOKENS), backend(vlm))
    read = engine.read_activations(begun, "response", layers=[2])
    expected = read_activations(vlm, begun, "response", layers=[2])
    torch.testing.assert_close(read, expected, atol=1e-4, rtol=1e-4)


def test_a_model_without_weights_gets_the_same_responses(backend, vlm):
    structure = load(ModelConfig("internvl"), weights=False)
    assert not structure.has_weights and structure.fingerprint != vlm.fingerprint
    edits = (Edit(3, Add(9 * unit_vector(vlm.width, 1)), "response"),)
    requests = [Request(example, row) for example in shown() for row in ((), edits)]
    decoding = Decoding(TOKENS)
    engine = VllmEngine(structure, decoding, backend(vlm))
    same(engine.answer(requests), Engine(vlm, decoding).answer(requests))
    with raises("self-check", "layer 3"):
        VllmEngine(structure, decoding, backend(vlm, ignores_edits=True)).answer(requests)


def test_the_most_likely_first_tokens_bound_the_kl(backend, vlm):
    edits = (Edit(3, Add(9 * unit_vector(vlm.width, 1)), "response"),)
    requests = [Request(example, edits) for example in shown()]
    decoding = Decoding(TOKENS)
    exact = Engine(vlm, decoding).answer(requests)
    engine = VllmEngine(vlm, decoding, backend(vlm), first_token=5)
    for bound, full in zip(engine.answer(requests), exact, strict=True):
        assert bound.tokens == full.tokens and 0 < bound.kl <= full.kl + 1e-4
    assert any("engine.first_token=5" in note for note in engine.notes)


def test_sites_inside_a_block_are_refused(backend, vlm):
    engine = VllmEngine(vlm, Decoding(TOKENS), backend(vlm))
    with raises("unsupported", "heads", "engine=transformers"):
        engine.read_activations(shown(), site="heads")
    with raises("unsupported", "layer 2", "mlp"):
        engine.answer([Request(shown()[0], (Edit(2, Add(torch.ones(vlm.width)), site="mlp"),))])


def test_edits_that_vllm_leaves_out_are_found_by_the_self_check(backend, vlm):
    requests = [Request(shown()[0], (Edit(2, Add(20 * unit_vector(vlm.width, 1))),))]
    with raises("self-check", "layer 2", "add", shown()[0].id):
        VllmEngine(vlm, Decoding(TOKENS), backend(vlm, ignores_edits=True)).answer(requests)


def test_a_hook_that_misses_tokens_is_an_error(backend, vlm):
    edits = (Edit(2, Clamp(unit_vector(vlm.width, 1), 0.0, 0.0), "response"),)
    engine = VllmEngine(vlm, Decoding(TOKENS), backend(vlm, skips_chunk=True))
    with raises("self-check", "layer 2", "5 of"):
        engine.answer([Request(shown()[0], edits)])


def test_a_hook_that_fails_is_an_error_and_raises_none(backend, vlm):
    edits = (Edit(2, Clamp(torch.ones(3), 0.0, 0.0), "response"),)
    engine = VllmEngine(vlm, Decoding(TOKENS), backend(vlm))
    with raises("self-check", "layer 2", "RuntimeError"):
        engine.answer([Request(shown()[0], edits)])


def test_another_prompt_than_calibs_is_refused(backend, vlm):
    other = backend(vlm, images_of=lambda tokens: [*tokens[:3], 7, *tokens[4:]])
    with raises("mismatch", shown()[1].id, "token 3"):
        VllmEngine(vlm, Decoding(TOKENS), other).answer([Request(shown()[1])])


def test_positions_follow_the_image_tokens_that_vllm_makes(backend, vlm):
    (image,) = vlm.image_token_ids
    engine = VllmEngine(vlm, Decoding(TOKENS), backend(vlm))
    example = shown()[0]
    before = engine.served.prompts.get(example).tokens
    expanded = tuple(t for t in before.tokens.tolist() for _ in range(1 + (t == image)))
    assert not engine.served.prompts.confirm(example, expanded)
    assert engine.served.prompts.confirm(example, expanded)
    after = engine.served.prompts.get(example).tokens
    added = int(before.image_mask.sum())
    assert int(after.image_mask.sum()) == 2 * added
    assert after.instruction_end == before.instruction_end + added
    assert any(example.id in note for note in engine.notes)


def test_prompts_beyond_the_context_of_vllm_are_named_after_all_others(backend, vlm):
    long, short = shown()
    length = len(VllmEngine(vlm, Decoding(1), backend(vlm)).served.prompts.get(long).tokens.tokens)
    requests = [Request(long), Request(short)]
    engine = VllmEngine(vlm, Decoding(1), backend(vlm, max_length=length))
    found = []
    with raises("too-large", long.id, "data.skip_long"):
        for batch in engine.stream(requests):
            found += batch
    assert [index for index, _ in found] == [1]
    skipping = VllmEngine(vlm, Decoding(1), engine.backend, skip_long=True)
    assert [r.finish for r in skipping.answer(requests)] == ["too_long", "length"]


def test_output_that_is_not_finite_is_no_response(backend):
    vlm = tiny("internvl")
    example = shown()[1]
    broken = (Edit(1, Add(torch.full((vlm.width,), torch.nan)), "last_prompt"),)
    for kl in (True, False):
        engine = VllmEngine(vlm, Decoding(TOKENS, kl=kl), backend(vlm))
        engine.served.checked |= {(True, False), (False, False)}
        (response,) = engine.answer([Request(example, broken)])
        assert (response.finish, response.tokens) == ("not_finite", ())
        assert engine.first_token_logits([example], [broken]).isnan().all()


def test_an_unedited_model_whose_output_is_not_finite_is_named(backend, monkeypatch):
    vlm = tiny("internvl")
    example = shown()[1]
    monkeypatch.setattr(StandIn, "_completion", lambda *_: not_finite())
    for kl in (True, False):
        engine = VllmEngine(vlm, Decoding(TOKENS, kl=kl), backend(vlm))
        with raises("not-finite", example.id, "model.dtype=float32"):
            engine.answer([Request(example, ())])
    with raises("not-finite", example.id):
        engine.first_token_logits([example], [()])


def test_a_part_of_the_vocabulary_gives_no_kl(backend):
    vlm = tiny("internvl")
    whole = backend(vlm)
    whole.first_only = True
    example = shown()[1]
    edits = (Edit(1, Add(4 * unit_vector(vlm.width, 1))),)
    with raises("mismatch", "engine.first_token"):
        VllmEngine(vlm, Decoding(TOKENS), whole).answer([Request(example, edits)])
