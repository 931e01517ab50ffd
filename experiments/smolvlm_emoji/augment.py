"""Varied pictures of drawings: place, size, turn, colours and background."""

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from experiments.smolvlm_emoji.tower import MEAN, STD

SIDE = 224
"""Width and height of a picture for the tower, in pixels."""


def shown(drawing: np.ndarray) -> Image.Image:
    """A drawing as a picture on white, as in evaluation. # [rows, columns, 4] uint8"""
    picture = Image.fromarray(drawing)
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert("RGB")


def varied(drawings: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
    """Pixels for the tower of randomly varied drawings.

    ``drawings``: [pictures, rows, columns, 4] uint8. # [pictures, 3, SIDE, SIDE] normalised
    """
    count = len(drawings)
    rgba = torch.from_numpy(drawings).permute(0, 3, 1, 2).float() / 255
    alpha = rgba[:, 3:]
    layers = torch.cat([_recoloured(rgba[:, :3], rng) * alpha, alpha], 1)
    grid = F.affine_grid(_placements(count, rng), [count, 4, SIDE, SIDE], align_corners=False)
    placed = F.grid_sample(layers, grid, mode="bilinear", align_corners=False)
    pictures = placed[:, :3] + (1 - placed[:, 3:]) * _backgrounds(count, rng)
    return normalised(pictures.clamp(0, 1))


def normalised(pictures: torch.Tensor) -> torch.Tensor:
    """Pixels from 0 to 1 with the tower's mean and standard deviation. # [pictures, 3, ...]"""
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    return (pictures - mean) / std


def _column(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))[:, None, None, None]


def _recoloured(rgb: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Brightness, contrast and saturation changed, and colour channels mixed a little."""
    count = len(rgb)
    mix = np.eye(3) + rng.normal(0, 0.08, (count, 3, 3))
    mix /= mix.sum(2, keepdims=True)
    mixed = torch.einsum("nij,njhw->nihw", torch.from_numpy(mix.astype(np.float32)), rgb)
    grey = mixed.mean(1, keepdim=True)
    saturated = grey + (mixed - grey) * _column(rng.uniform(0.6, 1.4, count))
    contrast = 0.5 + (saturated - 0.5) * _column(rng.uniform(0.75, 1.2, count))
    return (contrast + _column(rng.uniform(-0.08, 0.08, count))).clamp(0, 1)


def _placements(count: int, rng: np.random.Generator) -> torch.Tensor:
    """Maps from picture to drawing: turned, mirrored in half of the cases, smaller and moved."""
    turn = rng.normal(0, 0.12, count)
    size = rng.uniform(0.6, 1.05, count)
    mirror = rng.choice([-1.0, 1.0], count)
    aspect = np.exp(rng.normal(0, 0.06, count))
    free = np.clip(1 - size, 0, None)
    centre = rng.uniform(-1, 1, (count, 2)) * free[:, None]
    rotation = np.stack([np.cos(turn), np.sin(turn), -np.sin(turn), np.cos(turn)], 1)
    linear = rotation.reshape(count, 2, 2) / size[:, None, None]
    linear[:, 0] *= (mirror * aspect)[:, None]
    shift = -np.einsum("nij,nj->ni", linear, centre)
    return torch.from_numpy(np.concatenate([linear, shift[:, :, None]], 2).astype(np.float32))


def _backgrounds(count: int, rng: np.random.Generator) -> torch.Tensor:
    """White, one light or dark colour, or a gradient of two. # [count, 3, SIDE, SIDE]"""
    colours = rng.uniform(0, 1, (count, 2, 3)) ** rng.choice(
        [0.4, 1.0], (count, 1, 1), p=[0.8, 0.2]
    )
    colours[rng.random(count) < 0.4] = 1.0
    plain = rng.random(count) < 0.5
    colours[plain, 1] = colours[plain, 0]
    share = torch.linspace(0, 1, SIDE)
    share = torch.where(
        torch.from_numpy(rng.random(count) < 0.5)[:, None, None],
        share[None, :, None].expand(count, SIDE, SIDE),
        share[None, None, :].expand(count, SIDE, SIDE),
    )[:, None]
    first, second = (
        torch.from_numpy(colours[:, k].astype(np.float32))[:, :, None, None] for k in (0, 1)
    )
    return first * (1 - share) + second * share
