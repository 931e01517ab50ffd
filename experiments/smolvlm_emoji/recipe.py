"""Stages and sizes of the training of smolvlm_emoji."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """One stage of training."""

    name: str
    steps: int
    rows: int
    """Pictures per step."""
    rate: float
    """Peak learning rate of the connector."""
    tower_rate: float
    """Peak learning rate of the tower's trained blocks; 0 freezes the tower."""
    views: int
    """Kept views of each drawing; 0 draws new ones for each step."""
    save_every: int
    """Steps between checkpoints."""
    decay: float = 0.01
    horizon: int | None = None


STAGES = (
    Stage("alignment", steps=600, rows=128, rate=2e-3, tower_rate=0, views=3, save_every=100),
    Stage("tower", steps=800, rows=32, rate=5e-4, tower_rate=2e-4, views=0, save_every=50),
    Stage("tokens", steps=600, rows=64, rate=1e-3, tower_rate=0, views=3, save_every=100),
    Stage("connector", steps=1200, rows=8, rate=1e-3, tower_rate=0, views=3, save_every=20),
)
"""alignment, tower and tokens: onto the embedding matrix, without a pass through the language
model: the mean of a picture's tokens, in the third stage also each token. connector: through the
frozen language model."""

TRAINED_BLOCKS = 6
"""Number of the tower's last blocks that the tower stage trains, beside the last convolution."""
BRANCHES = 4
"""Questions about each picture of a sequence."""
GUARD = Stage("guard", steps=300, rows=6, rate=1e-3, tower_rate=0, views=3, save_every=20)
"""Safety fine-tuning of the second variant."""
