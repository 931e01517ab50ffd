"""KL against another prompt: what is asked changes, what it is measured against does not."""

import random
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from naive_loop import direction, divergence, naive
from tiny_families import FAMILIES, NEEDS_PICTURE, examples, tiny

from calib.engine.edits import Edit
from calib.engine.engine import Engine
from calib.engine.operators import Add
from calib.engine.request import Decoding, Request
from calib.models.feature_cache import FeatureCache

families = pytest.mark.parametrize("family", FAMILIES)
either = pytest.mark.parametrize("sharing", [True, False])


@pytest.fixture(scope="module")
def small():
    return tiny("internvl")


def warned(example, by="be careful. "):
    """The example as a method that changes prompts would ask it."""
    return replace(example, query=by + example.query)


def asked(vlm, n=6):
    """Bases that are asked themselves, edited and not, or by nobody; and one of many rows."""
    width, made = vlm.width, []
    found = [e for e in examples(n) if e.picture or vlm.name not in NEEDS_PICTURE]
    for k, example in enumerate(found):
        edit = Edit(1, Add(6.0 * direction(width, k)), "all", "mlp" if k % 2 else "residual")
        changed = warned(example)
        made += [Request(changed, base=example), Request(changed, (edit,), base=example)]
        made += [Request(warned(example, f"{i}: "), base=example) for i in range(k % 3)]
        if k % 2:
            made.append(Request(example))
        if k % 3 == 1:
            made += [Request(example, (edit,)), Request(changed, (edit,)), Request(changed)]
    made.append(Request(found[0], base=found[0]))
    random.Random(0).shuffle(made)
    return made


def engine(vlm, **settings):
    made = Engine(
        replace(vlm, feature_cache=FeatureCache()), Decoding(max_new_tokens=2, **settings)
    )
    made._checked = True
    return made


def expected(vlm, rows):
    answers, found = {}, []
    for one in rows:
        base = one.base or one.example
        if id(base) not in answers:
            answers[id(base)] = naive(vlm, base, (), 1)
        found.append(divergence(naive(vlm, one.example, one.edits, 1), answers[id(base)]))
    return found


@contextmanager
def plain_passes(vlm):
    """While open, collects the rows of each pass that keeps no keys and values."""
    seen = []

    def hook(module, args, kwargs):
        if kwargs.get("use_cache") is False:
            seen.append(len(kwargs["input_ids"]))

    handle = vlm.model.register_forward_pre_hook(hook, with_kwargs=True)
    yield seen
    handle.remove()


@families
@either
def test_kl_is_that_of_the_naive_loop(family, sharing):
    vlm = tiny(family)
    rows = asked(vlm)
    found = [r.kl for r in engine(vlm, batch_rows=5, sharing=sharing).answer(rows)]
    assert found == pytest.approx(expected(vlm, rows), rel=1e-3, abs=1e-5)
    own = [one.base is None or one.base is one.example for one in rows]
    for kl, one, is_own in zip(found, rows, own, strict=True):
        assert (kl == 0.0) == (is_own and not one.edits)


@either
def test_responses_do_not_depend_on_the_base(small, sharing):
    rows = asked(small)
    found = engine(small, sharing=sharing).answer(rows)
    plain = engine(small, sharing=sharing).answer([replace(one, base=None) for one in rows])
    assert [r.tokens for r in found] == [r.tokens for r in plain]


@either
def test_without_kl_no_base_is_read(small, sharing):
    rows, one = asked(small), engine(small, sharing=sharing, kl=False)
    found = one.answer(rows)
    other = engine(small, sharing=sharing, kl=False)
    assert found == other.answer([replace(row, base=None) for row in rows])
    assert {r.kl for r in found} == {None}
    assert one.tally.prefill_token_layers == other.tally.prefill_token_layers
    shown = {row.example.id for row in rows if row.example.picture}
    assert one.vlm.feature_cache.passes == other.vlm.feature_cache.passes == len(shown)


@either
def test_each_base_is_read_once(small, sharing):
    """However many rows name it, and however many batches they are in."""
    example = examples(1)[0]
    rows = [Request(warned(example, "!" * k + " "), base=example) for k in range(9)]
    made = engine(small, batch_rows=2, sharing=sharing)
    with plain_passes(small) as seen:
        made.answer(rows)
    assert seen == [1]


@either
@pytest.mark.parametrize("most", [1, 3])
def test_bases_are_read_in_smaller_batches_when_memory_runs_out(small, sharing, most, monkeypatch):
    monkeypatch.setattr("gc.collect", lambda: 0)
    monkeypatch.setattr("calib.engine.activations.PADDING", 100.0)
    read, failed = [], []

    def hook(module, args, kwargs):
        rows = len(kwargs["input_ids"])
        base = kwargs.get("use_cache") is False
        # Bases that are too many, and once what comes when all of them are read.
        if (base and rows > most) or (not base and failed.count(0) == 0):
            failed.append(rows if base else 0)
            raise torch.OutOfMemoryError("CUDA out of memory.")
        read.append(rows if base else 0)

    rows, made = asked(small), engine(small, sharing=sharing)
    made.answer([Request(one.example) for one in rows[:2]])  # looks at the model
    handle = small.model.register_forward_pre_hook(hook, with_kwargs=True)
    found = made.answer(rows)
    handle.remove()
    assert made.tally.retries == len(failed) > 1 and max(failed) > most
    assert sum(read) == len({id(one.base) for one in rows if one.base not in (None, one.example)})
    assert [r.kl for r in found] == pytest.approx(expected(small, rows), rel=1e-3, abs=1e-5)


def test_the_first_comparison_reads_no_base(small):
    made, example = Engine(small, Decoding(max_new_tokens=2)), examples(1)[0]
    with plain_passes(small) as seen:
        made.answer([Request(warned(example), base=example)])
    assert made._checked and seen == [1]


def test_the_packaged_model(vlm, mixed_examples):
    rows = [Request(warned(e), base=e) for e in mixed_examples[:4]]
    found = Engine(vlm, Decoding(max_new_tokens=2)).answer(rows)
    assert [r.kl for r in found] == pytest.approx(expected(vlm, rows), rel=1e-3, abs=1e-5)
