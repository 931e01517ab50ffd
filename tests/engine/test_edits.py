"""Edits inside a model: exact where they are asked, nothing elsewhere, nothing left behind."""

import functools
from contextlib import contextmanager

import pytest
import torch
from naive_loop import hook_at_site, position_mask, unit_vector
from tiny_families import examples, tiny

from calib.engine.edits import REACH, Edit, SiteEdits
from calib.engine.engine import Engine
from calib.engine.operators import Ablate, Add, AddKeepingNorm, Clamp, LowRank
from calib.engine.prefill import read_last, read_prefix, read_whole
from calib.engine.request import Decoding, Request, Stats
from calib.models.layers import decoder, decoder_layers
from calib.models.prompts import read_prompt

CPU = torch.device("cpu")
SITES = ("residual", "heads", "mlp")


@pytest.fixture(scope="module")
def small():
    return tiny("internvl")


@functools.cache
def shown():
    return [example for example in examples(6) if example.picture]


def add(vlm, layer, positions="all", size=4.0, seed=0, site="residual"):
    return Edit(layer, Add(size * unit_vector(vlm.width, seed)), positions, site)


def idle(vlm):
    along = unit_vector(vlm.width, 5)
    return Add(0 * along), AddKeepingNorm(0 * along), Ablate(along, 0.0), Clamp(along)


def logits(vlm, edits):
    """Scores of the first token of each row, read in two passes and in one; row k is of prompt k,
    or of the second for the rows that are left."""
    prompts = [read_prompt(vlm, example) for example in shown()[:2]]
    prompt_of = [min(row, 1) for row in range(len(edits))]
    with torch.no_grad():
        prefix = read_prefix(vlm, prompts, prompt_of, edits, Stats())
        last = read_last(vlm, [prefix], [(0, row) for row in range(len(edits))], Stats())
        whole = read_whole(vlm, prompts, prompt_of, edits, Stats())
    return torch.stack([read.logits[read.state_of] for read in (last, whole)])


def hooks(vlm):
    modules = decoder(vlm.model).modules()
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules)


@contextmanager
def standing(vlm, layer, site="residual"):
    """While open, collects what stands at a site."""
    seen = []
    handle = hook_at_site(vlm, layer, site, lambda hidden: seen.append(hidden.clone()))
    yield seen
    handle.remove()


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("positions", REACH)
def test_zero_strength_is_bit_identical(small, positions, site):
    plain = logits(small, [(), ()])
    for layer, operator in enumerate(idle(small)):
        edits = (Edit(layer, operator, positions, site), Edit(4, operator, positions, site))
        assert torch.equal(logits(small, [edits, edits]), plain)


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("layer", [0, 2, 4])
def test_an_unedited_row_is_the_same_to_the_bit_beside_any_edit(small, layer, site):
    def beside(size):
        edited = [(add(small, layer, "all", size, k, site),) for k in range(6)]
        return logits(small, [(), (), *edited])

    weak, strong = beside(0.5), beside(50.0)
    assert torch.equal(weak[:, :2], strong[:, :2])
    assert (weak[:, 2:] - strong[:, 2:]).abs().amax(-1).min() > 0.1


@pytest.mark.parametrize("sharing", [True, False])
@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("positions", REACH)
def test_only_the_chosen_tokens_are_changed(small, positions, site, sharing):
    """By the vector, at every chosen token of the prompt and the response; by nothing elsewhere."""
    # Far too small to change what is said, so that both rows read the same tokens.
    edit = add(small, 2, positions, 1e-3, site=site)
    asked = [Request(shown()[1], edits) for edits in ((), (edit,))]
    engine = Engine(small, Decoding(max_new_tokens=4, sharing=sharing))
    engine.answer(asked)  # compares with plain generate, which would be recorded too
    said, read = [], []
    for one in asked:
        with standing(small, 2, site) as seen:
            said.append(engine.answer([one])[0].tokens)
        # What the row is compared with is read behind it.
        read.append(torch.cat([states[0] for states in seen]))  # [length, width]
    assert said[0] == said[1] and len(said[0]) == 4
    moved = read[1] - read[0]
    prompt = read_prompt(small, shown()[1]).tokens
    responding = torch.full((3,), positions in ("all", "response"))
    expected = torch.cat([position_mask(small, prompt, positions), responding])
    assert torch.allclose(moved, expected[:, None] * edit.operator.vector, rtol=0, atol=1e-5)


def test_edits_after_one_layer_are_applied_in_their_order():
    along, hidden = unit_vector(8, 1), torch.randn(3, 2, 8)
    add, ablate = Edit(0, Add(2 * unit_vector(8, 2))), Edit(0, Ablate(along))
    clamp = Edit(0, Clamp(along, 1.0, 1.0))
    found = SiteEdits([(add, ablate, clamp), (clamp, add), (ablate,)], CPU).apply(hidden)
    assert torch.allclose(found[0] @ along, torch.ones(2), atol=1e-5)
    assert torch.allclose(found[1] @ along, 1 + 2 * unit_vector(8, 2) @ along, atol=1e-5)
    assert torch.allclose(found[2] @ along, torch.zeros(2), atol=1e-5)
    backwards = SiteEdits([(clamp, ablate, add)], CPU).apply(hidden[:1])
    assert (backwards - found[:1]).abs().max() > 0.1


def test_rows_that_go_on_keep_their_edits():
    along = unit_vector(8, 1)
    of_row = [
        (Edit(0, Add(along)), Edit(0, Ablate(along, 0.5))),
        (),
        (Edit(0, Clamp(along, 3.0, 4.0)),),
        (Edit(0, Add(-along)),),
        (Edit(0, Ablate(along)), Edit(0, Add(2 * along))),
    ]
    edits, left = SiteEdits(of_row, CPU), of_row
    for order in ([4, 1, 2, 0], [3, 1, 2], [1], []):
        edits.keep(torch.tensor(order, dtype=torch.int64))
        left = [left[k] for k in order]
        hidden = torch.randn(len(left), 1, 8)
        assert torch.equal(edits.apply(hidden), SiteEdits(left, CPU).apply(hidden))


def test_an_identity_is_what_an_edit_does(small):
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
    """In the prompt's first pass, its last token's, or that of a generated token."""
    engine = Engine(small, Decoding(max_new_tokens=4, sharing=sharing))
    edited = [(add(small, k, size=1e-3, site=site),) for k, site in enumerate(SITES)]
    asked = [Request(shown()[1], edits) for edits in edited]
    assert len(engine.answer(asked)[0].tokens) == 4
    before, calls = hooks(small), []

    def fail(module, args, output):
        calls.append(hooks(small))
        if len(calls) == passes:
            raise ZeroDivisionError

    handle = small.model.get_output_embeddings().register_forward_hook(fail)
    body = decoder(small.model).norm.register_forward_hook(fail)
    with pytest.raises(ZeroDivisionError):
        engine.answer(asked)
    handle.remove()
    body.remove()
    assert hooks(small) == before < max(calls)


def test_somebody_elses_hook_survives_and_sees_the_edit(small):
    engine = Engine(small, Decoding(max_new_tokens=1))
    asked = [Request(shown()[0], (add(small, 2),))]
    engine.answer(asked)
    with standing(small, 2) as seen:
        before = hooks(small)
        engine.answer(asked)
        assert hooks(small) == before
    assert (seen[-1][0] - seen[-1][1]).abs().max() > 0.5  # edited, and what it is compared with


@pytest.mark.parametrize("sharing", [True, False])
def test_blocks_that_return_tuples_are_edited(small, monkeypatch, sharing):
    """As they do in other versions of transformers, and in other architectures."""
    decoding = Decoding(max_new_tokens=6, sharing=sharing)
    asked = [Request(example, (add(small, 2, seed=k),)) for k, example in enumerate(shown())]
    expected = Engine(small, decoding).answer(asked)
    layer, following = decoder_layers(small.model)[2:4]
    inner = type(layer).forward

    def returning_tuple(*args, **kwargs):
        return (inner(layer, *args, **kwargs),)

    def first_of_tuple(module, args, kwargs):
        return (args[0][0] if isinstance(args[0], tuple) else args[0], *args[1:]), kwargs

    monkeypatch.setattr(layer, "forward", returning_tuple)
    handle = following.register_forward_pre_hook(first_of_tuple, with_kwargs=True, prepend=True)
    found = Engine(small, decoding).answer(asked)
    handle.remove()
    assert found == expected
