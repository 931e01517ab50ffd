"""Every family answers every row as the naive loop does: tokens equal, whatever is beside a row."""

import copy
import dataclasses
import functools
import random
import re

import pytest
from naive_loop import NaiveResponse, divergence, inputs, naive, unit_vector
from tiny_families import FAMILIES, LAYERS, NEEDS_PICTURE, examples, picture, tiny

from calib.data.example import Example, Turn
from calib.engine.edits import REACH, Edit, Edits
from calib.engine.engine import Engine, generate
from calib.engine.operators import Ablate, Add, AddKeepingNorm, Clamp
from calib.engine.request import Decoding, Request, Response
from calib.engine.sharing import sharing_of
from calib.models.feature_cache import FeatureCache
from calib.models.layers import decoder_layers
from calib.models.prompts import read_prompt

TOKENS = 10

families = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture
def unchecked(monkeypatch):
    """Leave out what an engine compares at first: it takes longer than the answers here."""
    monkeypatch.setattr("calib.engine.engine.sample", lambda asked: [])


def fresh(family):
    """The tiny model of a family, with no picture seen yet."""
    return dataclasses.replace(tiny(family), feature_cache=FeatureCache())


def operators(vlm, seed):
    along = unit_vector(vlm.width, seed)
    return (
        Add(9.0 * along),
        AddKeepingNorm(14.0 * along),
        Ablate(along, 3.0),
        Clamp(along, 5.0, 6.0),
    )


@functools.cache
def rows(family: str) -> list[tuple[Example, Edits]]:
    """All operators at all positions and layers, alone and together; and rows without edits."""
    vlm = tiny(family)
    found = examples(6)
    shown = [e for e in found if e.picture]
    plain = [e for e in found if not e.picture and family not in NEEDS_PICTURE]
    # The last picture's prompt is never asked unedited.
    made: list[tuple[Example, Edits]] = [(e, ()) for e in (*shown[:-1], *plain)]
    for k, positions in enumerate(REACH):
        for j, operator in enumerate(operators(vlm, k)):
            edit = Edit((k + 2 * j) % LAYERS, operator, positions)
            made.append((shown[(k + j) % len(shown)], (edit,)))
            if plain and j % 3 == k % 3:
                made.append((plain[k % 2], (edit,)))
    add, keep, ablate, clamp = operators(vlm, 9)
    several = (
        (Edit(1, add, "response"), Edit(3, clamp, "all")),
        (Edit(0, ablate, "prompt"), Edit(0, add, "image"), Edit(4, keep, "last_prompt")),
        (Edit(2, keep, "text"), Edit(2, keep, "response"), Edit(2, ablate, "all")),
        (Edit(3, clamp, "image"), Edit(1, add, "image")),
    )
    made += [(example, edits) for edits in several for example in (shown[0], *plain[:1])]
    # Rows that differ after the prompt's last token only, and rows that do not differ.
    made += [(shown[1], several[0][:1]), (shown[1], several[0]), (shown[1], several[0])]
    random.Random(family).shuffle(made)
    return made


@functools.cache
def alone(family: str) -> list[NaiveResponse]:
    """What the naive loop answers to each row."""
    return [naive(tiny(family), example, edits, TOKENS) for example, edits in rows(family)]


@functools.cache
def unedited(family: str) -> dict[str, NaiveResponse]:
    """By example, what the naive loop answers without edits."""
    found = {
        example.id: answer
        for (example, edits), answer in zip(rows(family), alone(family), strict=True)
        if not edits
    }
    for example, _ in rows(family):
        if example.id not in found:
            found[example.id] = naive(tiny(family), example, (), 1)
    return found


@functools.cache
def together(family: str) -> tuple[Engine, list[Response]]:
    """What the engine answers, with slots for a fifth of the rows."""
    asked = [Request(example, edits) for example, edits in rows(family)]
    engine = Engine(fresh(family), Decoding(max_new_tokens=TOKENS, batch_rows=len(asked) // 5))
    return engine, engine.answer(asked)


def tokens(answers):
    return [list(answer.tokens) for answer in answers]


def some(family, keep):
    """Rows that ``keep`` chooses, and their naive answers."""
    pairs = zip(rows(family), alone(family), strict=True)
    chosen = [
        (Request(*row), answer.tokens) for k, (row, answer) in enumerate(pairs) if keep(k, row)
    ]
    return [one for one, _ in chosen], [answer for _, answer in chosen]


@families
def test_tokens_are_those_of_the_naive_loop(family):
    assert tokens(together(family)[1]) == tokens(alone(family))


@families
def test_kl_is_that_of_the_naive_loop(family):
    base = unedited(family)
    expected = [
        divergence(answer, base[example.id])
        for (example, _), answer in zip(rows(family), alone(family), strict=True)
    ]
    found = [response.kl for response in together(family)[1]]
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-5)


@families
def test_edits_change_what_is_said(family):
    """Otherwise equal tokens would prove little."""
    base = unedited(family)
    effects = [
        (divergence(answer, base[example.id]) > 0.01, answer.tokens != base[example.id].tokens)
        for (example, edits), answer in zip(rows(family), alone(family), strict=True)
        if edits
    ]
    moved, changed = (sum(found) / len(effects) for found in zip(*effects, strict=True))
    assert moved > 0.6 and changed > 0.6


@families
def test_rows_that_share_nothing_say_the_same(family):
    asked, expected = some(family, lambda k, row: k % 2 == 0)
    plain = Decoding(max_new_tokens=TOKENS, batch_rows=9, sharing=False)
    assert tokens(generate(fresh(family), asked, plain)) == expected


@families
def test_prompts_read_beside_longer_ones_say_the_same(family, unchecked, monkeypatch):
    """Padded on the left; as a rule, prompts of one length are read together."""
    monkeypatch.setattr("calib.engine.batching.PADDING", 100.0)
    asked, expected = some(family, lambda k, row: k % 2 == 1)
    found = generate(fresh(family), asked, Decoding(max_new_tokens=TOKENS))
    assert tokens(found) == expected


@families
def test_one_row_at_a_time_says_the_same(family, unchecked):
    asked, expected = some(family, lambda k, row: k % 8 == 0)
    found = generate(fresh(family), asked, Decoding(max_new_tokens=TOKENS, batch_rows=1))
    assert tokens(found) == expected


@families
def test_responses_of_one_token(family, unchecked):
    asked, expected = some(family, lambda k, row: k % 2 == 1)
    found = generate(fresh(family), asked, Decoding(max_new_tokens=1))
    assert tokens(found) == [answer[:1] for answer in expected]


@pytest.mark.parametrize("family", [f for f in FAMILIES if f not in NEEDS_PICTURE])
def test_prompts_without_pictures_among_themselves(family, unchecked):
    asked, expected = some(family, lambda k, row: row[0].picture is None)
    vlm = fresh(family)
    found = generate(vlm, asked, Decoding(max_new_tokens=TOKENS, batch_rows=4))
    assert len(expected) > 8 and tokens(found) == expected
    assert vlm.feature_cache.passes == 0


APART = {
    "mllama": [
        r"^prompts with pictures are read once per row: .*cross_attention_states",
        r"^prompts without pictures are read once per row: its blocks 1, 3 are left out",
    ],
    "qwen3_vl": [
        r"^prompts with pictures .* where they are edited before the output of layer 2: .*residual"
    ],
}
"""What is said of families that cannot share everything."""


@families
def test_what_a_family_cannot_share_is_noted(family):
    engine, _ = together(family)
    expected = APART.get(family, [])
    assert len(engine.notes) == len(expected)
    for pattern in expected:
        assert any(re.search(pattern, note) for note in engine.notes)


@pytest.mark.parametrize("family", [f for f in FAMILIES if f not in APART])
def test_rows_of_a_prompt_share_most_of_its_reading(family):
    engine, _ = together(family)
    lengths = [len(inputs(engine.vlm, example)["input_ids"][0]) for example, _ in rows(family)]
    assert engine.tally.prefill_token_layers < 0.6 * LAYERS * sum(lengths)


@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "mllama"])
def test_a_picture_is_encoded_once(family):
    engine, _ = together(family)
    assert engine.vlm.feature_cache.passes == len({e.id for e, _ in rows(family) if e.picture})


def test_the_vision_tower_sees_a_picture_once():
    vlm, seen = fresh("internvl"), []
    asked = [Request(example, edits) for example, edits in rows("internvl")]
    tower = vlm.model.base_model.vision_tower
    handle = tower.register_forward_hook(lambda module, args, output: seen.append(len(output[0])))
    generate(vlm, asked, Decoding(max_new_tokens=2, batch_rows=7))
    handle.remove()
    assert sum(seen) == len({e.id for e, _ in rows("internvl") if e.picture})


@functools.cache
def shown_twice():
    """Examples whose demonstration has a picture of its own; one is asked about the same twice."""
    first, second, _, third = examples(4)
    before = Turn("what is this?", "a red square.", functools.partial(picture, 7))
    return (
        dataclasses.replace(first, id="two", demonstrations=(before,)),
        dataclasses.replace(
            second,
            id="same",
            demonstrations=(dataclasses.replace(before, picture=second.picture),),
        ),
        dataclasses.replace(third, id="late", picture=None, demonstrations=(before,)),
    )


@families
def test_prompts_with_several_pictures(family, unchecked):
    vlm = fresh(family)
    add, keep, ablate, clamp = operators(vlm, 3)
    edits = (
        (),
        (Edit(2, keep, "text"), Edit(3, add, "image")),
        (Edit(0, ablate, "all"), Edit(1, clamp, "response")),
    )
    asked = [Request(example, one) for example in shown_twice() for one in edits]
    expected = [naive(vlm, one.example, one.edits, 6).tokens for one in asked]
    found = generate(vlm, asked, Decoding(max_new_tokens=6))
    assert tokens(found) == expected
    assert vlm.feature_cache.passes == (0 if family == "mllama" else 3)


@pytest.mark.parametrize("window", [3, 29, 40])
def test_a_sliding_window_shorter_than_some_prompts(window, unchecked):
    """Crossed within the prompt, at its last token, while decoding, or never."""
    vlm = dataclasses.replace(tiny("gemma3"), model=copy.deepcopy(tiny("gemma3").model))
    vlm.model.config.text_config.sliding_window = window
    asked, _ = some("gemma3", lambda k, row: k % 5 == 0)
    found = generate(vlm, asked, Decoding(max_new_tokens=TOKENS, batch_rows=6))
    assert tokens(found) == [naive(vlm, one.example, one.edits, TOKENS).tokens for one in asked]


def test_a_block_that_is_passed_twice_is_noted():
    vlm = dataclasses.replace(tiny("internvl"), model=copy.deepcopy(tiny("internvl").model))
    blocks = decoder_layers(vlm.model)
    blocks[3] = blocks[2]
    found = sharing_of(vlm, read_prompt(vlm, examples(1)[0]))
    assert found.reason == "its blocks are not passed once each and in order"
