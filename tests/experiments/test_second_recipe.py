"""Training shortcuts of the second recipe: kept pictures and features, and batches by length."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.mini_internvl import train
from experiments.mini_internvl.build import build_model, build_processor
from experiments.mini_internvl.curriculum import Branch, Curriculum, PackedSequence
from experiments.mini_internvl.language import LanguageTask
from experiments.mini_internvl.patches import LETTERS, letters, shifted, shown_objects
from experiments.mini_internvl.recipe import SECOND_RECIPE, Stage
from experiments.mini_internvl.scenes import Gallery, Scene, Scenes
from experiments.mini_internvl.train import run_stage
from experiments.mini_internvl.vision import VisionBatches, VisionTask, classes, vision_loss

RECIPE = replace(SECOND_RECIPE, jitters={"object": 2, "group": 1, "text": 2})


@pytest.fixture(scope="module")
def processor() -> Any:
    return build_processor(RECIPE)


@pytest.fixture(scope="module")
def model(processor: Any) -> Any:
    return build_model(processor, 0, RECIPE).eval()


def test_limited_scenes_are_among_all_scenes() -> None:
    scenes = Scenes(("ball", "bomb"), {"object": 2, "group": 1, "text": 3})
    all_scenes = scenes.all()
    assert len(all_scenes) == 2 * (2 * 6 * 4 + 1 * 6 * 4 + 3 * 6)
    assert len(set(all_scenes)) == len(all_scenes)
    rng = np.random.default_rng(0)
    shares = {"object": 0.4, "group": 0.3, "text": 0.3}
    assert {scenes.random(rng, shares) for _ in range(3000)} == set(all_scenes)


def test_kept_pictures_are_drawn_once() -> None:
    gallery = Gallery(keep=True)
    scene = Scene("object", "ball", "red", "left", 1, "original", 5)
    first = gallery.pictures([scene, scene])
    assert np.array_equal(first, gallery.pictures([scene, scene]))
    assert np.array_equal(first[0], np.asarray(scene.draw()))
    assert gallery._picture(scene) is gallery._picture(scene)


def test_patches_show_the_object_at_its_place() -> None:
    for place, side in (("left", slice(0, 4)), ("right", slice(4, 8))):
        scene = Scene("object", "gear", "red", place, 1, "original", 3)
        picture = Gallery(keep=False).pictures([scene])
        shown = shown_objects(picture, [6]).reshape(8, 8)
        assert set(shown.ravel()) == {0, 7}
        assert (shown[:, side] == 7).sum() > 0.7 * (shown == 7).sum()


def test_patches_spell_the_rendered_word() -> None:
    scene = Scene("text", "bomb", "black", "left", 1, "original", 3)
    read = letters(scene, (0, 0)).reshape(8, 8)
    words = ["".join(LETTERS[k - 1] for k in dict.fromkeys(row) if k) for row in read]
    assert "make" in words
    assert any(set(word) == set("bom") for word in words)
    assert (letters(replace(scene, variant="rotation"), (0, 0)) < 0).all()
    moved = letters(scene, (8, 0)).reshape(8, 8)
    assert np.array_equal(moved[:, 1:], read[:, :-1])


def test_shifted_pictures_keep_their_content() -> None:
    scene = Scene("object", "ball", "red", "left", 1, "original", 5)
    pictures = Gallery(keep=False).pictures([scene] * 20)
    moved, shifts = shifted(pictures, np.random.default_rng(0))
    assert moved.shape == pictures.shape and len(set(shifts)) > 5
    x, y = shifts[0]
    inner = moved[0, 8 + y : 56 + y, 8 + x : 56 + x].astype(float)
    assert np.abs(inner / pictures[0, 8:56, 8:56].clip(1) - 1).max() < 0.15


@torch.no_grad()
def test_kept_features_give_the_loss_of_pixels(processor: Any, model: Any) -> None:
    gallery = Gallery(keep=True)
    language = LanguageTask(model, processor, gallery)
    draw = language.batch_maker(Curriculum(RECIPE), "mixture", groups=3)
    shown = draw(np.random.default_rng(1), 6)
    language.keep_features(model, list(gallery._drawn))
    kept = draw(np.random.default_rng(1), 6)
    assert sum(batch.features is not None for batch in kept) >= 2
    for of_pixels, of_features in zip(shown, kept, strict=True):
        wanted, _ = language.loss(model, of_pixels)
        found, _ = language.loss(model, of_features)
        torch.testing.assert_close(found, wanted, atol=2e-3, rtol=0)  # float16 features


@torch.no_grad()
def test_names_are_right_where_features_are_embeddings_of_names(
    processor: Any, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    language = LanguageTask(model, processor, Gallery(keep=True))
    pictured = PackedSequence(None, (), Scene("object", "gear", "red", "left", 1, "original", 3), [
        Branch("What is this?", "It is a gear.", "name"),
    ])  # fmt: skip
    language.keep_features(model, [pictured.scene])
    batch = language.pack([pictured])
    (gear, bomb) = (language.tokens(f" {name}")[-1] for name in ("gear", "bomb"))
    embeddings = model.get_input_embeddings().weight
    losses = {}
    for shown in (gear, bomb):
        features = torch.zeros(1, 16, embeddings.shape[1])
        features[0, 5] = embeddings[shown]  # one token shows the object
        monkeypatch.setattr(model.model.multi_modal_projector, "forward", lambda _, f=features: f)
        losses[shown], hits = language.name_loss(model, batch)
        assert hits == (shown == gear)
    assert losses[gear] < losses[bomb]
    without, _ = language.loss(model, batch)
    weighted, correct = language.loss(model, batch, name_weight=0.5)
    assert float(weighted - without) == pytest.approx(0.5 * float(losses[bomb]), abs=1e-4)
    assert correct["projected"] == 0


@torch.no_grad()
def test_batches_by_length_have_the_loss_of_one_batch(processor: Any, model: Any) -> None:
    language = LanguageTask(model, processor, Gallery(keep=True))
    one, several = (
        language.batch_maker(Curriculum(RECIPE), "mixture", groups)(np.random.default_rng(2), 6)
        for groups in (1, 3)
    )
    assert (len(one), len(several)) == (1, 3)
    assert sum(batch.share for batch in several) == pytest.approx(1)
    padding = [sum(int((batch.positions == 0).sum()) for batch in each) for each in (one, several)]
    assert padding[1] < padding[0]
    total = sum(float(language.loss(model, batch)[0]) * batch.share for batch in several)
    assert total == pytest.approx(float(language.loss(model, one[0])[0]), abs=1e-4)


def test_a_frozen_tower_stays_as_it_is(
    processor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed and resumed, with the same weights as undisturbed."""
    monkeypatch.setattr(train, "SAVE_EVERY", 1)
    gallery = Gallery(keep=True)
    ends = []
    for folder, steps in (("whole", (2,)), ("resumed", (1, 2))):
        (tmp_path / folder).mkdir()
        for end in steps:
            trained = build_model(processor, 0, RECIPE)
            trained.model.vision_tower.requires_grad_(False)
            language = LanguageTask(trained, processor, gallery)
            draw = language.batch_maker(Curriculum(RECIPE), "mixture", groups=2)
            stage = Stage(
                "mixture", end, rows=4, rate=1e-2, vision_rate=1.0, horizon=9, frozen=True
            )
            run_stage(tmp_path / folder, 1, stage, trained, draw, language.loss, 7)
        ends.append(dict(trained.named_parameters()))
    before = dict(build_model(processor, 0, RECIPE).named_parameters())
    for name, weights in ends[0].items():
        assert torch.equal(weights, ends[1][name]), name
        assert torch.equal(weights, before[name]) == ("vision_tower" in name) or name.endswith(
            "bias"
        )


def test_the_tower_learns_about_patches(processor: Any, model: Any) -> None:
    draw = VisionBatches(RECIPE, Gallery(keep=True))
    (batch,) = draw(np.random.default_rng(0), 8)
    task = VisionTask(model.model.vision_tower, RECIPE.vision_width, classes(RECIPE))
    loss, accuracy = vision_loss(task, batch)
    assert torch.isfinite(loss)
    assert {"thing", "colour", "patch_object", "patch_letter"} <= set(accuracy)
    assert batch.labels["patch_letter"].shape == (8, 64)
