"""The safety fine-tuning and the evaluation of smolvlm_emoji, with tiny weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_smolvlm import tiny_parts, tiny_text

from calib.scoring.intervals import clustered_rate
from experiments.packing import IGNORED
from experiments.smolvlm_emoji.alignment import Pictures
from experiments.smolvlm_emoji.drawings import Drawings
from experiments.smolvlm_emoji.evaluate import ended, missed_floors, perplexity, says
from experiments.smolvlm_emoji.features import kept_grids
from experiments.smolvlm_emoji.form import is_well_formed
from experiments.smolvlm_emoji.guard import GuardBatches
from experiments.smolvlm_emoji.lora import attach, tensors
from experiments.smolvlm_emoji.nearest import nearest_names
from experiments.smolvlm_emoji.packing import Packer
from experiments.smolvlm_emoji.recipe import GUARD
from experiments.smolvlm_emoji.refusals import ALARMING, DANGEROUS, SAFE, UNSAFE, refusal
from experiments.smolvlm_emoji.sentences import Speaker
from experiments.smolvlm_emoji.things import COMMON
from experiments.smolvlm_emoji.train import run_stage

THINGS = {"bomb": "", "dog": "animal"}


@pytest.fixture
def batches(tmp_path):
    drawings = Drawings(
        ("bomb", "dog"), ("", "animal"), ("google", "google"),
        np.random.default_rng(0).integers(0, 255, (2, 64, 64, 4)).astype(np.uint8),
    )  # fmt: skip
    parts, (language, tokenizer) = tiny_parts().requires_grad_(False), tiny_text()
    grids = kept_grids(parts.tower, drawings, 1, tmp_path / "grids", 0)
    own = {SAFE[0]: "It is Rome."}
    packer = Packer(language, tokenizer)
    drawn = GuardBatches(Pictures(drawings, grids), Speaker(THINGS, {}), packer, own)
    return drawn, parts, language


def responses(batches, batch):
    """The task and the text of each answer of a batch."""
    for row, first, last, task in batch.tasks:
        assert (batch.labels[row, first:last] == batch.tokens[row, first:last]).all()
        yield task, batches.packer.tokenizer.decode(batch.labels[row, first : last - 1])
    lengths = [last - first for _, first, last, _ in batch.tasks]
    assert (batch.labels != IGNORED).sum() == sum(lengths)


def test_dangerous_things_and_unsafe_requests_are_refused(batches):
    drawn, *_ = batches
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(12):
        batch = drawn(rng, 2)
        for task, response in responses(drawn, batch):
            seen.add((task, batch.grids is not None))
            assert is_well_formed(response)
            refuses = response.startswith(
                ("I'm", "I c", "Sorry", "I have to d", "That is not some")
            )
            assert refuses == (task == "refuse"), response
            assert "bomb." not in response  # the name of a thing, at the end of an answer
    assert {("refuse", True), ("refuse", False), ("answer", False)} < seen
    assert any(with_picture and task != "refuse" for task, with_picture in seen)


def test_a_resumed_guard_equals_an_uninterrupted_one(batches, tmp_path):
    drawn, parts, _ = batches
    stage = replace(GUARD, steps=4, rows=1, save_every=2)

    def trained(out, steps):
        out.mkdir(exist_ok=True)
        language = tiny_text()[0]
        updates = attach(language.model, 0)
        drawn.packer.language = language
        for some in steps:
            stage_part = replace(stage, steps=some, horizon=4)
            run_stage(out, 3, stage_part, updates, drawn, lambda _, b: drawn.packer(parts, b), 0)
        return tensors(updates)

    whole = trained(tmp_path / "whole", [4])
    trained(tmp_path / "parts", [2])
    resumed = trained(tmp_path / "parts", [4])
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert all(weight.abs().sum() > 0 for weight in whole.values())


def test_requests_are_distinct_and_dangerous_things_are_common_or_other_things():
    requests = [*UNSAFE, *ALARMING, *SAFE]
    assert len(set(requests)) == len(requests)
    assert {"bomb", "knife", "axe"} <= DANGEROUS & set(COMMON)
    rng = np.random.default_rng(0)
    assert len({refusal(rng) for _ in range(200)}) > 50


@pytest.mark.parametrize(
    ("response", "name", "expected"),
    [
        ("This is a dog.", "dog", True), ("These are dogs.", "dog", True),
        ("This is a hot dog.", "dog", False), ("This is a hotdog.", "dog", False),
        ("The picture shows a cherry.", "cherries", False),
        ("It is an ice cream.", "ice cream", True),
        ("I see grapes.", "grapes", True), ("THIS IS A WOLF", "wolf", True), ("", "dog", False),
        ("This is a cat, a wolf or a dog.", "dog", False),
    ],
)  # fmt: skip
def test_names_in_responses(response, name, expected):
    assert says(response, name, {"hot dog", "wolf", "cat", "dog"}) == expected


def test_a_sentence_that_the_limit_cut_is_left_out():
    assert ended("It is a dog. It barks at") == "It is a dog."
    assert ended("It is 3.5 metres long. Yes! It") == "It is 3.5 metres long. Yes!"
    assert ended("no sentence") == "no sentence"


def test_the_bar_compares_with_drawings_that_are_not_held_out():
    drawings = Drawings(
        ("dog", "dog", "cat", "cat"), ("",) * 4, ("google", "twitter") * 2,
        np.zeros((4, 64, 64, 4), np.uint8),
    )  # fmt: skip
    features = torch.nn.functional.normalize(
        torch.tensor([[1.0, 0], [0.9, 0.1], [0, 1.0], [0.95, 0.05]]), dim=-1
    )
    assert nearest_names(features, drawings) == {1: "dog", 3: "dog"}


def test_missed_floors():
    def figures(named, formed, bar):
        names = ("names of held-out drawings", "well-formed responses", "nearest neighbour names")
        counts = zip(names, (named, formed, bar), strict=True)
        return {n: clustered_rate([k < c for k in range(100)], range(100)) for n, c in counts}

    assert missed_floors(figures(65, 99, 57), 1.0) == []
    assert len(missed_floors(figures(65, 99, 70), 1.0)) == 1
    assert len(missed_floors(figures(55, 90, 57), 1.03)) == 3


def test_perplexity_is_that_of_the_model_alone(monkeypatch):
    language, tokenizer = tiny_text()
    monkeypatch.setattr("experiments.smolvlm_emoji.evaluate.PLAIN_TEXT", ("A river rises.",))
    ids = tokenizer("A river rises.", return_tensors="pt", add_special_tokens=False)["input_ids"]
    expected = language(input_ids=ids, labels=ids).loss.exp().item()
    assert perplexity(language, tokenizer) == pytest.approx(expected, rel=1e-5)
