"""KL against a reference prompt: the request's prompt differs, the reference stays the same."""

import random
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from naive_loop import divergence, naive, unit_vector
from tiny_families import NEEDS_PICTURE, examples, families, tiny

from calib.engine.edits import Edit
from calib.engine.engine import Engine
from calib.engine.operators import Add
from calib.engine.request import Decoding, Request
from calib.models.feature_cache import FeatureCache

either = pytest.mark.parametrize("sharing", [True, False])


@pytest.fixture(scope="module")
def small():
    return tiny("internvl")


def prefixed(example, prefix="be careful. "):
    """The example with a changed prompt, as prompt-based methods make it."""
    return replace(example, query=prefix + example.query)


def mixed_requests(vlm, n=6):
    """References that are also requests, edited or unedited, or not; with one or many rows."""
    width, requests = vlm.width, []
    usable = [e for e in examples(n) if e.picture or vlm.name not in NEEDS_PICTURE]
    for k, example in enumerate(usable):
        edit = Edit(1, Add(6.0 * unit_vector(width, k)), "all", "mlp" if k % 2 else "residual")
        other = prefixed(example)
        requests += [Request(other, reference=example), Request(other, (edit,), reference=example)]
        requests += [Request(prefixed(example, f"{i}: "), reference=example) for i in range(k % 3)]
        if k % 2:
            requests.append(Request(example))
        if k % 3 == 1:
            requests += [Request(example, (edit,)), Request(other, (edit,)), Request(other)]
    requests.append(Request(usable[0], reference=usable[0]))
    random.Random(0).shuffle(requests)
    return requests


def unchecked_engine(vlm, **settings):
    engine = Engine(
        replace(vlm, feature_cache=FeatureCache()), Decoding(max_new_tokens=2, **settings)
    )
    engine._checked = True
    return engine


def naive_kl(vlm, requests):
    """KL(edited || unedited) and KL(unedited || edited) of each request."""
    unedited, kl = {}, []
    for request in requests:
        reference = request.reference or request.example
        if id(reference) not in unedited:
            unedited[id(reference)] = naive(vlm, reference, (), 1)
        edited = naive(vlm, request.example, request.edits, 1)
        base = unedited[id(reference)]
        kl.append((divergence(edited, base), divergence(base, edited)))
    return kl


def require_kl(responses, expected):
    for kind, response_kl in enumerate(("kl", "kl_base")):
        values = [getattr(response, response_kl) for response in responses]
        assert values == pytest.approx([both[kind] for both in expected], rel=1e-3, abs=1e-5)


@contextmanager
def uncached_passes(vlm):
    """Collect the number of rows of each pass without a KV cache while the context is open."""
    rows = []

    def hook(module, args, kwargs):
        if kwargs.get("use_cache") is False:
            rows.append(len(kwargs["input_ids"]))

    handle = vlm.model.register_forward_pre_hook(hook, with_kwargs=True)
    yield rows
    handle.remove()


@families
@either
def test_kl_equals_the_naive_loop(family, sharing):
    vlm = tiny(family)
    requests = mixed_requests(vlm)
    responses = unchecked_engine(vlm, batch_rows=5, sharing=sharing).answer(requests)
    require_kl(responses, naive_kl(vlm, requests))
    for response, request in zip(responses, requests, strict=True):
        own = request.reference is None or request.reference is request.example
        assert (response.kl == 0.0) == (response.kl_base == 0.0) == (own and not request.edits)


@either
def test_responses_do_not_depend_on_the_reference(small, sharing):
    requests = mixed_requests(small)
    responses = unchecked_engine(small, sharing=sharing).answer(requests)
    without = [replace(request, reference=None) for request in requests]
    expected = unchecked_engine(small, sharing=sharing).answer(without)
    assert [r.tokens for r in responses] == [r.tokens for r in expected]


@either
def test_references_are_not_read_without_kl(small, sharing):
    requests, engine = mixed_requests(small), unchecked_engine(small, sharing=sharing, kl=False)
    responses = engine.answer(requests)
    other = unchecked_engine(small, sharing=sharing, kl=False)
    assert responses == other.answer([replace(request, reference=None) for request in requests])
    assert {(response.kl, response.kl_base) for response in responses} == {(None, None)}
    assert engine.stats.prefill_token_layers == other.stats.prefill_token_layers
    images = {request.example.id for request in requests if request.example.picture}
    assert engine.vlm.feature_cache.passes == other.vlm.feature_cache.passes == len(images)


@either
def test_each_reference_is_read_once(small, sharing):
    """Independent of the number of rows and batches that use it."""
    example = examples(1)[0]
    requests = [Request(prefixed(example, "!" * k + " "), reference=example) for k in range(9)]
    engine = unchecked_engine(small, batch_rows=2, sharing=sharing)
    with uncached_passes(small) as rows:
        engine.answer(requests)
    assert rows == [1]


@either
@pytest.mark.parametrize("max_rows", [1, 3])
def test_references_are_read_in_smaller_batches_when_memory_runs_out(
    small, sharing, max_rows, monkeypatch
):
    monkeypatch.setattr("gc.collect", lambda: 0)
    monkeypatch.setattr("calib.engine.activations.PADDING", 100.0)
    read, failed = [], []

    def hook(module, args, kwargs):
        rows = len(kwargs["input_ids"])
        reference = kwargs.get("use_cache") is False
        # Fails for large batches of references, and once more after all references are read.
        if (reference and rows > max_rows) or (not reference and failed.count(0) == 0):
            failed.append(rows if reference else 0)
            raise torch.OutOfMemoryError("CUDA out of memory.")
        read.append(rows if reference else 0)

    requests, engine = mixed_requests(small), unchecked_engine(small, sharing=sharing)
    engine.answer([Request(request.example) for request in requests[:2]])  # detects sharing
    handle = small.model.register_forward_pre_hook(hook, with_kwargs=True)
    responses = engine.answer(requests)
    handle.remove()
    assert engine.stats.retries == len(failed) > 1 and max(failed) > max_rows
    references = {id(r.reference) for r in requests if r.reference not in (None, r.example)}
    assert sum(read) == len(references)
    require_kl(responses, naive_kl(small, requests))


def test_the_self_check_reads_no_reference(small):
    engine, example = Engine(small, Decoding(max_new_tokens=2)), examples(1)[0]
    with uncached_passes(small) as rows:
        engine.answer([Request(prefixed(example), reference=example)])
    assert engine._checked and rows == [1]


def test_the_packaged_model(vlm, mixed_examples):
    requests = [Request(prefixed(e), reference=e) for e in mixed_examples[:4]]
    responses = Engine(vlm, Decoding(max_new_tokens=2)).answer(requests)
    require_kl(responses, naive_kl(vlm, requests))
