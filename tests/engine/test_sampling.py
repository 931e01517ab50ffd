"""Choosing tokens: as the checkpoint's own settings say, and by draws that are a row's own."""

import copy
import dataclasses
import functools
import random

import pytest
import torch
from naive_loop import direction, naive
from tiny_families import examples, tiny

from calib.engine.edits import Edit
from calib.engine.engine import Engine, generate
from calib.engine.operators import Add
from calib.engine.request import Decoding, Request
from calib.engine.sampling import Sampler

TOKENS = 10
LOGITS = torch.tensor([1.2, -0.3, 0.0, 2.0, -1.5, float("-inf")])


@pytest.fixture(scope="module")
def small():
    return tiny("internvl")


def changed(vlm, **settings):
    """The same model and weights with other generation settings."""
    model = copy.copy(vlm.model)
    model.generation_config = copy.deepcopy(model.generation_config)
    for key, value in settings.items():
        setattr(model.generation_config, key, value)
    return dataclasses.replace(vlm, model=model)


@functools.cache
def asked():
    """Rows of several prompts, edits and seeds."""
    width = tiny("internvl").width
    made = []
    for k, example in enumerate(examples(4)):
        for j, positions in enumerate(("", "response", "all")):
            edits = (Edit(1 + j, Add(4 * direction(width, k)), positions),) if j else ()
            made.append(Request(example, edits, seed=10 * k + j))
    return made


def tokens(responses):
    return [list(response.tokens) for response in responses]


PLAIN = {}


def plainly(vlm, settings=""):
    """What the naive loop answers; kept by the generation settings."""
    if str(settings) not in PLAIN:
        found = [naive(vlm, one.example, one.edits, TOKENS).tokens for one in asked()]
        PLAIN[str(settings)] = found
    return PLAIN[str(settings)]


def drawn(chooser, logits, count=4000):
    """Tokens drawn from one distribution by rows with consecutive seeds."""
    scores = logits.expand(count, -1)
    if chooser.processors:
        scores = chooser.processors(torch.zeros(count, 1, dtype=torch.int64), scores)
    return chooser.choose(scores, [torch.Generator().manual_seed(seed) for seed in range(count)])


def require_drawn_from(chosen, probabilities):
    """Chi-square: beyond this by chance in fewer than one of ten thousand draws."""
    counts = torch.bincount(chosen, minlength=len(probabilities)).double()
    assert (counts[probabilities == 0] == 0).all()
    expected = len(chosen) * probabilities[probabilities > 0].double()
    distance = ((counts[probabilities > 0] - expected) ** 2 / expected).sum()
    assert distance < 23.5  # four degrees of freedom; fewer where the nucleus is smaller


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_draws_follow_the_softmax(small, temperature):
    chosen = drawn(Sampler(small, Decoding(temperature=temperature)), LOGITS)
    require_drawn_from(chosen, (LOGITS / temperature).softmax(-1))


@pytest.mark.parametrize("top_p, kept", [(0.5, [3]), (0.8, [0, 3]), (0.9, [0, 2, 3])])
def test_draws_are_from_the_nucleus(small, top_p, kept):
    """The likeliest tokens that together have the probability: 0.58, then 0.26, 0.08, 0.06 ..."""
    probabilities = torch.zeros(len(LOGITS))
    probabilities[kept] = LOGITS.softmax(-1)[kept]
    assert probabilities.sum() >= top_p > probabilities.sum() - probabilities[kept].min()
    chosen = drawn(Sampler(small, Decoding(temperature=1.0, top_p=top_p)), LOGITS)
    require_drawn_from(chosen, probabilities / probabilities.sum())


def test_what_the_checkpoint_suggests_for_sampling_is_not_added(small):
    suggested = {"do_sample": True, "top_k": 1, "min_p": 0.9, "typical_p": 0.1, "temperature": 0.1}
    chosen = drawn(Sampler(changed(small, **suggested), Decoding(temperature=1.0)), LOGITS)
    require_drawn_from(chosen, LOGITS.softmax(-1))


def test_scores_that_are_no_numbers_choose_nothing(small):
    scores = torch.stack([LOGITS, torch.full_like(LOGITS, float("nan")), LOGITS])
    scores[2, 1] = float("nan")
    for temperature, first in ((0.0, [3]), (1.0, [0, 1, 2, 3, 4])):
        chooser = Sampler(small, Decoding(temperature=temperature))
        chosen = chooser.choose(scores, [torch.Generator().manual_seed(1) for _ in scores])
        assert chosen[0] in first and chosen[1:].tolist() == [-1, -1]


def test_a_draw_of_zero_does_not_choose_what_cannot_be(small, monkeypatch):
    """Exp(1) is zero once in 2**24 draws on a CPU without MKL; a step draws for every token."""

    def drawn(self, generator=None):
        self.fill_(1.0)
        self[..., -1] = 0.0
        return self

    monkeypatch.setattr(torch.Tensor, "exponential_", drawn)
    chooser = Sampler(small, Decoding(temperature=1.0))
    assert chooser.choose(LOGITS[None], [torch.Generator()]).tolist() == [3]


def test_a_rows_draws_do_not_depend_on_others(small):
    """Alone, in another order, in small batches or with other rows of its prompt: the same."""
    warm = {"max_new_tokens": TOKENS, "temperature": 1.5, "top_p": 0.9}
    expected = tokens(generate(small, asked(), Decoding(**warm)))
    order = random.Random(0).sample(range(len(expected)), len(expected))
    engine = Engine(small, Decoding(**warm, batch_rows=4))
    found = engine.answer([asked()[k] for k in order])
    assert tokens(found) == [expected[k] for k in order]
    assert tokens(engine.answer(asked()[7:8])) == expected[7:8]
    apart = generate(small, asked(), Decoding(**warm, sharing=False))
    assert tokens(apart) == expected
    greedy = tokens(generate(small, asked(), Decoding(max_new_tokens=TOKENS)))
    assert sum(one != other for one, other in zip(expected, greedy, strict=True)) > 8


def test_draws_depend_on_the_seeds(small):
    def said(row, run):
        rows = [Request(example, (), seed=row) for example in examples(6)]
        warm = Decoding(max_new_tokens=TOKENS, temperature=1.5, seed=run)
        return tokens(generate(small, rows, warm))

    assert said(0, 0) == said(0, 0)
    for other in (said(1, 0), said(0, 1)):
        assert sum(one != two for one, two in zip(said(0, 0), other, strict=True)) > 3


@pytest.mark.parametrize("sharing", [True, False])
@pytest.mark.parametrize(
    "settings",
    [
        {"repetition_penalty": 1.7},
        {"no_repeat_ngram_size": 1},
        {"bad_words_ids": [[66], [70, 71], [110]]},
    ],
    ids="+".join,
)
def test_greedy_settings_of_the_checkpoint_are_honoured(small, settings, sharing):
    vlm = changed(small, **settings)
    expected = plainly(vlm, settings)
    assert sum(one != other for one, other in zip(expected, plainly(small), strict=True)) > 2
    engine = Engine(vlm, Decoding(max_new_tokens=TOKENS, batch_rows=5, sharing=sharing))
    assert tokens(engine.answer(asked())) == expected
    assert not sharing or not engine.notes


@pytest.mark.parametrize("sharing", [True, False])
def test_padding_that_is_an_end_token_is_not_penalised(small, sharing):
    """As in Qwen's checkpoints: a row beside a longer one would be kept from ending."""
    vlm = changed(small, repetition_penalty=8.0)
    expected = plainly(vlm, "8.0")
    ends = set(vlm.model.generation_config.eos_token_id)
    said = [answer[-1] for answer in expected if answer[-1] in ends]
    end = max(said, key=said.count)
    processor = copy.copy(vlm.processor)
    processor.tokenizer = copy.deepcopy(processor.tokenizer)
    processor.tokenizer.pad_token = processor.tokenizer.convert_ids_to_tokens(end)
    padded = dataclasses.replace(vlm, processor=processor)
    assert padded.pad_token_id == end
    plain = Decoding(max_new_tokens=TOKENS, sharing=sharing)
    assert tokens(generate(padded, asked(), plain)) == expected


@pytest.mark.parametrize(
    "settings",
    [
        {"min_new_tokens": 7},
        {"min_length": 60},
        {"forced_eos_token_id": 60},
        {"exponential_decay_length_penalty": (3, 2.0)},
        {"min_new_tokens": 5, "repetition_penalty": 1.7},
    ],
    ids="+".join,
)
def test_settings_that_count_tokens_are_honoured_row_by_row(small, settings):
    vlm = changed(small, **settings)
    expected = plainly(vlm, settings)
    assert expected != plainly(small)
    engine = Engine(vlm, Decoding(max_new_tokens=TOKENS, batch_rows=5))
    assert tokens(engine.answer(asked())) == expected
    assert any("once per row: the generation settings ask for" in note for note in engine.notes)
