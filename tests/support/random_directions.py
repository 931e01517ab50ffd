"""Random directions for models of any width."""

from typing import Any

import torch

from calib.directions.direction import Direction
from calib.models.load import VLM


def direction_at(vlm: VLM, layers: list[int], **changes: Any) -> Direction:
    """A direction of random unit vectors, with a gap large enough to change responses."""
    generator = torch.Generator().manual_seed(7)
    vectors = torch.randn(len(layers), vlm.width, generator=generator)
    settings = {
        "vectors": torch.nn.functional.normalize(vectors, dim=-1),
        "gap": torch.linspace(2.0, 3.0, len(layers)),
        "midpoint": torch.zeros(len(layers)),
        "norm": torch.full((len(layers),), 10.0),
        "layers": layers,
        "checkpoint": vlm.checkpoint,
        "revision": vlm.revision,
        "fingerprint": vlm.fingerprint,
        "positions": "all",
        **changes,
    }
    return Direction(**settings)
