"""Separation of safe and unsafe queries in a mini model's residual stream, within and across parts.

A probe per part is fitted on pairs whose combinations were trained (200 pairs of each part), at the
last prompt token of each block. It is measured on every part, on concepts that the model was
trained to refuse or answer (in combinations that it was not) and on held-out concepts. Layers are
chosen on the validation split and reported on the test split.
"""

import numpy as np
import torch

from calib.data.example import Example, pairs
from calib.data.mini.examples import load as load_examples
from calib.data.mini.world import World
from calib.directions.estimators import logistic_probe, mean_difference
from calib.directions.samples import Samples
from calib.directions.separation import auroc, auroc_bounds
from calib.engine.activations import read_activations
from calib.models.load import VLM
from calib.scoring.intervals import Interval

PARTS = ("image_centric", "text_centric")
LIMIT = 400  # examples of a part and split
ESTIMATORS = {"mean difference": mean_difference, "probe": logistic_probe}

Read = tuple[list[Example], torch.Tensor]
"""Examples with activations [examples, layers, width]."""


def separations(vlm: VLM, world: World) -> dict[str, Interval]:
    """AUROC of each estimator, fitted and measured on each part, by kind of concept; ``world``
    holds out concepts."""
    seen = {split: _read(vlm, world, "pair", split) for split in ("train", "validation", "test")}
    held_out = {split: _read(vlm, world, "concept", split) for split in ("validation", "test")}
    figures = {}
    for name, estimator in ESTIMATORS.items():
        for fitted_on in PARTS:
            vectors = estimator(_samples(seen["train"], fitted_on)).vectors  # [layers, width]
            for kind, read in (("seen concepts", seen), ("held-out concepts", held_out)):
                for part in PARTS:
                    layer = int(np.argmax(auroc(vectors, _samples(read["validation"], part))))
                    key = f"AUROC {name}, {fitted_on} -> {part} | {kind}"
                    figures[key] = _auroc(vectors, _samples(read["test"], part), layer)
    return figures


def _read(vlm: VLM, world: World, split_by: str, split: str) -> Read:
    examples = [
        example
        for example in load_examples(PARTS, LIMIT, split_by=split_by, world=world)
        if example.split == split
    ]
    return examples, read_activations(vlm, examples)


def _samples(read: Read, part: str) -> Samples:
    """The pairs of a part: unsafe examples are positive."""
    examples, activations = read
    row = {example.id: k for k, example in enumerate(examples)}
    twins = [pair for pair in pairs(examples) if pair.safe.dataset == part]
    unsafe, safe = ([getattr(p, side) for p in twins] for side in ("unsafe", "safe"))
    return Samples(
        activations[[row[e.id] for e in unsafe]],
        activations[[row[e.id] for e in safe]],
        *([pair.id for pair in twins] for _ in range(2)),
        paired=True,
        positive_clusters=[e.cluster for e in unsafe],
        negative_clusters=[e.cluster for e in safe],
    )


def _auroc(vectors: torch.Tensor, samples: Samples, layer: int) -> Interval:
    """AUROC at a layer, with an interval by cluster."""
    value, (low, high) = auroc(vectors, samples)[layer], auroc_bounds(vectors, samples)[layer]
    clusters = {*samples.positive_clusters, *samples.negative_clusters}
    return Interval(value, low, high, len(samples.positive) + len(samples.negative), len(clusters))
