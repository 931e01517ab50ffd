"""Every family generates the tokens of the naive loop for every row, in any batch."""

import copy
import dataclasses
import functools
import random

import pytest
import torch
from naive_loop import NaiveResponse, divergence, inputs, naive, unit_vector
from raising import raises
from tiny_families import FAMILIES, HYBRIDS, NEEDS_PICTURE, examples, families, picture, tiny
from tiny_parts import LAYERS

from calib.data.example import Example, Turn
from calib.engine.edits import REACH, Edit, Edits
from calib.engine.engine import Engine, generate
from calib.engine.operators import Ablate, Add, AddKeepingNorm, Clamp
from calib.engine.request import Decoding, DecodingRow, Request, Response
from calib.engine.sharing import detect_sharing
from calib.models.feature_cache import FeatureCache
from calib.models.layers import decoder_layers
from calib.models.prompt_batch import PromptToken
from calib.models.prompts import check_several_pictures, read_prompt

TOKENS = 7


@pytest.fixture
def unchecked(monkeypatch):
    """Skip the self-check, which takes longer than the responses here."""
    monkeypatch.setattr("calib.engine.engine.selfcheck_sample", lambda requests: [])


def fresh(family):
    """The tiny model of a family with an empty cache of image features."""
    return dataclasses.replace(tiny(family), feature_cache=FeatureCache())


def operators(vlm, seed):
    d = unit_vector(vlm.width, seed)
    return Add(9.0 * d), AddKeepingNorm(14.0 * d), Ablate(d, 3.0), Clamp(d, 5.0, 6.0)


@functools.cache
def rows(family: str) -> list[tuple[Example, Edits]]:
    """Every operator, position and layer, alone and combined, and unedited rows; shuffled."""
    vlm = tiny(family)
    shown = [e for e in examples(6) if e.picture]
    plain = [e for e in examples(6) if not e.picture and family not in NEEDS_PICTURE]
    # The last prompt with an image has no unedited row.
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
        (Edit(2, add, PromptToken(3)), Edit(2, keep, PromptToken(2))),
        (Edit(1, keep, PromptToken(1)), Edit(1, add, "response")),
    )
    made += [(example, edits) for edits in several for example in (shown[0], *plain[:1])]
    # Rows that differ only at the last prompt token and after it, and two equal rows.
    made += [(shown[1], several[0][:1]), (shown[1], several[0]), (shown[1], several[0])]
    random.Random(family).shuffle(made)
    return made


@functools.cache
def naive_responses(family: str) -> list[NaiveResponse]:
    """The naive loop's response to each row."""
    return [naive(tiny(family), example, edits, TOKENS) for example, edits in rows(family)]


@functools.cache
def unedited(family: str) -> dict[str, NaiveResponse]:
    """The naive loop's unedited response to each example, by id."""
    responses = {
        example.id: response
        for (example, edits), response in zip(rows(family), naive_responses(family), strict=True)
        if not edits
    }
    for example, _ in rows(family):
        if example.id not in responses:
            responses[example.id] = naive(tiny(family), example, (), 1)
    return responses


@functools.cache
def engine_and_responses(family: str) -> tuple[Engine, list[Response]]:
    """The engine's responses to all rows, with slots for a fifth of them."""
    requests = [Request(example, edits) for example, edits in rows(family)]
    engine = Engine(fresh(family), Decoding(max_new_tokens=TOKENS, batch_rows=len(requests) // 5))
    return engine, engine.answer(requests)


def tokens(responses):
    return [list(response.tokens) for response in responses]


def select(family, keep):
    """Requests for which ``keep`` is true, and the naive loop's tokens for each."""
    pairs = zip(rows(family), naive_responses(family), strict=True)
    selected = [
        (Request(*row), naive.tokens) for k, (row, naive) in enumerate(pairs) if keep(k, row)
    ]
    return [request for request, _ in selected], [tokens for _, tokens in selected]


@families
def test_tokens_equal_the_naive_loop(family):
    assert tokens(engine_and_responses(family)[1]) == tokens(naive_responses(family))


@families
def test_kl_equals_the_naive_loop(family):
    base = unedited(family)
    expected = [
        divergence(response, base[example.id])
        for (example, _), response in zip(rows(family), naive_responses(family), strict=True)
    ]
    kl = [response.kl for response in engine_and_responses(family)[1]]
    assert kl == pytest.approx(expected, rel=1e-3, abs=1e-5)


@families
def test_edits_change_responses(family):
    """Otherwise, equal tokens would prove little."""
    base = unedited(family)
    effects = [
        (divergence(naive, base[example.id]) > 0.01, naive.tokens != base[example.id].tokens)
        for (example, edits), naive in zip(rows(family), naive_responses(family), strict=True)
        if edits
    ]
    kl_above, tokens_differ = (sum(values) / len(effects) for values in zip(*effects, strict=True))
    assert kl_above > 0.6 and tokens_differ > 0.6


@families
def test_without_sharing(family):
    requests, expected = select(family, lambda k, row: k % 2 == 0)
    unshared = Decoding(max_new_tokens=TOKENS, batch_rows=9, sharing=False)
    assert tokens(generate(fresh(family), requests, unshared)) == expected


@families
def test_prompts_padded_to_the_longest(family, unchecked, monkeypatch):
    """By default, only prompts of similar length are read together."""
    monkeypatch.setattr("calib.engine.batches.batching.PADDING", 100.0)
    requests, expected = select(family, lambda k, row: k % 2 == 1)
    responses = generate(fresh(family), requests, Decoding(max_new_tokens=TOKENS))
    assert tokens(responses) == expected


@families
def test_one_row_at_a_time(family, unchecked):
    requests, expected = select(family, lambda k, row: k % 8 == 0)
    decoding = Decoding(max_new_tokens=TOKENS, batch_rows=1)
    assert tokens(generate(fresh(family), requests, decoding)) == expected


@families
def test_responses_of_one_token(family, unchecked):
    requests, expected = select(family, lambda k, row: k % 2 == 1)
    responses = generate(fresh(family), requests, Decoding(max_new_tokens=1))
    assert tokens(responses) == [response[:1] for response in expected]


@pytest.mark.parametrize("family", [f for f in FAMILIES if f not in NEEDS_PICTURE], scope="module")
def test_only_prompts_without_images(family, unchecked):
    requests, expected = select(family, lambda k, row: row[0].picture is None)
    vlm = fresh(family)
    responses = generate(vlm, requests, Decoding(max_new_tokens=TOKENS, batch_rows=4))
    assert len(expected) > 8 and tokens(responses) == expected
    assert vlm.feature_cache.passes == 0


PARTLY_SHARED = {
    "mllama": [("with images", "cross_attention_states"), ("without images", "1, 3")],
    "qwen3_vl": [("with images", "layer 2")],
    "qwen3_vl_moe": [("with images", "layer 2")],
    **dict.fromkeys(HYBRIDS, [("with images", "keys"), ("without images", "keys")]),
}
"""Families that cannot share everything: values in each note, one tuple per note."""


@families
def test_notes_name_what_a_family_cannot_share(family):
    engine, _ = engine_and_responses(family)
    expected = PARTLY_SHARED.get(family, [])
    assert len(engine.notes) == len(expected)
    for values in expected:
        assert any(all(value in note for value in values) for note in engine.notes)


@pytest.mark.parametrize("family", [f for f in FAMILIES if f not in PARTLY_SHARED], scope="module")
def test_rows_of_a_prompt_share_most_of_its_prefill(family):
    engine, _ = engine_and_responses(family)
    lengths = [len(inputs(engine.vlm, example)["input_ids"][0]) for example, _ in rows(family)]
    assert engine.stats.prefill_token_layers < 0.6 * LAYERS * sum(lengths)


@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "mllama"], scope="module")
def test_each_image_is_encoded_once(family):
    engine, _ = engine_and_responses(family)
    assert engine.vlm.feature_cache.passes == len({e.id for e, _ in rows(family) if e.picture})


def test_the_vision_tower_runs_once_per_image():
    vlm, images = fresh("internvl"), []
    requests = [Request(example, edits) for example, edits in rows("internvl")]
    tower = vlm.model.base_model.vision_tower
    handle = tower.register_forward_hook(lambda module, args, output: images.append(len(output[0])))
    generate(vlm, requests, Decoding(max_new_tokens=2, batch_rows=7))
    handle.remove()
    assert sum(images) == len({e.id for e, _ in rows("internvl") if e.picture})


@functools.cache
def with_demonstrations():
    """Examples with an image in the demonstration, one of which repeats its own image there, and
    with two images in the query."""
    first, second, _, third = examples(4)
    turn = Turn("what is this?", "a red square.", functools.partial(picture, 7))
    return (
        dataclasses.replace(first, id="two", demonstrations=(turn,)),
        dataclasses.replace(
            second,
            id="same",
            demonstrations=(dataclasses.replace(turn, picture=second.picture),),
        ),
        dataclasses.replace(third, id="late", picture=None, demonstrations=(turn,)),
        dataclasses.replace(first, id="both", more_pictures=(second.picture,)),
    )


@families
def test_prompts_with_several_images(family, unchecked):
    vlm = fresh(family)
    add, keep, ablate, clamp = operators(vlm, 3)
    edits = (
        (),
        (Edit(2, keep, "text"), Edit(3, add, "image")),
        (Edit(0, ablate, "all"), Edit(1, clamp, "response")),
    )
    requests = [Request(example, row) for example in with_demonstrations() for row in edits]
    expected = [naive(vlm, request.example, request.edits, 6).tokens for request in requests]
    assert tokens(generate(vlm, requests, Decoding(max_new_tokens=6))) == expected
    # LLaVA-OneVision encodes the two images of a prompt together.
    assert vlm.feature_cache.passes == {"mllama": 0, "llava_onevision": 4}.get(family, 3)


@families
def test_every_image_of_a_query_is_in_the_prompt_in_order(family):
    vlm, one = fresh(family), examples(1)[0]
    second, third = (functools.partial(picture, seed) for seed in (2, 5))
    both = read_prompt(vlm, dataclasses.replace(one, more_pictures=(second, third)))
    swapped = read_prompt(vlm, dataclasses.replace(one, more_pictures=(third, second)))
    assert both.image_mask.sum() > read_prompt(vlm, one).image_mask.sum() or family == (
        "llava_onevision"  # tiles the picture of a query only if it is its only one
    )
    at = both.image_mask.nonzero()
    assert both.instruction_end is not None and at.max() < both.instruction_end
    assert not torch.equal(_shown(both), _shown(swapped))


def _shown(prompt):
    """What the prompt's image tokens stand for, in their order, as one row of numbers."""
    if not prompt.image_features:
        return prompt.pixel_inputs["pixel_values"].flatten()
    pooled = [part for of in prompt.image_features for part in of["pooler_output"]]
    return torch.cat([part.flatten() for part in pooled])


def test_a_template_that_drops_a_second_image_is_refused():
    vlm = dataclasses.replace(tiny("llava"), processor=copy.copy(tiny("llava").processor))
    vlm.processor.chat_template = (
        "{% for message in messages %}{% for item in message['content'] %}"
        "{% if item['type'] == 'image' and loop.first %}<image>"
        "{% elif item['type'] == 'text' %}{{ item['text'] }}{% endif %}"
        "{% endfor %}{% endfor %}"
    )
    one = examples(1)[0]
    check_several_pictures(vlm, [one])
    both = dataclasses.replace(one, id="both", more_pictures=(one.picture,))
    with raises("unsupported", "'both'", "2 pictures"):
        check_several_pictures(vlm, [one, both])


@pytest.mark.parametrize("window", [3, 29, 40])
def test_a_sliding_window_shorter_than_some_prompts(window, unchecked):
    """The window ends within the prompt, at its last token, while decoding, or never."""
    vlm = dataclasses.replace(tiny("gemma3"), model=copy.deepcopy(tiny("gemma3").model))
    vlm.model.config.text_config.sliding_window = window
    requests, _ = select("gemma3", lambda k, row: k % 5 == 0)
    responses = generate(vlm, requests, Decoding(max_new_tokens=10, batch_rows=6))
    assert tokens(responses) == [naive(vlm, r.example, r.edits, 10).tokens for r in requests]


def test_a_model_that_calls_a_block_twice_shares_nothing():
    vlm = dataclasses.replace(tiny("internvl"), model=copy.deepcopy(tiny("internvl").model))
    blocks = decoder_layers(vlm.model)
    blocks[3] = blocks[2]
    sharing = detect_sharing(vlm, read_prompt(vlm, examples(1)[0]))
    row = DecodingRow(0, read_prompt(vlm, examples(1)[0]), ())
    assert sharing.reason and not sharing.covers(row)
