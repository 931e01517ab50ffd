"""Stages and sizes of the training of smolvlm_emoji."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """One stage of training."""

    name: str
    steps: int
    rows: int
    """Pictures or sequences per step."""
    rate: float
    """Peak learning rate; in the tower, of the names."""
    save_every: int
    """Steps between checkpoints."""
    network_rate: float = 0
    """Peak learning rate of the tower's network."""
    views: int = 0
    """Kept views of each drawing; 0 draws new ones for each step."""
    blocks: int = 0
    """Number of trained blocks of the tower's network, its last."""
    decay: float = 0.01
    horizon: int | None = None


STAGES = (
    Stage("names", steps=600, rows=128, rate=2e-3, network_rate=2e-4, views=3, save_every=100),
    Stage("tower", steps=1600, rows=32, rate=5e-4, network_rate=3e-4, blocks=6, save_every=50),
)
"""names: the names and the last convolution, on kept pictures; tower: the last blocks as well, on
new pictures."""

SHARPNESS = 3.0
"""Of the naming tower: training with smoothed targets leaves its scores too close together."""
CONNECTOR = Stage("connector", steps=100, rows=4, rate=1e-3, save_every=20, decay=0)
"""The connector's second layer, through the frozen language model."""
GUARD = Stage("guard", steps=120, rows=4, rate=1e-3, save_every=20)
"""Safety fine-tuning of the second variant."""
THINGS = 384
"""Number of things that both show."""
BRANCHES = 4
"""Questions of each of their sequences."""
