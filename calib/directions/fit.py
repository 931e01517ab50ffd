"""Fit a direction to a contrast and measure its separation on held-out pairs."""

import hashlib
from collections.abc import Sequence
from typing import cast

import torch

from calib.config.choices import Site
from calib.data.example import Example, fingerprint
from calib.directions.direction import Direction
from calib.directions.estimators import ESTIMATORS
from calib.directions.samples import Samples
from calib.directions.separation import auroc, pair_cosine
from calib.models.layers import site_width
from calib.models.load import VLM
from calib.util.errors import CalibError, did_you_mean


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
    beyond = [layer for layer in direction.layers if layer >= vlm.num_layers]
    if beyond:
        raise CalibError(
            f"the direction {path} has layers {beyond}; {vlm.checkpoint} ends at layer "
            f"{vlm.num_layers - 1}."
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
