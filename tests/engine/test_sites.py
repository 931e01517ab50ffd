"""Edits of attention heads and MLPs, alone and with edits of the residual stream.

Every family generates the tokens of the naive loop.
"""

import functools
import itertools
import random
from dataclasses import replace

import pytest
import torch
from naive_loop import NaiveResponse, divergence, inputs, naive, unit_vector
from tiny_families import FAMILIES, HYBRIDS, NEEDS_PICTURE, examples, families, tiny
from tiny_parts import LAYERS

from calib.data.example import Example
from calib.engine.edits import REACH, Edit, Edits
from calib.engine.engine import Engine, generate
from calib.engine.operators import (
    Ablate,
    AblateByCosine,
    Add,
    AddByNorm,
    AddByNormKeepingNorm,
    LowRank,
)
from calib.engine.request import Decoding, DecodingRow, Request, Response
from calib.engine.sharing import Sharing
from calib.models.feature_cache import FeatureCache
from calib.models.layers import layers_with, site_width
from calib.models.prompts import read_prompt

TOKENS = 6
SITES_AND_LAYERS = tuple(itertools.product(("heads", "mlp"), (0, 2, LAYERS - 1)))


def fresh(family):
    return replace(tiny(family), feature_cache=FeatureCache())


def subspace(width, rank, seed):
    """Orthonormal rows. # [rank, width]"""
    vectors = torch.stack([unit_vector(width, seed + k) for k in range(rank)])
    return torch.linalg.qr(vectors.T).Q.T.contiguous()


def with_site(family, site, layer):
    """That layer, or the next one that has the site."""
    return next(k for k in layers_with(tiny(family).model, site) if k >= layer)


def operator(vlm, site, k):
    """The operators in turn; subspaces have ranks 1 to 3."""
    width = site_width(vlm.model, site)
    d, rows = unit_vector(width, k), subspace(width, 1 + k % 3, 50 + k)
    return (
        Add(8.0 * d),
        LowRank(rows, 4.0 * subspace(width, 1 + k % 3, 90 + k), 0.5, -3.0, 3.0),
        AddByNorm(d, 1.5),
        Ablate(rows, 5.0),
        AddByNormKeepingNorm(d, -2.0),
        AblateByCosine(d, 9.0, -5.0 * d),
    )[k % 6]


@functools.cache
def rows(family: str) -> list[tuple[Example, Edits]]:
    """Every site, layer, position and operator, alone and combined, and unedited rows; shuffled."""
    vlm = tiny(family)
    shown = [e for e in examples(6) if e.picture]
    plain = [e for e in examples(6) if not e.picture and family not in NEEDS_PICTURE]
    made: list[tuple[Example, Edits]] = [(e, ()) for e in (*shown[:-1], *plain)]
    positions = itertools.cycle(REACH)
    for k, (site, layer) in enumerate(SITES_AND_LAYERS * 3):
        at = with_site(family, site, layer)
        edit = Edit(at, operator(vlm, site, k + k // 6), next(positions), site)
        made.append((shown[k % len(shown)], (edit,)))
        if plain and k % 3 == 0:
            made.append((plain[k % 2], (edit,)))

    def edit_of(site, layer, positions="all"):
        return Edit(with_site(family, site, layer), operator(vlm, site, 6), positions, site)

    heads, mlp, residual = (
        functools.partial(edit_of, site) for site in ("heads", "mlp", "residual")
    )
    several = (
        (heads(0, positions="prompt"), mlp(0)),
        (mlp(2), heads(2, positions="text"), residual(2, positions="response")),
        (residual(1), heads(2)),
        (residual(1), heads(2, positions="image"), heads(2, positions="last_prompt")),
        (residual(0, positions="image"), mlp(4), heads(3, positions="response")),
        (heads(1), residual(1)),
        (residual(1),),
    )
    made += [(example, edits) for edits in several for example in (shown[0], *plain[:1])]
    random.Random(family).shuffle(made)
    return made


@functools.cache
def naive_responses(family: str) -> list[NaiveResponse]:
    return [naive(tiny(family), example, edits, TOKENS) for example, edits in rows(family)]


@functools.cache
def unedited(family: str) -> dict[str, NaiveResponse]:
    by_id = {example.id: example for example, _ in rows(family)}
    return {name: naive(tiny(family), example, (), TOKENS) for name, example in by_id.items()}


@functools.cache
def engine_and_responses(family: str, sharing: bool) -> tuple[Engine, list[Response]]:
    decoding = Decoding(max_new_tokens=TOKENS, batch_rows=9, sharing=sharing)
    engine = Engine(fresh(family), decoding)
    return engine, engine.answer([Request(*row) for row in rows(family)])


@families
@pytest.mark.parametrize("sharing", [True, False])
def test_tokens_and_kl_equal_the_naive_loop(family, sharing):
    engine, responses = engine_and_responses(family, sharing)
    expected = naive_responses(family)
    assert [list(response.tokens) for response in responses] == [naive.tokens for naive in expected]
    kl = [
        divergence(naive, unedited(family)[example.id])
        for (example, _), naive in zip(rows(family), expected, strict=True)
    ]
    assert [response.kl for response in responses] == pytest.approx(kl, rel=1e-3, abs=1e-5)


@families
def test_edits_change_responses(family):
    """Otherwise, equal tokens would prove little."""
    effects = {"heads": [], "mlp": []}
    for (example, edits), response in zip(rows(family), naive_responses(family), strict=True):
        if len(edits) == 1 and edits[0].site in effects:
            kl = divergence(response, unedited(family)[example.id])
            effects[edits[0].site].append(kl > 0.01)
    assert all(sum(values) > 0.4 * len(values) > 3 for values in effects.values())


UNSHARED = ("mllama", "qwen3_vl", "qwen3_vl_moe", *HYBRIDS)
"""Families that share nothing, or not from the first layer on."""


@pytest.mark.parametrize("family", [f for f in FAMILIES if f not in UNSHARED], scope="module")
def test_rows_share_the_layers_below_their_edit(family):
    engine, _ = engine_and_responses(family, True)
    assert not engine.notes
    lengths = [len(inputs(engine.vlm, example)["input_ids"][0]) for example, _ in rows(family)]
    assert engine.stats.prefill_token_layers < 0.75 * LAYERS * sum(lengths)


def test_rows_fork_before_the_block_of_their_edit():
    """At most 2% more than the minimum, which is counted by hand."""
    vlm = tiny("internvl")
    example, other = examples(2)
    requests = [Request(example), Request(other)]
    for k in range(6):
        operator = Add(unit_vector(vlm.width, k))
        requests.append(Request(example, (Edit(3, operator, "all", "heads"),)))
        requests.append(Request(other, (Edit(0, operator, "response", "mlp"),)))
    engine = Engine(vlm, Decoding(max_new_tokens=1, batch_rows=100))
    engine._checked = True
    engine.answer(requests)
    first, second = (len(inputs(vlm, e)["input_ids"][0]) for e in (example, other))
    prefix = (first - 1) * (3 + 2 * 7) + (second - 1) * LAYERS
    last = (3 + 2 * 7) + LAYERS * 7
    assert 1 <= engine.stats.prefill_token_layers / (prefix + last) <= 1.02


@pytest.mark.parametrize("sharing", [True, False])
def test_rows_with_one_operator_at_different_sites_differ(sharing):
    vlm = tiny("internvl")
    example, shift = examples(1)[0], Add(9.0 * unit_vector(vlm.width, 1))
    requests = [Request(example, (Edit(2, shift, site=s),)) for s in ("residual", "heads", "mlp")]
    responses = generate(vlm, requests, Decoding(max_new_tokens=TOKENS, sharing=sharing))
    expected = [naive(vlm, example, request.edits, TOKENS).tokens for request in requests]
    assert [list(response.tokens) for response in responses] == expected
    assert len({response.kl for response in responses}) == 3


@pytest.mark.parametrize(
    "first_fork, site, layer, covered",
    [
        (2, "residual", 1, False),
        (2, "residual", 2, True),
        (2, "heads", 2, False),  # forks before layer 2, where the model adds to the stream
        (2, "mlp", 2, False),
        (2, "heads", 3, True),
        (2, "mlp", 3, True),
        (0, "heads", 0, True),
        (0, "residual", 0, True),
    ],
)
def test_rows_share_unless_they_fork_where_the_model_adds(first_fork, site, layer, covered):
    vlm = tiny("internvl")
    prompt, shift = read_prompt(vlm, examples(1)[0]), Add(unit_vector(vlm.width, 0))
    sharing = Sharing(None, False, first_fork)
    assert sharing.covers(DecodingRow(0, prompt, (Edit(layer, shift, "all", site),))) == covered
    assert sharing.covers(DecodingRow(0, prompt, (Edit(layer, shift, "response", site),)))
