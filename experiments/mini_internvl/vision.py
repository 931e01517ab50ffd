"""Stage 1: train the vision tower alone, by classification.

In joint training from scratch the language model ignores the picture for thousands of steps. The
later stages succeed because the tower already separates objects, colours, places, numbers and
words.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from calib.data.mini.world import COLOURS, NUMBERS, OBJECTS, PLACES
from experiments.mini_internvl.scenes import Scene, pixels, random_scene

SHARES = {"object": 0.5, "group": 0.12, "text": 0.38}
CLASSES = {
    "thing": len(OBJECTS) * len(COLOURS),
    "place": len(PLACES),
    "number": len(NUMBERS),
    "word": 2 * len(OBJECTS),
}
IGNORED = -100


class VisionTask(nn.Module):
    """The tower with a linear head per question, on the mean over patches."""

    def __init__(self, tower: nn.Module, width: int) -> None:
        super().__init__()
        self.tower = tower
        self.norm = nn.LayerNorm(width)
        self.heads = nn.ModuleDict({name: nn.Linear(width, n) for name, n in CLASSES.items()})

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        patches = self.tower(pixel_values=images).last_hidden_state[:, 1:]  # [rows, patches, width]
        features = self.norm(patches.mean(1))
        return {name: head(features) for name, head in self.heads.items()}


def targets(scene: Scene) -> dict[str, int]:
    """Class indices by question; IGNORED if a question does not apply."""
    thing = OBJECTS.index(scene.name) * len(COLOURS) + list(COLOURS).index(scene.colour)
    word = OBJECTS.index(scene.name) + len(OBJECTS) * (scene.variant == "translation")
    return {
        "thing": thing if scene.kind != "text" else IGNORED,
        "place": PLACES.index(scene.place) if scene.kind == "object" else IGNORED,
        "number": scene.number - 1 if scene.kind == "group" else IGNORED,
        "word": word if scene.kind == "text" else IGNORED,
    }


def vision_batch(
    rng: np.random.Generator, rows: int
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Pictures [rows, 3, SIZE, SIZE] and class indices [rows] by question."""
    scenes = [random_scene(rng, SHARES) for _ in range(rows)]
    labels = [targets(scene) for scene in scenes]
    images = torch.from_numpy(pixels([scene.draw() for scene in scenes]))
    return images, {name: torch.tensor([label[name] for label in labels]) for name in CLASSES}


def vision_loss(task: VisionTask, batch: tuple[torch.Tensor, dict]) -> tuple[torch.Tensor, dict]:
    """Cross-entropy summed over questions, and accuracy by question."""
    images, labels = batch
    device = next(task.parameters()).device
    logits = task(images.to(device))
    loss, accuracy = torch.zeros((), device=device), {}
    for name, answers in labels.items():
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
