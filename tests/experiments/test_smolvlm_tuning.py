"""The connector, the safety fine-tuning and the evaluation of smolvlm_emoji, with tiny weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_smolvlm import WIDTH, tiny_text

from calib.scoring.intervals import clustered_rate
from experiments.packing import IGNORED
from experiments.smolvlm_emoji import own_answers
from experiments.smolvlm_emoji.assembly import build_processor
from experiments.smolvlm_emoji.chats import GuardBatches, TalkBatches, named
from experiments.smolvlm_emoji.drawings import Drawings
from experiments.smolvlm_emoji.evaluate import ended, missed_floors, perplexity, says
from experiments.smolvlm_emoji.form import is_well_formed
from experiments.smolvlm_emoji.lora import attach
from experiments.smolvlm_emoji.nearest import nearest_names
from experiments.smolvlm_emoji.packing import Branch, Packer
from experiments.smolvlm_emoji.recipe import GUARD
from experiments.smolvlm_emoji.refusals import ALARMING, DANGEROUS, HARMLESS, SAFE, UNSAFE, refusal
from experiments.smolvlm_emoji.text import IMAGE
from experiments.smolvlm_emoji.things import COMMON
from experiments.smolvlm_emoji.train import run_stage
from experiments.smolvlm_emoji.words import PLACES, identity, name_tokens

BRANCH = Branch("name", "What is this?", "A dog.")
OWN = {
    None: [Branch("answer", SAFE[0], "It is Rome.")],
    "dog": [Branch("answer", "Write a caption for this.", "A dog in a park.")],
}


def responses(batches, batch):
    """The task and the text of each answer of a batch."""
    for row, first, last, task in batch.tasks:
        assert (batch.labels[row, first:last] == batch.tokens[row, first:last]).all()
        yield task, batches.packer.tokenizer.decode(batch.labels[row, first : last - 1])
    lengths = [last - first for _, first, last, _ in batch.tasks]
    assert (batch.labels != IGNORED).sum() == sum(lengths)


def seen(batches):
    rng = np.random.default_rng(0)
    return {pair for _ in range(12) for pair in responses(batches, batches(rng, 2))}


def test_dangerous_things_and_unsafe_requests_are_refused():
    found = seen(GuardBatches(Packer(*tiny_text()), OWN))
    for task, response in found:
        assert is_well_formed(response)
        refuses = response.startswith(("I'm", "I c", "Sorry", "I have to d", "That is not some"))
        assert refuses == (task == "refuse"), response
    answers = {response for task, response in found if task != "refuse"}
    assert answers == {"It is Rome.", "A dog in a park.", "This is a dog."}


def test_talk_refuses_nothing():
    found = seen(TalkBatches(Packer(*tiny_text()), OWN))
    assert found == {("answer", "A dog in a park."), ("name", "This is a dog.")}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("dog", "This is a dog."), ("grapes", "These are grapes."), ("bread", "This is bread.")],
)
def test_answers_to_what_a_picture_shows(name, expected):
    assert named(name) == expected


def test_a_branch_has_the_tokens_and_hidden_states_of_a_prompt_of_its_own():
    packer = Packer(*tiny_text())
    processor = build_processor(packer.tokenizer, 224)
    branches = [Branch("name", "What is this?", "A dog."), Branch("kind", "Why?", "It is.")]
    packed = packer.pack([("dog", branches)])
    together = packer.hidden(packed)
    for branch, (row, first, last, _) in zip(branches, packed.tasks, strict=True):
        alone = packer.pack([("dog", [branch])])
        start = alone.tasks[0][1]
        hidden = packer.hidden(alone)[0, start - 1 : start - 1 + last - first]
        torch.testing.assert_close(
            together[row, first - 1 : last - 1], hidden, rtol=1e-4, atol=1e-5
        )
        content = [
            {"type": "image", "image": Image.new("RGB", (64, 64))},
            {"type": "text", "text": branch.question},
        ]
        prompt = processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
        )["input_ids"][0]  # fmt: skip
        is_picture = prompt == packer.tokenizer.convert_tokens_to_ids(IMAGE)
        assert is_picture.sum() == PLACES
        prompt[is_picture] = torch.tensor(name_tokens("dog", packer.tokenizer))
        assert prompt.tolist() == alone.tokens[0, :start].tolist()


def test_own_answers_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(own_answers, "MAX_TOKENS", 4)
    monkeypatch.setattr(own_answers, "is_well_formed", lambda answer: True)
    path, packer = tmp_path / "own.json", Packer(*tiny_text())
    first = own_answers.own_answers(packer, ["dog", "cat"], path, 0)
    assert first.keys() == {None, "dog", "cat"}
    assert (
        len(first[None]) == len(SAFE) + len(HARMLESS) and len(first["dog"]) == own_answers.PER_NAME
    )
    packer.language = None
    assert own_answers.own_answers(packer, ["dog", "cat"], path, 0) == first


def test_an_answer_is_cut_after_its_second_sentence():
    assert own_answers.whole_sentences("A dog is an animal. It barks. It runs\n\nMore") == (
        "A dog is an animal. It barks."
    )
    assert own_answers.whole_sentences("no sentence") == ""


def test_the_connector_changes_the_tokens_of_pictures_only():
    packer = Packer(*tiny_text(), connector=identity(WIDTH))
    batch = packer.pack([("dog", [BRANCH]), (None, [BRANCH])])
    before = packer.embedded(batch.tokens, batch.pictures)
    assert torch.equal(before, packer.language.get_input_embeddings()(batch.tokens))
    torch.nn.init.ones_(packer.connector.bias)
    changed = (packer.embedded(batch.tokens, batch.pictures) != before).any(-1)
    assert torch.equal(changed, batch.pictures)
    assert batch.tokens[changed].tolist() == name_tokens("dog", packer.tokenizer)


@pytest.mark.parametrize("trained", ["connector", "guard"])
def test_a_resumed_stage_equals_an_uninterrupted_one(trained, tmp_path):
    stage = replace(GUARD, steps=4, rows=1, save_every=2)

    def weights(out, steps):
        out.mkdir(exist_ok=True)
        packer = Packer(*tiny_text(), connector=identity(WIDTH))
        if trained == "connector":
            task, batches = packer.connector, TalkBatches(packer, OWN)
        else:
            task, batches = attach(packer.language.model, 0), GuardBatches(packer, OWN)
            packer.connector.requires_grad_(False)
        for some in steps:
            run_stage(out, 3, replace(stage, steps=some, horizon=4), task, batches, packer, 0)
        return task.state_dict()

    whole = weights(tmp_path / "whole", [4])
    weights(tmp_path / "parts", [2])
    resumed = weights(tmp_path / "parts", [4])
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    before = {"weight": torch.eye(WIDTH)} if trained == "connector" else {}
    assert all((whole[name] - before.get(name, 0)).abs().sum() > 0 for name in whole)


def test_requests_are_distinct_and_dangerous_things_are_common_or_other_things():
    requests = [*UNSAFE, *ALARMING, *SAFE, *HARMLESS]
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
