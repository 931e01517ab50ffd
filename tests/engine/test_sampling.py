"""Token choice follows the checkpoint's generation settings; each row has its own random draws."""

import copy
import dataclasses
import functools
import random

import pytest
import torch
from naive_loop import naive, unit_vector
from tiny_families import examples, tiny

from calib.engine.edits import Edit
from calib.engine.engine import Engine, generate
from calib.engine.operators import Add
from calib.engine.request import Decoding, DecodingRow, Request
from calib.engine.sampling import Sampler, Stopping
from calib.models.prompts import read_prompt

TOKENS = 10
LOGITS = torch.tensor([1.2, -0.3, 0.0, 2.0, -1.5, float("-inf")])


@pytest.fixture(scope="module")
def small():
    return tiny("internvl")


def with_settings(vlm, **settings):
    """The same model with other generation settings."""
    model = copy.copy(vlm.model)
    model.generation_config = copy.deepcopy(model.generation_config)
    for key, value in settings.items():
        setattr(model.generation_config, key, value)
    return dataclasses.replace(vlm, model=model)


@functools.cache
def requests():
    """Requests with several prompts, edits and seeds."""
    width = tiny("internvl").width
    made = []
    for k, example in enumerate(examples(4)):
        for j, positions in enumerate(("", "response", "all")):
            edits = (Edit(1 + j, Add(4 * unit_vector(width, k)), positions),) if j else ()
            made.append(Request(example, edits, seed=10 * k + j))
    return made


def tokens(responses):
    return [list(response.tokens) for response in responses]


NAIVE = {}


def naive_tokens(vlm, settings=""):
    """Responses of the naive loop, cached by the generation settings."""
    if str(settings) not in NAIVE:
        NAIVE[str(settings)] = [
            naive(vlm, request.example, request.edits, TOKENS).tokens for request in requests()
        ]
    return NAIVE[str(settings)]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_logits_that_are_not_finite_end_their_row_only(small, temperature, value):
    sampler = Sampler(small, Decoding(max_new_tokens=TOKENS, temperature=temperature))
    stopping = Stopping(small, sampler, TOKENS)
    prompt = read_prompt(small, examples(1)[0])
    rows = [
        DecodingRow(k, prompt, (), generator=torch.Generator().manual_seed(k)) for k in range(2)
    ]
    scores = torch.zeros(2, 8)
    scores[1, 3] = value
    first, second = stopping.append_tokens(rows, scores).tolist()
    assert first >= 0 and second == -1
    assert not stopping.has_ended(rows[0]) and stopping.has_ended(rows[1])
    response = stopping.response(rows[1])
    assert (response.finish, response.tokens) == ("not_finite", ())


def draw_tokens(sampler, logits, count=4000):
    """Tokens drawn from one distribution by rows with consecutive seeds."""
    scores = logits.expand(count, -1)
    if sampler.processors:
        scores = sampler.processors(torch.zeros(count, 1, dtype=torch.int64), scores)
    return sampler.choose(scores, [torch.Generator().manual_seed(seed) for seed in range(count)])


def require_drawn_from(drawn, probabilities):
    """Chi-square test at a significance level of 1 in 10,000."""
    counts = torch.bincount(drawn, minlength=len(probabilities)).double()
    assert (counts[probabilities == 0] == 0).all()
    expected = len(drawn) * probabilities[probabilities > 0].double()
    distance = ((counts[probabilities > 0] - expected) ** 2 / expected).sum()
    assert distance < 23.5  # for four degrees of freedom or fewer


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_draws_follow_the_softmax(small, temperature):
    drawn = draw_tokens(Sampler(small, Decoding(temperature=temperature)), LOGITS)
    require_drawn_from(drawn, (LOGITS / temperature).softmax(-1))


@pytest.mark.parametrize("top_p, nucleus", [(0.5, [3]), (0.8, [0, 3]), (0.9, [0, 2, 3])])
def test_draws_are_from_the_nucleus(small, top_p, nucleus):
    """The probabilities are 0.58, 0.26, 0.08, 0.06 ..."""
    probabilities = torch.zeros(len(LOGITS))
    probabilities[nucleus] = LOGITS.softmax(-1)[nucleus]
    assert probabilities.sum() >= top_p > probabilities.sum() - probabilities[nucleus].min()
    drawn = draw_tokens(Sampler(small, Decoding(temperature=1.0, top_p=top_p)), LOGITS)
    require_drawn_from(drawn, probabilities / probabilities.sum())


def test_sampling_settings_of_the_checkpoint_are_ignored(small):
    suggested = {"do_sample": True, "top_k": 1, "min_p": 0.9, "typical_p": 0.1, "temperature": 0.1}
    sampler = Sampler(with_settings(small, **suggested), Decoding(temperature=1.0))
    require_drawn_from(draw_tokens(sampler, LOGITS), LOGITS.softmax(-1))


def test_scores_that_are_not_finite_give_no_token(small):
    scores = torch.stack([LOGITS, torch.full_like(LOGITS, float("nan")), LOGITS])
    scores[2, 1] = float("nan")
    for temperature, first in ((0.0, [3]), (1.0, [0, 1, 2, 3, 4])):
        sampler = Sampler(small, Decoding(temperature=temperature))
        tokens = sampler.choose(scores, [torch.Generator().manual_seed(1) for _ in scores])
        assert tokens[0] in first and tokens[1:].tolist() == [-1, -1]


def test_noise_of_zero_does_not_choose_an_impossible_token(small, monkeypatch):
    """Without MKL, Exp(1) noise is 0 once in 2**24 draws, and each step draws for every token."""

    def zero_for_the_last(self, generator=None):
        self.fill_(1.0)
        self[..., -1] = 0.0
        return self

    monkeypatch.setattr(torch.Tensor, "exponential_", zero_for_the_last)
    sampler = Sampler(small, Decoding(temperature=1.0))
    assert sampler.choose(LOGITS[None], [torch.Generator()]).tolist() == [3]


def test_draws_of_a_row_do_not_depend_on_other_rows(small):
    """Alone, in another order, in small batches and without sharing."""
    sampled = {"max_new_tokens": TOKENS, "temperature": 1.5, "top_p": 0.9}
    expected = tokens(generate(small, requests(), Decoding(**sampled)))
    order = random.Random(0).sample(range(len(expected)), len(expected))
    engine = Engine(small, Decoding(**sampled, batch_rows=4))
    responses = engine.answer([requests()[k] for k in order])
    assert tokens(responses) == [expected[k] for k in order]
    assert tokens(engine.answer(requests()[7:8])) == expected[7:8]
    unshared = generate(small, requests(), Decoding(**sampled, sharing=False))
    assert tokens(unshared) == expected
    greedy = tokens(generate(small, requests(), Decoding(max_new_tokens=TOKENS)))
    assert sum(a != b for a, b in zip(expected, greedy, strict=True)) > 8


def test_draws_depend_on_the_seeds(small):
    def sampled(row_seed, run_seed):
        rows = [Request(example, (), seed=row_seed) for example in examples(6)]
        decoding = Decoding(max_new_tokens=TOKENS, temperature=1.5, seed=run_seed)
        return tokens(generate(small, rows, decoding))

    first = sampled(0, 0)
    assert sampled(0, 0) == first
    for other in (sampled(1, 0), sampled(0, 1)):
        assert sum(a != b for a, b in zip(first, other, strict=True)) > 3


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
def test_greedy_settings_of_the_checkpoint_are_applied(small, settings, sharing):
    vlm = with_settings(small, **settings)
    expected = naive_tokens(vlm, settings)
    assert sum(a != b for a, b in zip(expected, naive_tokens(small), strict=True)) > 2
    engine = Engine(vlm, Decoding(max_new_tokens=TOKENS, batch_rows=5, sharing=sharing))
    assert tokens(engine.answer(requests())) == expected
    assert not sharing or not engine.notes


@pytest.mark.parametrize("sharing", [True, False])
def test_padding_that_is_an_end_token_is_not_penalised(small, sharing):
    """As in Qwen's checkpoints. A penalty for padding would keep rows in mixed batches going."""
    vlm = with_settings(small, repetition_penalty=8.0)
    expected = naive_tokens(vlm, "8.0")
    end_tokens = set(vlm.model.generation_config.eos_token_id)
    last = [response[-1] for response in expected if response[-1] in end_tokens]
    end = max(last, key=last.count)
    processor = copy.copy(vlm.processor)
    processor.tokenizer = copy.deepcopy(processor.tokenizer)
    processor.tokenizer.pad_token = processor.tokenizer.convert_ids_to_tokens(end)
    padded = dataclasses.replace(vlm, processor=processor)
    assert padded.pad_token_id == end
    plain = Decoding(max_new_tokens=TOKENS, sharing=sharing)
    assert tokens(generate(padded, requests(), plain)) == expected


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
def test_settings_that_count_tokens_are_applied_row_by_row(small, settings):
    vlm = with_settings(small, **settings)
    expected = naive_tokens(vlm, settings)
    assert expected != naive_tokens(small)
    engine = Engine(vlm, Decoding(max_new_tokens=TOKENS, batch_rows=5))
    assert tokens(engine.answer(requests())) == expected
    processor = engine.sampler.length_processor
    assert processor and all(processor in note for note in engine.notes) and engine.notes


def test_special_tokens_that_are_tags_of_thoughts_stay_in_the_response(small):
    tokenizer = copy.deepcopy(small.processor.tokenizer)
    tokenizer.add_special_tokens({"extra_special_tokens": ["[THINK]", "[/THINK]"]})
    processor = copy.copy(small.processor)
    processor.tokenizer = tokenizer
    thinking = dataclasses.replace(small, processor=processor)
    text = "[THINK]how[/THINK]it is a circle"
    tokens = tokenizer(f"{text}<eos><pad>", add_special_tokens=False)["input_ids"]
    row = DecodingRow(0, read_prompt(small, examples(1)[0]), (), tokens=tokens, finish="stop")
    assert Stopping(thinking, Sampler(thinking, Decoding()), 99).response(row).text == text
    others = [token for token in tokens if token < len(small.processor.tokenizer)]
    row = dataclasses.replace(row, tokens=others)
    for vlm in (small, thinking):
        sampler = Sampler(vlm, Decoding())
        assert Stopping(vlm, sampler, 99).response(row).text == "howit is a circle"


@pytest.mark.parametrize("temperature", [1e-300, 1e-40, 1e-7])
def test_a_tiny_temperature_takes_the_most_likely_token(small, temperature):
    decoding = Decoding(3, 8, temperature=temperature, seed=1)
    sampled = Engine(small, decoding).answer(requests()[:2])
    greedy = Engine(small, dataclasses.replace(decoding, temperature=0.0)).answer(requests()[:2])
    assert [one.text for one in sampled] == [one.text for one in greedy]
    assert not any(one.finish == "not_finite" for one in sampled)
