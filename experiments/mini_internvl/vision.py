"""Stage 1: train the vision tower alone, by classification.

In joint training from scratch the language model ignores the picture for thousands of steps. The
later stages succeed because the tower already separates objects, colours, places, numbers and
words.

With ``patchwise`` in the recipe each patch learns the object or the letter that it shows, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from calib.data.mini.world import COLOURS, NUMBERS, PLACES
from experiments.mini_internvl.patches import IGNORED, LETTERS, letters, shifted, shown_objects
from experiments.mini_internvl.recipe import Recipe
from experiments.mini_internvl.scenes import Gallery, Scene, pixels


def classes(recipe: Recipe) -> dict[str, int]:
    """Number of classes of each question about a picture, and with ``patchwise`` about a patch."""
    objects = len(recipe.world.objects)
    common = {"place": len(PLACES), "number": len(NUMBERS), "word": 2 * objects}
    if not recipe.patchwise:
        return {"thing": objects * len(COLOURS), **common}
    return {"thing": objects, "colour": len(COLOURS), **common, **patch_classes(recipe)}


def patch_classes(recipe: Recipe) -> dict[str, int]:
    """Number of classes of each question about a patch; class 0 is none."""
    return {"patch_object": 1 + len(recipe.world.objects), "patch_letter": 1 + len(LETTERS)}


class VisionTask(nn.Module):
    """The tower with a linear head per question: on the mean over patches, or on each patch."""

    def __init__(self, tower: nn.Module, width: int, classes: Mapping[str, int]) -> None:
        super().__init__()
        self.tower = tower
        self.norm = nn.LayerNorm(width)
        self.heads = nn.ModuleDict({name: nn.Linear(width, n) for name, n in classes.items()})

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        patches = self.tower(pixel_values=images).last_hidden_state[:, 1:]  # [rows, patches, width]
        features = self.norm(patches.mean(1))
        each = self.norm(patches) if any(map(_of_patches, self.heads)) else patches
        return {
            name: head(each if _of_patches(name) else features) for name, head in self.heads.items()
        }


def _of_patches(question: str) -> bool:
    return question.startswith("patch_")


def targets(recipe: Recipe, scene: Scene) -> dict[str, int]:
    """Class indices by question about the picture; IGNORED if a question does not apply."""
    objects = recipe.world.objects
    name, colour = objects.index(scene.name), list(COLOURS).index(scene.colour)
    word = name + len(objects) * (scene.variant == "translation")
    drawn = scene.kind != "text"
    things = (
        {"thing": name if drawn else IGNORED, "colour": colour if drawn else IGNORED}
        if recipe.patchwise
        else {"thing": name * len(COLOURS) + colour if drawn else IGNORED}
    )
    return things | {
        "place": PLACES.index(scene.place) if scene.kind == "object" else IGNORED,
        "number": scene.number - 1 if scene.kind == "group" else IGNORED,
        "word": word if scene.kind == "text" else IGNORED,
    }


@dataclass(frozen=True)
class VisionBatch:
    """Pictures with the answers to every question."""

    images: torch.Tensor  # [rows, 3, SIZE, SIZE]
    labels: dict[str, torch.Tensor]  # by question: [rows], or [rows, patches] about patches
    share: float = 1.0
    """Weight of the loss among the batches of a step."""


class VisionBatches:
    """Draws batches for a recipe."""

    def __init__(self, recipe: Recipe, gallery: Gallery) -> None:
        self.recipe, self.gallery = recipe, gallery

    def __call__(self, rng: np.random.Generator, rows: int) -> list[VisionBatch]:
        """One batch of a step."""
        recipe = self.recipe
        scenes = [recipe.scenes.random(rng, recipe.shares["vision"]) for _ in range(rows)]
        rows_of_labels = [targets(recipe, scene) for scene in scenes]
        labels = {
            name: torch.tensor([row[name] for row in rows_of_labels]) for name in rows_of_labels[0]
        }
        pictures = self.gallery.pictures(scenes)
        if recipe.patchwise:
            pictures, shifts = shifted(pictures, rng)
            objects = [recipe.world.objects.index(scene.name) for scene in scenes]
            drawn = np.array([scene.kind != "text" for scene in scenes])
            shown = np.where(drawn[:, None], shown_objects(pictures, objects), IGNORED)
            read = np.stack([letters(s, shift) for s, shift in zip(scenes, shifts, strict=True)])
            labels |= {
                "patch_object": torch.from_numpy(shown),
                "patch_letter": torch.from_numpy(read),
            }
        return [VisionBatch(torch.from_numpy(pixels(pictures)), labels)]


def vision_loss(task: VisionTask, batch: VisionBatch) -> tuple[torch.Tensor, dict[str, float]]:
    """Cross-entropy summed over questions, and accuracy by question."""
    device = next(task.parameters()).device
    logits = task(batch.images.to(device))
    loss, accuracy = torch.zeros((), device=device), {}
    for name, answers in batch.labels.items():
        answers = answers.to(device)
        applies = answers != IGNORED
        if applies.any():
            # Weighted by its frequency, so that rare questions do not dominate.
            loss = (
                loss
                + F.cross_entropy(logits[name][applies], answers[applies]) * applies.float().mean()
            )
            hits = logits[name][applies].argmax(-1) == answers[applies]
            accuracy[name] = hits.float().mean().item()
    return loss, accuracy
