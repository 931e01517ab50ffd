"""Training of smolvlm_emoji's tower with tiny weights: drawings, stages, resuming."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_smolvlm import tiny_naming_tower
from torch import nn

from experiments.smolvlm_emoji.drawings import Drawings, character
from experiments.smolvlm_emoji.features import kept_grids
from experiments.smolvlm_emoji.form import is_well_formed
from experiments.smolvlm_emoji.naming import Pictures, naming_loss, train_last_blocks
from experiments.smolvlm_emoji.recipe import STAGES
from experiments.smolvlm_emoji.train import run_stage, stage_batches

NAMES = {"dog": "animal", "grapes": "fruit", "bomb": ""}


@pytest.fixture(scope="module")
def drawings():
    """Four drawings of each of three things, of which Twitter's are held out."""
    rng = np.random.default_rng(0)
    names = [name for name in NAMES for _ in range(4)]
    styles = ("google", "blob", "twitter", "flat") * 3
    pictures = rng.integers(0, 255, (12, 64, 64, 4)).astype(np.uint8)
    return Drawings(tuple(names), tuple(NAMES[name] for name in names), styles, pictures)


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


def test_emoji_are_equal_with_and_without_a_selector():
    assert character("2702-fe0f") == character("2702") == "\u2702"


def test_held_out_drawings_are_never_drawn(drawings):
    pictures = Pictures(drawings, None)
    rng = np.random.default_rng(0)
    drawn = np.concatenate([pictures.draw(rng, 3)[0] for _ in range(40)])
    assert {drawings.styles[k] for k in drawn} == {"google", "blob", "flat"}


def test_kept_grids_resume_after_an_interruption(drawings, tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.smolvlm_emoji.features.PART", 4)
    tower = tiny_naming_tower(drawings.known_names).network
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


def test_the_loss_prefers_the_right_name(drawings, tmp_path):
    tower = tiny_naming_tower(drawings.known_names)
    grids = kept_grids(tower.network, drawings, 1, tmp_path, 0)
    _, shown = Pictures(drawings, grids).draw(np.random.default_rng(0), 3)
    assert shown.grids.shape == (3, 6, 7, 7)
    nn.init.zeros_(tower.naming.weight)
    right = int(shown.labels[0])
    one = replace(shown, grids=shown.grids[:1], labels=shown.labels[:1])
    losses = {}
    for favoured in range(3):
        with torch.no_grad():
            tower.naming.bias.zero_()[favoured] = 5
        loss, figures = naming_loss(tower, one)
        losses[favoured] = loss.item()
        assert figures["named"] == (favoured == right)
    assert min(losses, key=losses.get) == right


@pytest.mark.parametrize("number", range(len(STAGES)))
def test_a_resumed_stage_equals_an_uninterrupted_one(drawings, tmp_path, number):
    few = {"steps": 4, "rows": 2, "save_every": 2}
    views, blocks = (min(1, value) for value in (STAGES[number].views, STAGES[number].blocks))
    stage = replace(STAGES[number], **few, views=views, blocks=blocks)

    def trained(out, steps):
        tower = tiny_naming_tower(drawings.known_names)
        train_last_blocks(tower, stage.blocks)
        draw = stage_batches(stage, tower, drawings, tmp_path, seed=0)
        for some in steps:
            part = replace(stage, steps=some, horizon=4)
            run_stage(out, number, part, tower, draw, naming_loss, 0)
        return tower

    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole = trained(tmp_path / "whole", [4])
    trained(tmp_path / "parts", [2])
    resumed = trained(tmp_path / "parts", [4])
    before = tiny_naming_tower(drawings.known_names)
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name
        is_trained = name.startswith(("naming", "network.head")) or (
            stage.blocks > 0 and name.startswith("network.blocks.5")
        )
        assert torch.equal(weight, before.state_dict()[name]) != is_trained, name
    logs = [
        (tmp_path / folder / "log.jsonl").read_text(encoding="utf-8")
        for folder in ("whole", "parts")
    ]
    assert logs[0].count("\n") == 1 and logs[1].count("\n") == 2
