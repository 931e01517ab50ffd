"""Edits of heads and of MLPs, alone and among edits of the residual stream: every family answers as
the naive loop does."""

import functools
import itertools
import random
from dataclasses import replace

import pytest
import torch
from naive_loop import NaiveResponse, divergence, inputs, naive, unit_vector
from tiny_families import FAMILIES, LAYERS, NEEDS_PICTURE, examples, tiny

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
from calib.models.layers import site_width
from calib.models.prompts import read_prompt

TOKENS = 6
PLACES = tuple(itertools.product(("heads", "mlp"), (0, 2, LAYERS - 1)))

families = pytest.mark.parametrize("family", FAMILIES)


def fresh(family):
    return replace(tiny(family), feature_cache=FeatureCache())


def subspace(width, rank, seed):
    """Orthonormal rows. # [rank, width]"""
    drawn = torch.stack([unit_vector(width, seed + k) for k in range(rank)])
    return torch.linalg.qr(drawn.T).Q.T.contiguous()


def operator(vlm, site, k):
    """One of each kind in turn, two of them in several ranks."""
    width = site_width(vlm.model, site)
    along, rows = unit_vector(width, k), subspace(width, 1 + k % 3, 50 + k)
    return (
        Add(8.0 * along),
        LowRank(rows, 4.0 * subspace(width, 1 + k % 3, 90 + k), 0.5, -3.0, 3.0),
        AddByNorm(along, 1.5),
        Ablate(rows, 5.0),
        AddByNormKeepingNorm(along, -2.0),
        AblateByCosine(along, 9.0, -5.0 * along),
    )[k % 6]


@functools.cache
def rows(family: str) -> list[tuple[Example, Edits]]:
    """Sites, layers, positions and operators, alone and together; and rows without edits."""
    vlm, found = tiny(family), examples(6)
    shown = [e for e in found if e.picture]
    plain = [e for e in found if not e.picture and family not in NEEDS_PICTURE]
    made: list[tuple[Example, Edits]] = [(e, ()) for e in (*shown[:-1], *plain)]
    positions = itertools.cycle(REACH)
    for k, (site, layer) in enumerate(PLACES * 3):
        edit = Edit(layer, operator(vlm, site, k + k // 6), next(positions), site)
        made.append((shown[k % len(shown)], (edit,)))
        if plain and k % 3 == 0:
            made.append((plain[k % 2], (edit,)))
    heads, mlp, residual = (
        functools.partial(Edit, operator=operator(vlm, site, 6), site=site)
        for site in ("heads", "mlp", "residual")
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
def alone(family: str) -> list[NaiveResponse]:
    return [naive(tiny(family), example, edits, TOKENS) for example, edits in rows(family)]


@functools.cache
def unedited(family: str) -> dict[str, NaiveResponse]:
    found = {example.id: example for example, _ in rows(family)}
    return {name: naive(tiny(family), example, (), TOKENS) for name, example in found.items()}


@functools.cache
def together(family: str, sharing: bool) -> tuple[Engine, list[Response]]:
    decoding = Decoding(max_new_tokens=TOKENS, batch_rows=9, sharing=sharing)
    engine = Engine(fresh(family), decoding)
    return engine, engine.answer([Request(*row) for row in rows(family)])


@families
@pytest.mark.parametrize("sharing", [True, False])
def test_tokens_and_kl_are_those_of_the_naive_loop(family, sharing):
    engine, found = together(family, sharing)
    assert [list(response.tokens) for response in found] == [one.tokens for one in alone(family)]
    expected = [
        divergence(answer, unedited(family)[example.id])
        for (example, _), answer in zip(rows(family), alone(family), strict=True)
    ]
    assert [r.kl for r in found] == pytest.approx(expected, rel=1e-3, abs=1e-5)


@families
def test_edits_change_what_is_said(family):
    """Otherwise equal tokens would prove little."""
    pairs = zip(rows(family), alone(family), strict=True)
    moved = {"heads": [], "mlp": []}
    for (example, edits), answer in pairs:
        for site in {edit.site for edit in edits} & moved.keys() if len(edits) == 1 else ():
            moved[site].append(divergence(answer, unedited(family)[example.id]) > 0.01)
    assert all(sum(found) > 0.4 * len(found) > 3 for found in moved.values())


@pytest.mark.parametrize("family", [f for f in FAMILIES if f not in ("mllama", "qwen3_vl")])
def test_rows_share_what_is_below_their_edit(family):
    engine, _ = together(family, True)
    assert not engine.notes
    lengths = [len(inputs(engine.vlm, example)["input_ids"][0]) for example, _ in rows(family)]
    assert engine.tally.prefill_token_layers < 0.75 * LAYERS * sum(lengths)


def test_rows_fork_before_the_layer_that_they_are_edited_in():
    """Next to nothing beyond the least there is to compute, counted by hand."""
    vlm = tiny("internvl")
    one, other = examples(2)
    asked = [Request(one), Request(other)]
    for k in range(6):
        edits = (Edit(3, Add(unit_vector(vlm.width, k)), "all", "heads"),)
        asked.append(Request(one, edits))
        asked.append(Request(other, (Edit(0, edits[0].operator, "response", "mlp"),)))
    engine = Engine(vlm, Decoding(max_new_tokens=1, batch_rows=100))
    engine._checked = True
    engine.answer(asked)
    first, second = (len(inputs(vlm, e)["input_ids"][0]) for e in (one, other))
    prefix = (first - 1) * (3 + 2 * 7) + (second - 1) * LAYERS
    last = (3 + 2 * 7) + LAYERS * 7
    assert 1 <= engine.tally.prefill_token_layers / (prefix + last) <= 1.02


@pytest.mark.parametrize("sharing", [True, False])
def test_equal_edits_at_other_sites_are_told_apart(sharing):
    vlm = tiny("internvl")
    example, shift = examples(1)[0], Add(9.0 * unit_vector(vlm.width, 1))
    asked = [Request(example, (Edit(2, shift, site=s),)) for s in ("residual", "heads", "mlp")]
    found = generate(vlm, asked, Decoding(max_new_tokens=TOKENS, sharing=sharing))
    expected = [naive(vlm, example, one.edits, TOKENS).tokens for one in asked]
    assert [list(response.tokens) for response in found] == expected
    assert len({one.kl for one in found}) == 3


@pytest.mark.parametrize(
    "first, site, layer, covered",
    [
        (2, "residual", 1, False),
        (2, "residual", 2, True),
        (2, "heads", 2, False),  # would part before layer 2, where something is added
        (2, "mlp", 2, False),
        (2, "heads", 3, True),
        (2, "mlp", 3, True),
        (0, "heads", 0, True),
        (0, "residual", 0, True),
    ],
)
def test_rows_share_unless_they_part_where_the_model_adds(first, site, layer, covered):
    vlm = tiny("internvl")
    prompt, shift = read_prompt(vlm, examples(1)[0]), Add(unit_vector(vlm.width, 0))
    sharing = Sharing(None, False, first)
    assert sharing.covers(DecodingRow(0, prompt, (Edit(layer, shift, "all", site),))) == covered
    assert sharing.covers(DecodingRow(0, prompt, (Edit(layer, shift, "response", site),)))
