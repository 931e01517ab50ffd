"""The bar for naming drawings: the nearest training drawing by the untuned tower's features."""

import numpy as np
import torch
from torch.nn import functional as F

from calib.models.towers.efficientnet_lite import EfficientNetLite
from experiments.smolvlm_emoji.drawings import Drawings
from experiments.smolvlm_emoji.features import Grids

BATCH = 256


@torch.no_grad()
def pooled(tower: EfficientNetLite, grids: Grids, count: int) -> torch.Tensor:
    """Mean tokens of each plain drawing, centred and of length 1. # [drawings, hidden size]"""
    parts = [
        tower.tokens(grids.of(np.zeros(len(rows), int), rows)).mean(1)
        for rows in np.array_split(np.arange(count), -(-count // BATCH))
    ]
    features = torch.cat(parts)
    return F.normalize(features - features.mean(0), dim=-1)


def nearest_names(features: torch.Tensor, drawings: Drawings) -> dict[int, str]:
    """By index of each held-out drawing: the name of the nearest drawing that is not held out."""
    held_out = drawings.held_out
    kept, left = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    closest = (features[left] @ features[kept].T).argmax(1).numpy()
    return {int(row): drawings.names[kept[k]] for row, k in zip(left, closest, strict=True)}
