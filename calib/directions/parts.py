"""Directions of the parts of a benchmark, and how well each separates the examples of every part.

A direction fitted on all parts together can hide that the parts need different ones. Therefore each
part also gets a direction of its own, fitted on its train examples and measured on the validation
examples of every part. The activations are those of the pooled fit, so no example is read again.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from calib.data.example import Example
from calib.directions.direction import Direction
from calib.directions.samples import Fit, Samples
from calib.directions.separation import clustered_auroc
from calib.util.errors import CalibError

POOLED = "all"
"""Name of all parts together."""
MIN_TRAIN = 8
"""Fewest train examples on each side of the contrast for a part to get a direction of its own."""


@dataclass(frozen=True)
class PartSeparation:
    """AUROC of one part's validation examples along the direction of one part, at one layer."""

    fitted_on: str
    """Part whose train examples the direction was fitted on; "all" is the pooled direction."""
    measured_on: str
    """Part whose validation examples were measured; "all" is all parts together."""
    layer: int
    auroc: float
    low: float
    high: float
    """95% interval by cluster; 0 and 1 if a side has fewer than two clusters."""
    n: int
    """Validation examples on both sides."""
    clusters: int
    """Independent clusters of these examples."""
    cosine: float
    """Cosine with the direction fitted on ``measured_on``; nan if that part has none."""
    train: int
    """Train examples on the smaller side of ``fitted_on``."""


@dataclass(frozen=True)
class ContrastExamples:
    """The examples of one split on both sides of a contrast, and their activations."""

    positive: Sequence[Example]
    negative: Sequence[Example]
    samples: Samples

    def of_part(self, part: str) -> "ContrastExamples":
        """The examples of one part; all for POOLED."""
        if part == POOLED:
            return self
        positive = [k for k, example in enumerate(self.positive) if example.dataset == part]
        negative = [k for k, example in enumerate(self.negative) if example.dataset == part]
        samples = replace(
            self.samples,
            positive=self.samples.positive[positive],
            negative=self.samples.negative[negative],
            positive_groups=[self.samples.positive_groups[k] for k in positive],
            negative_groups=[self.samples.negative_groups[k] for k in negative],
            positive_clusters=[self.samples.positive_clusters[k] for k in positive],
            negative_clusters=[self.samples.negative_clusters[k] for k in negative],
        )
        sides = [self.positive[k] for k in positive], [self.negative[k] for k in negative]
        return ContrastExamples(*sides, samples)

    @property
    def parts(self) -> list[str]:
        """The parts that the examples belong to."""
        return sorted({example.dataset for example in (*self.positive, *self.negative)})

    @property
    def smaller_side(self) -> int:
        """Number of examples on the smaller side."""
        return min(len(self.positive), len(self.negative))


def part_separations(
    pooled: Direction,
    train: ContrastExamples,
    held_out: ContrastExamples,
    estimator: Callable[[Samples], Fit],
) -> list[PartSeparation]:
    """The separation of every part along the direction of every part, and along the pooled one.

    ``estimator`` is the one that ``pooled`` was fitted with. Empty unless two parts have a
    direction. A part has none if a side has fewer than MIN_TRAIN train examples, or the estimator
    finds no difference between its sides.
    """
    fitted = {POOLED: pooled.vectors}
    for part in train.parts:
        own = train.of_part(part)
        if own.smaller_side >= MIN_TRAIN:
            try:
                fitted[part] = estimator(own.samples).vectors
            except CalibError:  # equal class means: the part lacks the contrast
                continue
    if len(fitted) < 3:
        return []
    sizes = {part: train.of_part(part).smaller_side for part in fitted}
    separations = []
    for measured_on in (POOLED, *held_out.parts):
        examples = held_out.of_part(measured_on)
        if not examples.smaller_side:
            continue
        clusters = examples.samples.positive_clusters, examples.samples.negative_clusters
        n, distinct = sum(map(len, clusters)), len({*clusters[0], *clusters[1]})
        for fitted_on, vectors in fitted.items():
            cosines = np.full(len(pooled.layers), math.nan)
            if measured_on in fitted:
                cosines = (vectors * fitted[measured_on]).sum(-1).clamp(-1, 1).numpy()
            positive, negative = (
                torch.einsum("nlw,lw->ln", side, vectors).numpy()
                for side in (examples.samples.positive, examples.samples.negative)
            )
            for row, layer in enumerate(pooled.layers):
                auroc = clustered_auroc(positive[row], negative[row], *clusters)
                separations.append(
                    PartSeparation(
                        fitted_on, measured_on, layer, *auroc, n, distinct, float(cosines[row]),
                        sizes[fitted_on],
                    )
                )  # fmt: skip
    return separations
