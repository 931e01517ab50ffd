"""Two thresholds on a probe: queries that count as unsafe, as safe, and as neither."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

Side = Literal["unsafe", "safe", "undecided"]


@dataclass(frozen=True)
class TwoThresholds:
    """Scores at or above ``upper`` count as unsafe, those below ``lower`` as safe."""

    lower: float
    upper: float

    def sides(self, scores: torch.Tensor) -> list[Side]:
        """The side of each score. # [examples] float"""
        # In float64, because float32 would round the thresholds.
        return [self._side(score) for score in scores.double().tolist()]

    def _side(self, score: float) -> Side:
        if score >= self.upper:
            return "unsafe"
        return "safe" if score < self.lower else "undecided"

    def note(self, sides: Sequence[Side], precision: float) -> str:
        """The thresholds, and how many of the validation queries on ``sides`` lie between them."""
        unsafe = f"as unsafe from p = {self.upper:.3f} on"
        safe = f"as safe below p = {self.lower:.3f}"
        counted = [
            unsafe if np.isfinite(self.upper) else "none as unsafe",
            safe if np.isfinite(self.lower) else "none as safe",
        ]
        return (
            f"queries count {' and '.join(counted)}, each with a precision of {precision:g} on "
            f"validation; {sides.count('undecided')} of {len(sides)} validation queries are "
            "between and not edited"
        )


def two_thresholds(
    scores: torch.Tensor, unsafe: torch.Tensor, middle: float, precision: float
) -> TwoThresholds:
    """The thresholds nearest to ``middle`` beyond which ``precision`` of the examples are unsafe,
    and safe. # [examples] float, [examples] bool

    Both are ``middle`` where that is precise enough. A side on which no threshold is gets an
    infinite one, which no score reaches.
    """
    values, truth = scores.double().numpy(), unsafe.numpy()
    distinct = np.unique(values)
    cuts = np.r_[distinct[0], (distinct[1:] + distinct[:-1]) / 2, middle]
    above = values[None] >= cuts[:, None]  # [cuts, examples]

    def precise(chosen: np.ndarray, truth: np.ndarray) -> np.ndarray:
        counts = chosen.sum(1)
        return (counts > 0) & ((chosen & truth).sum(1) >= precision * counts)

    upper = cuts[precise(above, truth) & (cuts >= middle)]
    lower = cuts[precise(~above, ~truth) & (cuts <= middle)]
    return TwoThresholds(
        float(lower.max()) if len(lower) else -np.inf,
        float(upper.min()) if len(upper) else np.inf,
    )
