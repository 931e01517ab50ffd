"""How well the truth can be read from a mini model's residual stream, within and across parts.

A probe per part is fitted on pairs whose combinations were trained (200 pairs of each part), at the
last prompt token of each block. It is measured on every part, on concepts that the model was
trained to refuse or answer (in combinations that it was not) and, in a world that has them, on
held-out concepts. Layers are chosen on the validation split and reported on the test split.
"""

from collections.abc import Sequence

import torch

from calib.data.example import Example, pairs
from calib.data.mini.examples import load as load_examples
from calib.data.mini.world import World
from calib.directions.estimators import logistic_probe, mean_difference
from calib.directions.samples import Samples
from calib.directions.separation import clustered_auroc
from calib.engine.activations import read_activations
from calib.models.load import VLM
from calib.scoring.intervals import Interval

PARTS = ("image_centric", "text_centric")
LIMIT = 400  # examples of a part and split
ESTIMATORS = {"mean difference": mean_difference, "probe": logistic_probe}

Read = tuple[list[Example], torch.Tensor]
"""Examples with activations [examples, layers, width]."""


def separations(vlm: VLM, world: World) -> dict[str, Interval]:
    """AUROC of each estimator, fitted and measured on each part, by kind of concept."""
    seen = {split: _read(vlm, world, "pair", split) for split in ("train", "validation", "test")}
    measured = {"seen concepts": (seen["validation"], seen["test"])}
    if world.holds_out_concepts:
        held_out = (_read(vlm, world, "concept", split) for split in ("validation", "test"))
        measured["held-out concepts"] = tuple(held_out)  # type: ignore[assignment]
    figures = {}
    for name, estimator in ESTIMATORS.items():
        for fitted_on in PARTS:
            vectors = estimator(_samples(seen["train"], fitted_on)).vectors  # [layers, width]
            for kind, (validation, test) in measured.items():
                for part in PARTS:
                    chosen = max(_aurocs(vectors, validation, part))
                    layer = _aurocs(vectors, validation, part).index(chosen)
                    key = f"AUROC {name}, {fitted_on} -> {part} | {kind}"
                    figures[key] = _auroc(vectors, test, part, layer)
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


def _aurocs(vectors: torch.Tensor, read: Read, part: str) -> list[float]:
    return [_auroc(vectors, read, part, layer).value for layer in range(len(vectors))]


def _auroc(vectors: torch.Tensor, read: Read, part: str, layer: int) -> Interval:
    """AUROC of a part's examples at a layer, with an interval by cluster."""
    samples = _samples(read, part)
    sides = (samples.positive, samples.negative)
    positive, negative = (
        (side[:, layer].float() @ vectors[layer].float()).numpy() for side in sides
    )
    clusters: Sequence[Sequence[str]] = samples.positive_clusters, samples.negative_clusters
    value, low, high = clustered_auroc(positive, negative, *clusters)
    count = len(positive) + len(negative)
    return Interval(value, low, high, count, len({*clusters[0], *clusters[1]}))
