"""Fit a direction to a contrast and measure its separation on held-out pairs."""

import hashlib
import math
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from calib.data.example import Example, fingerprint
from calib.directions.direction import Direction
from calib.directions.estimators import ESTIMATORS, unit_differences
from calib.directions.samples import Samples
from calib.models.layers import Site, site_width
from calib.models.load import VLM
from calib.util.errors import CalibError, did_you_mean


def auroc(vectors: torch.Tensor, samples: Samples) -> list[float]:
    """How well the projection on each layer's vector tells the classes apart, per layer.

    0.5 is chance, 1.0 is perfect. Give samples the vectors were not fitted on. # [layers, width]
    """
    both = torch.cat([samples.positive, samples.negative])
    labels = np.r_[np.ones(len(samples.positive)), np.zeros(len(samples.negative))]
    projections = torch.einsum("nlw,lw->nl", both, vectors).numpy()  # [examples, layers]
    return [float(roc_auc_score(labels, projections[:, k])) for k in range(vectors.shape[0])]


def auroc_interval(value: float, positives: int, negatives: int) -> tuple[float, float]:
    """95% interval of an AUROC (Hanley & McNeil 1982, equation 1), clipped to [0, 1].

    The variance is taken at the value drawn half an observation towards chance, so that a perfect
    separation of few examples has an interval too.
    """
    n = min(positives, negatives)
    drawn = (value * n + 0.5) / (n + 1)
    q1, q2 = drawn / (2 - drawn), 2 * drawn**2 / (1 + drawn)
    variance = drawn * (1 - drawn)
    variance += (positives - 1) * (q1 - drawn**2) + (negatives - 1) * (q2 - drawn**2)
    spread = 1.96 * math.sqrt(variance / (positives * negatives))
    return max(0.0, value - spread), min(1.0, value + spread)


def pair_cosine(samples: Samples) -> list[float]:
    """Mean cosine between the differences of two different pairs, at each layer.

    1 means that all pairs differ in one direction, 0 that they have none in common (AutoSteer,
    arXiv 2507.13255, chooses its layer by it). With u_i = d_i / ||d_i|| the mean over i != j of
    u_i . u_j is (||sum_i u_i||^2 - n) / (n (n - 1)), so it takes n steps, not n^2. Twins with equal
    activations have no direction and do not count; nan where fewer than two pairs are left or the
    samples are not paired.
    """
    if not samples.paired:
        return [math.nan] * samples.positive.shape[1]
    units = unit_differences(samples, "pair_cosine")  # [pairs, layers, width]
    count = units.any(-1).sum(0).double()  # [layers]
    together = units.sum(0).square().sum(-1)
    # Pairs that differ in exactly one direction may round to above 1.
    cosines = (together - count) / (count * (count - 1))
    return cosines.clamp(-1, 1).where(count > 1, math.nan).tolist()


def fit_direction(
    vlm: VLM,
    train: Samples,
    held_out: Samples | None,
    *,
    contrast: str,
    estimator: str,
    positions: str,
    site: str,
    layers: Sequence[int],
    pair_set: str = "",
) -> Direction:
    """One unit vector per layer.

    Raises CalibError for an unknown estimator, or one that needs twins where there are none.
    """
    if estimator not in ESTIMATORS:
        raise CalibError(
            f"estimator '{estimator}' is not known.{did_you_mean(estimator, ESTIMATORS)} "
            f"Choose from {', '.join(ESTIMATORS)}."
        )
    fit = ESTIMATORS[estimator](train)
    both = torch.cat([train.positive, train.negative])
    return Direction(
        vectors=fit.vectors,
        gap=fit.gap,
        midpoint=fit.midpoint,
        norm=both.norm(dim=-1).mean(0),
        layers=list(layers),
        checkpoint=vlm.checkpoint,
        revision=vlm.revision,
        fingerprint=vlm.fingerprint,
        site=site,
        estimator=estimator,
        contrast=contrast,
        read_positions=positions,
        pair_set=pair_set,
        pairs=min(len(train.positive), len(train.negative)),
        pair_cosine=pair_cosine(train) if train.paired else [],
        auroc=auroc(fit.vectors, held_out) if held_out else [],
        auroc_pairs=min(len(held_out.positive), len(held_out.negative)) if held_out else 0,
    )


def require_match(direction: Direction, vlm: VLM, path: str) -> None:
    """Raise CalibError unless the direction was made for this very model."""
    width = site_width(vlm.model, cast(Site, direction.site))
    if direction.width != width:
        raise CalibError(
            f"the direction {path} has width {direction.width}; {vlm.checkpoint} has width "
            f"{width} ({direction.site}). A direction only fits the model it was read from."
        )
    beyond = [layer for layer in direction.layers if layer >= vlm.layers]
    if beyond:
        raise CalibError(
            f"the direction {path} has layers {beyond}; {vlm.checkpoint} ends at layer "
            f"{vlm.layers - 1}."
        )
    if direction.fingerprint != vlm.fingerprint:
        raise CalibError(
            f"the direction {path} was read from {direction.checkpoint} "
            f"({direction.fingerprint}), not from {vlm.checkpoint} ({vlm.fingerprint}). "
            "Fit a direction for this model with calib.extract."
        )


def pair_set_of(examples: Sequence[Example]) -> str:
    """16 hex digits over everything the model sees of the examples, in their order."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(fingerprint(example).encode())
    return digest.hexdigest()[:16]
