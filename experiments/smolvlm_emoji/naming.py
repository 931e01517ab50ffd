"""Pictures for training, and the loss by which the tower learns to name them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from calib.models.towers.naming import NamingTower, NamingTowerConfig
from experiments.smolvlm_emoji.drawings import Drawings
from experiments.smolvlm_emoji.features import Grids, view_pixels

SMOOTHING = 0.1
"""Share of the target that is spread over all names."""


def tower_to_train(names: Sequence[str], network: dict | None = None) -> NamingTower:
    """A random tower that knows ``names``; training does not need their word pieces."""
    return NamingTower(NamingTowerConfig(pieces=[[0] for _ in names], network=network))


def train_last_blocks(tower: NamingTower, count: int) -> None:
    """Freeze the tower but for its names, its last convolution and its last ``count`` blocks."""
    network = tower.network
    tower.requires_grad_(False)
    for module in (*network.blocks[len(network.blocks) - count :], network.head, tower.naming):
        module.requires_grad_(True)


@dataclass(frozen=True)
class Shown:
    """Pictures of a step: their grids, or their pixels, and what they show."""

    grids: torch.Tensor | None  # [pictures, channels, rows, columns]
    pixels: torch.Tensor | None  # [pictures, 3, side, side]
    labels: torch.Tensor  # [pictures] index of the name


class Pictures:
    """Draws pictures of things for training: each name is equally likely."""

    def __init__(self, drawings: Drawings, grids: Grids | None) -> None:
        self.drawings, self.grids = drawings, grids
        indices = {name: k for k, name in enumerate(drawings.known_names)}
        self.labels = np.array([indices[name] for name in drawings.names])
        used = ~drawings.held_out
        self.of = [np.flatnonzero((self.labels == k) & used) for k in range(len(indices))]

    def draw(self, rng: np.random.Generator, rows: int) -> tuple[np.ndarray, Shown]:
        """Indices of drawings, and their pictures."""
        labels = rng.choice(len(self.of), rows, replace=False)
        drawn = np.array([rng.choice(self.of[label]) for label in labels])
        target = torch.from_numpy(labels)
        if self.grids is None:
            seed = [int(rng.integers(2**32))]
            return drawn, Shown(None, view_pixels(self.drawings.pictures[drawn], 1, seed), target)
        views = rng.integers(0, len(self.grids.files), rows)
        return drawn, Shown(self.grids.of(views, drawn), None, target)


def naming_loss(tower: NamingTower, shown: Shown) -> tuple[torch.Tensor, dict[str, float]]:
    """Cross-entropy of the names, and the share of pictures whose name scores highest."""
    grids = tower.grid(shown.pixels) if shown.grids is None else shown.grids
    scores = tower.scores(grids)  # [pictures, names]
    loss = F.cross_entropy(scores, shown.labels, label_smoothing=SMOOTHING)
    hits = (scores.argmax(1) == shown.labels).float().mean().item()
    return loss, {"named": hits}
