"""Edits inside a model: exact at the chosen tokens, no change elsewhere, no hooks left behind."""

import functools
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from naive_loop import hook_at_site, position_mask, unit_vector
from tiny_families import examples, tiny

from calib.engine.batches.prefill import read_in_single_pass, read_last_token, read_prefix
from calib.engine.edits import REACH, Edit, SiteEdits
from calib.engine.engine import Engine
from calib.engine.operators import Ablate, Add, AddKeepingNorm, Clamp, LowRank
from calib.engine.request import Decoding, Request, Stats
from calib.models.layers import decoder, decoder_layers
from calib.models.prompt_batch import PromptToken
from calib.models.prompts import read_prompt

CPU = torch.device("cpu")
SITES = ("residual", "heads", "mlp")
POSITIONS = [*REACH, PromptToken(1), PromptToken(5)]


@pytest.fixture(scope="module")
def small():
    return tiny("internvl")


@functools.cache
def image_examples():
    return [example for example in examples(6) if example.picture]


def add(vlm, layer, positions="all", size=4.0, seed=0, site="residual"):
    return Edit(layer, Add(size * unit_vector(vlm.width, seed)), positions, site)


def operators_without_effect(vlm):
    vector = unit_vector(vlm.width, 5)
    return Add(0 * vector), AddKeepingNorm(0 * vector), Ablate(vector, 0.0), Clamp(vector)


def logits(vlm, edits):
    """First-token logits of each row, from two passes and from a single pass.

    Row 0 has the first prompt, all others the second. # [2, rows, vocabulary]
    """
    prompts = [read_prompt(vlm, example) for example in image_examples()[:2]]
    prompt_of = [min(row, 1) for row in range(len(edits))]
    with torch.no_grad():
        prefix = read_prefix(vlm, prompts, prompt_of, edits, Stats())
        two = read_last_token(vlm, {0: prefix}, [(0, row) for row in range(len(edits))], Stats())
        single = read_in_single_pass(vlm, prompts, prompt_of, edits, Stats())
    return torch.stack([prefilled.logits[prefilled.state_of] for prefilled in (two, single)])


def count_hooks(vlm):
    modules = decoder(vlm.model).modules()
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules)


@contextmanager
def recording(vlm, layer, site="residual"):
    """Collect the activations at a site while the context is open."""
    activations = []
    handle = hook_at_site(vlm, layer, site, lambda hidden: activations.append(hidden.clone()))
    yield activations
    handle.remove()


def test_keys_and_values_in_given_places_are_those_of_the_states(small):
    vlm = small
    prompts = [read_prompt(vlm, example) for example in (image_examples()[0], examples(6)[-1])]
    prompts.append(read_prompt(vlm, replace(image_examples()[1], query="a longer query than that")))
    edits = [(), (add(vlm, 0, "response"),), (add(vlm, 2, "response"),), ()]
    given = []

    def place(rows, length, like):
        sizes = [[(rows, t.shape[1], length, t.shape[3]) for t in both] for both in like]
        given.extend(tuple(torch.full(size, torch.nan) for size in both) for both in sizes)
        return given

    with torch.no_grad():
        prefixes = {
            k: read_prefix(vlm, [prompt], [0] * len(edits), edits, Stats())
            for k, prompt in enumerate(prompts)
        }
        assert len({prefix.keys_values[0][0].shape[2] for prefix in prefixes.values()}) > 1
        rows = [(k, row) for k in prefixes for row in range(len(edits))]
        copied = read_last_token(vlm, prefixes, rows, Stats())
        placed = read_last_token(vlm, prefixes, rows, Stats(), place)
    assert torch.equal(placed.logits, copied.logits)
    assert not placed.keys_values
    assert placed.length == copied.length
    for layer, both in enumerate(copied.keys_values):
        for k, by_state in enumerate(both):
            assert torch.equal(given[layer][k], by_state[copied.layer_state_of[layer]])


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("positions", POSITIONS, ids=str)
def test_zero_strength_is_bit_identical(small, positions, site):
    plain = logits(small, [(), ()])
    for layer, operator in enumerate(operators_without_effect(small)):
        edits = (Edit(layer, operator, positions, site), Edit(4, operator, positions, site))
        assert torch.equal(logits(small, [edits, edits]), plain)


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("layer", [0, 2, 4])
def test_an_unedited_row_is_bit_identical_whatever_the_edits_of_other_rows(small, layer, site):
    def with_edited_rows(size):
        edited = [(add(small, layer, "all", size, k, site),) for k in range(6)]
        return logits(small, [(), (), *edited])

    weak, strong = with_edited_rows(0.5), with_edited_rows(50.0)
    assert torch.equal(weak[:, :2], strong[:, :2])
    assert (weak[:, 2:] - strong[:, 2:]).abs().amax(-1).min() > 0.1


@pytest.mark.parametrize("sharing", [True, False])
@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("positions", POSITIONS, ids=str)
def test_only_the_chosen_tokens_are_changed(small, positions, site, sharing):
    """In the prompt and in the response."""
    # Too small to change the response, so that both rows read the same tokens.
    edit = add(small, 2, positions, 1e-2, site=site)
    requests = [Request(image_examples()[1], edits) for edits in ((), (edit,))]
    engine = Engine(small, Decoding(max_new_tokens=4, sharing=sharing))
    engine.answer(requests)  # runs the self-check, which would be recorded too
    tokens, read = [], []
    for request in requests:
        with recording(small, 2, site) as activations:
            tokens.append(engine.answer([request])[0].tokens)
        # The row is the first of the batch; the unedited row for KL comes after it.
        read.append(torch.cat([hidden[0] for hidden in activations]))  # [length, width]
    assert tokens[0] == tokens[1] and len(tokens[0]) == 4
    difference = read[1] - read[0]
    prompt = read_prompt(small, image_examples()[1]).tokens
    in_response = torch.full((3,), positions in ("all", "response", "after_instruction"))
    mask = torch.cat([position_mask(small, prompt, positions), in_response])
    assert torch.allclose(difference, mask[:, None] * edit.operator.vector, rtol=0, atol=1e-4)


def test_edits_at_one_site_are_applied_in_order():
    d, hidden = unit_vector(8, 1), torch.randn(3, 2, 8)
    add, ablate = Edit(0, Add(2 * unit_vector(8, 2))), Edit(0, Ablate(d))
    clamp = Edit(0, Clamp(d, 1.0, 1.0))
    edited = SiteEdits([(add, ablate, clamp), (clamp, add), (ablate,)], CPU).apply(hidden)
    assert torch.allclose(edited[0] @ d, torch.ones(2), atol=1e-5)
    assert torch.allclose(edited[1] @ d, 1 + 2 * unit_vector(8, 2) @ d, atol=1e-5)
    assert torch.allclose(edited[2] @ d, torch.zeros(2), atol=1e-5)
    reversed_order = SiteEdits([(clamp, ablate, add)], CPU).apply(hidden[:1])
    assert (reversed_order - edited[:1]).abs().max() > 0.1


def test_selected_rows_keep_their_edits():
    d = unit_vector(8, 1)
    rows = [
        (Edit(0, Add(d)), Edit(0, Ablate(d, 0.5))),
        (),
        (Edit(0, Clamp(d, 3.0, 4.0)),),
        (Edit(0, Add(-d)),),
        (Edit(0, Ablate(d)), Edit(0, Add(2 * d))),
    ]
    edits = SiteEdits(rows, CPU)
    for order in ([4, 1, 2, 0], [3, 1, 2], [1], []):
        edits.select_rows(torch.tensor(order, dtype=torch.int64))
        rows = [rows[k] for k in order]
        hidden = torch.randn(len(rows), 1, 8)
        assert torch.equal(edits.apply(hidden), SiteEdits(rows, CPU).apply(hidden))


def test_identities_differ_where_edits_do(small):
    along = unit_vector(small.width, 1)
    different = [
        Edit(1, Add(along)),
        Edit(2, Add(along)),
        Edit(1, Add(2 * along)),
        Edit(1, AddKeepingNorm(along)),
        Edit(1, Add(along), "response"),
        Edit(1, Add(along), site="heads"),
        Edit(1, Add(along), site="mlp"),
        Edit(1, Ablate(along)),
        Edit(1, Ablate(along, 0.5)),
        Edit(1, Ablate(torch.stack([along, 0 * along]))),
        Edit(1, LowRank(along[None], along[None])),
        Edit(1, LowRank(along[None], along[None], high=1.0)),
        Edit(1, Clamp(along)),
        Edit(1, Clamp(along, low=0.0)),
        Edit(1, Clamp(along, high=0.0)),
    ]
    assert len({edit.identity for edit in different}) == len(different)
    assert Edit(1, Add(along.clone())).identity == different[0].identity


@pytest.mark.parametrize("sharing", [True, False])
@pytest.mark.parametrize("passes", [1, 2, 3])
def test_an_exception_leaves_no_hook_behind(small, sharing, passes):
    """In the pass over the prompt, over its last token, or over a generated token."""
    engine = Engine(small, Decoding(max_new_tokens=4, sharing=sharing))
    edits = [(add(small, k, size=1e-3, site=site),) for k, site in enumerate(SITES)]
    requests = [Request(image_examples()[1], row_edits) for row_edits in edits]
    assert len(engine.answer(requests)[0].tokens) == 4
    before, calls = count_hooks(small), []

    def fail(module, args, output):
        calls.append(count_hooks(small))
        if len(calls) == passes:
            raise ZeroDivisionError

    handle = small.model.get_output_embeddings().register_forward_hook(fail)
    body = decoder(small.model).norm.register_forward_hook(fail)
    with pytest.raises(ZeroDivisionError):
        engine.answer(requests)
    handle.remove()
    body.remove()
    assert count_hooks(small) == before < max(calls)


def test_third_party_hooks_survive_and_see_the_edit(small):
    engine = Engine(small, Decoding(max_new_tokens=1))
    requests = [Request(image_examples()[0], (add(small, 2),))]
    engine.answer(requests)
    with recording(small, 2) as activations:
        before = count_hooks(small)
        engine.answer(requests)
        assert count_hooks(small) == before
    edited, unedited = activations[-1]
    assert (edited - unedited).abs().max() > 0.5


@pytest.mark.parametrize("sharing", [True, False])
def test_blocks_that_return_tuples_are_edited(small, monkeypatch, sharing):
    """As in other versions of transformers and other architectures."""
    decoding = Decoding(max_new_tokens=6, sharing=sharing)
    requests = [
        Request(example, (add(small, 2, seed=k),)) for k, example in enumerate(image_examples())
    ]
    expected = Engine(small, decoding).answer(requests)
    layer, following = decoder_layers(small.model)[2:4]
    inner = type(layer).forward

    def returning_tuple(*args, **kwargs):
        return (inner(layer, *args, **kwargs),)

    def first_of_tuple(module, args, kwargs):
        return (args[0][0] if isinstance(args[0], tuple) else args[0], *args[1:]), kwargs

    monkeypatch.setattr(layer, "forward", returning_tuple)
    handle = following.register_forward_pre_hook(first_of_tuple, with_kwargs=True, prepend=True)
    responses = Engine(small, decoding).answer(requests)
    handle.remove()
    assert responses == expected
