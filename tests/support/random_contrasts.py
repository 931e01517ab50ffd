"""Random activations of a contrast, without any symmetry."""

from dataclasses import replace

import torch

from calib.directions.samples import Samples

LAYERS, WIDTH = 2, 6


def twins(pairs: int = 12, seed: int = 0) -> Samples:
    """Twins that differ along one direction by different lengths.

    Class means are not at zero, and channels have different scales.
    """
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw)

    scales = torch.tensor([0.3, 5.0, 1.0, 2.0, 0.1, 1.0])
    common = normal(pairs, LAYERS, WIDTH) * scales + torch.tensor([4.0, -3.0, 0, 1.0, 2.0, 0])
    lengths = 1 + 4 * torch.rand(pairs, 1, 1, generator=draw) ** 3
    differences = lengths * (normal(1, LAYERS, WIDTH) + 0.4 * normal(pairs, LAYERS, WIDTH))
    names = [f"pair-{k}" for k in range(pairs)]
    return Samples(common + differences, common, names, names, True)


def unpaired() -> Samples:
    """Classes of different sizes, in groups of different sizes."""
    both = twins()
    return Samples(
        both.positive[:9],
        both.negative[:7],
        ["a", "a", "a", "a", "a", "b", "c", "c", "a"],
        ["b", "b", "a", "b", "b", "b", "d"],
        False,
    )


def mapped(samples: Samples, rotation: torch.Tensor, scale: float = 1.0) -> Samples:
    """Activations after an orthogonal map and scaling. # [width, width]"""
    return replace(
        samples,
        positive=scale * samples.positive @ rotation.mT,
        negative=scale * samples.negative @ rotation.mT,
    )
