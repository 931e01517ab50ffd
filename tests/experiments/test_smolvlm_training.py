"""Training of smolvlm_emoji with tiny weights: sentences, packed sequences, stages, resuming."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from raising import raises
from tiny_smolvlm import tiny_parts, tiny_text

from experiments.smolvlm_emoji import own_answers
from experiments.smolvlm_emoji.alignment import Alignment, Pictures
from experiments.smolvlm_emoji.augment import shown
from experiments.smolvlm_emoji.build import build_processor
from experiments.smolvlm_emoji.drawings import Drawings, character
from experiments.smolvlm_emoji.features import kept_grids
from experiments.smolvlm_emoji.form import is_well_formed
from experiments.smolvlm_emoji.own_answers import whole_sentences
from experiments.smolvlm_emoji.packing import Packer, QuestionBatches
from experiments.smolvlm_emoji.recipe import STAGES
from experiments.smolvlm_emoji.sentences import TASKS, Branch, Speaker
from experiments.smolvlm_emoji.train import run_stage, stage_task

NAMES = {"dog": "animal", "grapes": "fruit", "bomb": ""}


@pytest.fixture(scope="module")
def drawings():
    """Four drawings of each of three things, of which Twitter's are held out."""
    rng = np.random.default_rng(0)
    names = [name for name in NAMES for _ in range(4)]
    styles = ("google", "blob", "twitter", "flat") * 3
    pictures = rng.integers(0, 255, (12, 64, 64, 4)).astype(np.uint8)
    return Drawings(tuple(names), tuple(NAMES[name] for name in names), styles, pictures)


@pytest.mark.parametrize("task", TASKS)
def test_questions_and_answers_are_well_formed(task):
    rng, speaker = (
        np.random.default_rng(0),
        Speaker({**NAMES, "cat": "animal", "kiwi": "fruit"}, {}),
    )
    for name in [*NAMES] * 20:
        branch = speaker.branch(task, name, rng)
        assert is_well_formed(branch.answer), branch
        assert branch.question[0].isupper() and branch.question[-1] in ".?"
        if branch.task != "kind":
            assert name in branch.answer
        if branch.task == "yes_no":
            assert branch.answer.startswith("Yes") == (f" {name}" in branch.question)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("This is a dog.", True), ("this is a dog.", False), ("This is a dog", False), ("", False),
        ("This is a dog. It is a dog. It is a dog. It is a dog.", False),
        ("Dog dog dog dog.", False), ("I see a t-shirt, and it's red!", True),
        ("This is a ��.", False), ("This is a xqzptk.", False),
    ],
)  # fmt: skip
def test_form(text, expected):
    assert is_well_formed(text) == expected


def test_own_answers_take_the_place_of_a_question():
    speaker = Speaker(NAMES, {"dog": [("Where would I find this?", "In a house.")]})
    rng = np.random.default_rng(0)
    tasks = [speaker.branches("dog", 3, rng)[-1].task for _ in range(90)]
    assert 20 <= tasks.count("own") <= 40
    assert speaker.branches("bomb", 3, rng)[-1].task != "own"
    assert whole_sentences("A dog is an animal. It barks. It runs\n\nMore") == (
        "A dog is an animal. It barks."
    )


def test_own_answers_are_written_into_a_new_folder_and_resumed(drawings, tmp_path, monkeypatch):
    monkeypatch.setattr(own_answers, "load_drawings", lambda cache: drawings)
    monkeypatch.setattr(own_answers, "text_model", lambda cache: tiny_text())
    monkeypatch.setattr(own_answers, "MAX_TOKENS", 4)
    path = tmp_path / "new" / "own.jsonl"

    def asked():
        own_answers.main(path, torch.get_num_threads())
        rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        return [(row["name"], row["asked"]) for row in rows]

    whole = asked()
    assert len(whole) == len(set(whole)) == len(NAMES) * len(own_answers.QUESTIONS)
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:5]), encoding="utf-8")
    assert asked() == whole


def test_a_missing_file_of_own_answers_is_refused(tmp_path):
    with raises("not-found", tmp_path / "own.jsonl"):
        own_answers.read_answers(tmp_path / "own.jsonl")


def test_emoji_are_equal_with_and_without_a_selector():
    assert character("2702-fe0f") == character("2702") == "\u2702"


def test_a_branch_has_the_tokens_and_hidden_states_of_a_prompt_of_its_own(drawings):
    parts, (language, tokenizer) = tiny_parts(), tiny_text()
    packer, processor = Packer(language, tokenizer), build_processor(tokenizer, 224)
    branches = [Branch("name", "What is this?", "A dog."), Branch("kind", "Why?", "It is.")]
    grids = torch.randn(1, 6, 7, 7)
    packed = packer.pack([branches], grids)
    together = packer.hidden(parts, packed)
    for branch, (row, first, last, _) in zip(branches, packed.tasks, strict=True):
        alone = packer.pack([[branch]], grids)
        start = alone.tasks[0][1]
        hidden = packer.hidden(parts, alone)[0, start - 1 : start - 1 + last - first]
        torch.testing.assert_close(
            together[row, first - 1 : last - 1], hidden, rtol=1e-4, atol=1e-5
        )
        content = [
            {"type": "image", "image": shown(drawings.pictures[0])},
            {"type": "text", "text": branch.question},
        ]
        prompt = processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
        )  # fmt: skip
        assert prompt["input_ids"][0].tolist() == alone.tokens[0, :start].tolist()


def test_held_out_drawings_are_never_drawn(drawings):
    pictures = Pictures(drawings, None)
    rng = np.random.default_rng(0)
    drawn = np.concatenate([pictures.draw(rng, 3)[0] for _ in range(40)])
    assert {drawings.styles[k] for k in drawn} == {"google", "blob", "flat"}


def test_kept_grids_resume_after_an_interruption(drawings, tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.smolvlm_emoji.features.PART", 4)
    tower = tiny_parts().tower
    whole = kept_grids(tower, drawings, 2, tmp_path / "whole", 0).files
    grid, calls = tower.grid, []

    def interrupted(pixels):
        if len(calls) == 4:
            raise KeyboardInterrupt
        calls.append(len(pixels))
        return grid(pixels)

    monkeypatch.setattr(tower, "grid", interrupted)
    with pytest.raises(KeyboardInterrupt):
        kept_grids(tower, drawings, 2, tmp_path / "parts", 0)
    monkeypatch.undo()
    monkeypatch.setattr("experiments.smolvlm_emoji.features.PART", 4)
    resumed = kept_grids(tower, drawings, 2, tmp_path / "parts", 0).files
    for one, other in zip(whole, resumed, strict=True):
        assert np.array_equal(one, other)
    assert not np.array_equal(whole[0], whole[1])


def test_alignment_prefers_the_name_whose_embedding_is_nearest():
    embeddings = torch.eye(6)
    alignment = Alignment(embeddings, [[0], [1, 2], [3]])
    tokens = embeddings[[1, 2]].mean(0).expand(1, 49, 6)
    assert alignment.scores(tokens).argmax().item() == 1


@pytest.mark.parametrize("number", range(len(STAGES)))
def test_a_resumed_stage_equals_an_uninterrupted_one(drawings, tmp_path, number):
    stage = replace(
        STAGES[number], steps=4, rows=2, save_every=2, views=min(1, STAGES[number].views)
    )

    def trained(out, steps):
        parts, (language, tokenizer) = tiny_parts(), tiny_text()
        parts.train_last_blocks(1 if stage.tower_rate else 0)
        draw, loss = stage_task(
            stage, parts, drawings, language, tokenizer, tmp_path, seed=0, own={}
        )
        for some in steps:
            run_stage(out, number, replace(stage, steps=some, horizon=4), parts, draw, loss, 0)
        return parts

    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole = trained(tmp_path / "whole", [4])
    trained(tmp_path / "parts", [2])
    resumed = trained(tmp_path / "parts", [4])
    before = tiny_parts()
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name
        is_trained = name.startswith("connector") or (
            stage.tower_rate > 0 and name.startswith(("tower.blocks.5", "tower.head"))
        )
        assert torch.equal(weight, before.state_dict()[name]) != is_trained, name
    logs = [
        (tmp_path / folder / "log.jsonl").read_text(encoding="utf-8")
        for folder in ("whole", "parts")
    ]
    assert logs[0].count("\n") == 1 and logs[1].count("\n") == 2


def test_a_batch_has_questions_about_each_picture(drawings, tmp_path):
    parts, (language, tokenizer) = tiny_parts(), tiny_text()
    grids = kept_grids(parts.tower, drawings, 1, tmp_path, 0)
    packer = Packer(language, tokenizer)
    batches = QuestionBatches(Pictures(drawings, grids), Speaker(NAMES, {}), packer, 3)
    batch = batches(np.random.default_rng(0), 2)
    assert batch.grids.shape == (2, 6, 7, 7)
    assert len(batch.tasks) == 6 and (batch.tokens == packer.image).sum() == 2 * 49
    loss, figures = packer(parts, batch)
    loss.backward()
    assert parts.connector.linear_1.weight.grad.abs().sum() > 0
    assert figures.keys() <= {*TASKS, "own"} and "name" in figures
