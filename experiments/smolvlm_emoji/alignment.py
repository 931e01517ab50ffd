"""The stages before the language model: tower and connector onto its embedding matrix.

The mean of a picture's projected tokens is compared with the mean embedding of each name's tokens:
the right name must be the nearest of all, in the last of these stages to each projected token as
well. Projected tokens get the norm of embeddings, so that the language model reads them as it reads
words.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from calib.models.towers.efficientnet_lite import EfficientNetLite
from experiments.smolvlm_emoji.drawings import Drawings
from experiments.smolvlm_emoji.features import Grids, view_pixels

TEMPERATURE = 0.05
NORM_WEIGHT = 0.1


class Parts(nn.Module):
    """What we train: the tower and LLaVA's connector. The language model is not a part."""

    def __init__(self, tower: EfficientNetLite, connector: nn.Module) -> None:
        super().__init__()
        self.tower = tower
        self.connector = connector

    def train_last_blocks(self, count: int) -> None:
        """Freeze the tower but for its last ``count`` blocks and its last convolution."""
        self.tower.requires_grad_(False)
        if count:
            for module in (*self.tower.blocks[-count:], self.tower.head):
                module.requires_grad_(True)

    def forward(self, grids: torch.Tensor) -> torch.Tensor:
        """Projected tokens from the tower's grids. # [pictures, tokens, width]"""
        return self.connector(self.tower.tokens(grids))


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
        self.names = tuple(dict.fromkeys(drawings.names))
        indices = {name: k for k, name in enumerate(self.names)}
        self.labels = np.array([indices[name] for name in drawings.names])
        used = ~drawings.held_out
        self.of = [np.flatnonzero((self.labels == k) & used) for k in range(len(self.names))]

    def draw(
        self, rng: np.random.Generator, rows: int, only: Sequence[int] | None = None
    ) -> tuple[np.ndarray, Shown]:
        """Indices of drawings, and their pictures: of the names ``only``, or of all."""
        labels = rng.choice(only or len(self.names), rows, replace=only is not None)
        drawn = np.array([rng.choice(self.of[label]) for label in labels])
        target = torch.from_numpy(labels)
        if self.grids is None:
            seed = [int(rng.integers(2**32))]
            return drawn, Shown(None, view_pixels(self.drawings.pictures[drawn], 1, seed), target)
        views = rng.integers(0, len(self.grids.files), rows)
        return drawn, Shown(self.grids.of(views, drawn), None, target)


class Alignment:
    """The loss of the stages before the language model."""

    def __init__(
        self, embeddings: torch.Tensor, name_tokens: list[list[int]], each_token: bool = False
    ) -> None:
        """``embeddings``: [vocabulary, width]; ``name_tokens``: token ids of each name;
        ``each_token``: whether each projected token is compared with the names, too."""
        self.each_token = each_token
        self.names = torch.stack([embeddings[ids].mean(0) for ids in name_tokens])
        self.centre = self.names.mean(0)
        self.norm = embeddings.norm(dim=1).median()

    def scores(self, tokens: torch.Tensor) -> torch.Tensor:
        """Cosine of pictures with each name, about the names' mean. # [pictures, names]"""
        return self._cosines(tokens.mean(1))

    def _cosines(self, vectors: torch.Tensor) -> torch.Tensor:
        names = F.normalize(self.names - self.centre, dim=-1)
        return F.normalize(vectors - self.centre, dim=-1) @ names.T

    def __call__(self, parts: Parts, shown: Shown) -> tuple[torch.Tensor, dict[str, float]]:
        grids = parts.tower.grid(shown.pixels) if shown.grids is None else shown.grids
        tokens = parts(grids)
        scores = self.scores(tokens)
        loss = F.cross_entropy(scores / TEMPERATURE, shown.labels)
        excess = (tokens.norm(dim=-1) / self.norm - 1).square().mean()
        hits = (scores.argmax(1) == shown.labels).float().mean().item()
        figures = {"named": hits, "norm": excess.item()}
        if self.each_token:
            each = self._cosines(tokens).flatten(0, 1)  # [pictures x tokens, names]
            labels = shown.labels.repeat_interleave(tokens.shape[1])
            loss = loss + F.cross_entropy(each / TEMPERATURE, labels)
            figures["tokens"] = (each.argmax(1) == labels).float().mean().item()
        return loss + NORM_WEIGHT * excess, figures
